"""
What can go wrong on our side, in our callers' words.

    GatewayError               .code, .field, .retry_after_seconds, .attempts
      + InvalidRequest           a field is missing, unknown or out of range
      |   + MalformedBody          the body is not JSON, or not what its Content-Type says
      |   + MalformedRequest       what came is not HTTP that can be read in one way
      + RequestTooLarge          more bytes or values than a request may have
      + RequestTimeout           head or body came too slowly
      + HeadersTooLarge          more bytes or lines before the body than we read
      + TargetTooLong            an address of more bytes than we read
      + NotImplementedHere       a method or a transfer coding that this server does not know
      + UnsupportedContentType   the request's Content-Type is not one we read
      + InvalidImage             not a picture, cut off, or too small to hold anything
      + ImageTooLarge            more bytes or pixels than we take
      + UnsupportedMediaType     a picture, but of a format that we do not take
      + ImageUnreachable         no file came from image.url
      + ImageForbidden           image.url leads where nobody may send us
      + PromptTooLong            longer than every deployment that could answer takes
      + UnsupportedCapability    no configured deployment answers this kind of prompt
      + NoDeployment             each one is ruled out, for a reason given
      + Unauthenticated          no key, or not one of ours
      + Forbidden                the key is good, but not for this
      + NotFound                 no such thing here
      + MethodNotAllowed         not with this method
      + BudgetExceeded           a hard budget has no room for it
      + RateLimited              faster than the key or its tenant may
      + IdempotencyConflict      the first request with this Idempotency-Key was interrupted, or goes on
      |   + IdempotencyMismatch    the Idempotency-Key stands for another request
      + Conflict                 it is there already, or stands in the way
      + Overloaded               too much at once; come back
      + ProviderFailure          every deployment that was asked failed
      + AllDeploymentsUnavailable  none may be asked at the moment
      + LedgerDown               spending cannot be recorded, so nothing is spent
      + Stopping                 the gateway is being stopped, and the request did not end in time
      + DeadlineExceeded         the caller's time ran out
      + InternalError            our own fault

The class says what happened; `api/problems.py` alone says which HTTP status that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from gateway.request import AttemptReport
from providers.contract import Resource

#: What somebody without a key, or with a wrong one, can do about it.
SEND_A_KEY = (
    "send your key as `Authorization: Bearer mg_…`; whoever runs this gateway finds the first one in the file `key` of "
    "its state folder (.maskgate, or what MASKGATE_STATE_DIR names)"
)


class GatewayError(Exception):
    """A request that gets no answer. The message tells its sender what to do; it holds no secret."""

    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        retry_after_seconds: float | None = None,
        attempts: Sequence[AttemptReport] = (),
        others: str | None = None,
    ) -> None:
        """
        Say what happened.

        Args:
            message: one or two sentences: what is wrong, with the value, and the remedy.
            field: path of the field at fault in the request, as `prompts[0].box`.
            retry_after_seconds: when it is worth trying again, if that can cure it.
            attempts: the provider calls that were made before it failed.
            others: the message for somebody who only waited for the same answer; None: it concerns nobody else.
        """
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_seconds = retry_after_seconds
        self.attempts = tuple(attempts)
        self.others = others

    def without_attempts(self) -> GatewayError:
        """Return the same problem for somebody who only waited: attempts, cost and provider's words were another's."""
        message = self.message if self.others is None else self.others
        return type(self)(message, field=self.field, retry_after_seconds=self.retry_after_seconds)


class InvalidRequest(GatewayError):
    """A field is missing, unknown or out of range."""

    code = "invalid_request"


class MalformedBody(InvalidRequest):
    """The body is not JSON, or not what its Content-Type says."""


class MalformedRequest(InvalidRequest):
    """What came is not HTTP that can be read in one way."""


class RequestTooLarge(GatewayError):
    """More bytes or values than a request may have."""

    code = "request_too_large"


class RequestTimeout(GatewayError):
    """The head or the body came too slowly."""

    code = "request_timeout"


class HeadersTooLarge(GatewayError):
    """More bytes or lines before the body than we read."""

    code = "headers_too_large"


class TargetTooLong(GatewayError):
    """An address of more bytes than we read."""

    code = "uri_too_long"


class NotImplementedHere(GatewayError):
    """A method or a transfer coding that this server does not know."""

    code = "not_implemented"


class UnsupportedContentType(GatewayError):
    """The request's Content-Type is not one we read."""

    code = "unsupported_media_type"


class InvalidImage(GatewayError):
    """Not a picture, cut off, or too small to hold anything."""

    code = "invalid_image"


class ImageTooLarge(GatewayError):
    """More bytes or pixels than we take."""

    code = "image_too_large"


class UnsupportedMediaType(GatewayError):
    """A picture, but of a format that we do not take."""

    code = "unsupported_media_type"


class ImageUnreachable(GatewayError):
    """No file came from image.url."""

    code = "image_unreachable"


class ImageForbidden(GatewayError):
    """The address in image.url leads where nobody may send us."""

    code = "image_forbidden"


class PromptTooLong(GatewayError):
    """Longer than every deployment that could answer takes."""

    code = "prompt_too_long"


class UnsupportedCapability(GatewayError):
    """No configured deployment answers this kind of prompt; the message names who could."""

    code = "unsupported_capability"


class NoDeployment(GatewayError):
    """Each deployment is ruled out for this question, for a reason given."""

    code = "no_deployment"


class Unauthenticated(GatewayError):
    """No key, or not one of ours."""

    code = "unauthenticated"


class Forbidden(GatewayError):
    """The key is good, but not for this."""

    code = "forbidden"


class BudgetExceeded(GatewayError):
    """A hard budget has no room for what the request may cost."""

    code = "budget_exceeded"


class RateLimited(GatewayError):
    """Faster, or more at once, than the key or its tenant may ask."""

    code = "rate_limited"


class IdempotencyConflict(GatewayError):
    """The first request with this Idempotency-Key was interrupted, or goes on: it is not made a second time."""

    code = "idempotency_conflict"


class IdempotencyMismatch(IdempotencyConflict):
    """The Idempotency-Key stands for another request."""


class Conflict(GatewayError):
    """It is there already, or something stands in its way."""

    code = "conflict"


class NotFound(GatewayError):
    """No such thing here."""

    code = "not_found"


class MethodNotAllowed(GatewayError):
    """This path does not take this method; `allowed` are those that it takes."""

    code = "invalid_request"
    allowed: Sequence[str] = ()


class Overloaded(GatewayError):
    """Too much at once; come back."""

    code = "overloaded"


def short_of(resource: Resource, *, attempts: Sequence[AttemptReport] = ()) -> GatewayError:
    """Return the problem of a request that this machine has no more of something for: nobody else's fault."""
    if resource is Resource.DISK:
        return LedgerDown(
            "this gateway has no room left on its disk; nothing was spent. Try again later",
            retry_after_seconds=5.0,
            attempts=attempts,
        )
    return Overloaded(
        f"this gateway has no {resource.value} left for another request; try again shortly",
        retry_after_seconds=1.0,
        attempts=attempts,
    )


class ProviderFailure(GatewayError):
    """Every deployment that was asked failed, or the one that answered refused."""

    code = "provider_failed"


class AllDeploymentsUnavailable(GatewayError):
    """None of the deployments that could answer may be asked at the moment."""

    code = "all_deployments_unavailable"


class LedgerDown(GatewayError):
    """Spending cannot be recorded, so nothing is spent."""

    code = "ledger_unavailable"


class DeadlineExceeded(GatewayError):
    """The caller's time ran out."""

    code = "deadline_exceeded"


class Stopping(GatewayError):
    """The gateway is being stopped, and the request did not end in time."""

    code = "stopping"


class InternalError(GatewayError):
    """Our own fault; the log has it under the request's id."""

    code = "internal_error"
