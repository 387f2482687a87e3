"""
Problem → HTTP status and body: one table, RFC 9457.

Source: https://www.rfc-editor.org/rfc/rfc9457 (type, title, status, detail; members of our own beside them).
"""

from __future__ import annotations

import math
from typing import Any

from gateway.accounting import LedgerUnavailable
from gateway.problems import (
    AllDeploymentsUnavailable,
    BudgetExceeded,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    GatewayError,
    HeadersTooLarge,
    IdempotencyConflict,
    IdempotencyMismatch,
    ImageForbidden,
    ImageTooLarge,
    ImageUnreachable,
    InternalError,
    InvalidImage,
    InvalidRequest,
    LedgerDown,
    MalformedBody,
    MalformedRequest,
    MethodNotAllowed,
    NoDeployment,
    NotFound,
    NotImplementedHere,
    Overloaded,
    PromptTooLong,
    ProviderFailure,
    RateLimited,
    RequestTimeout,
    RequestTooLarge,
    Stopping,
    TargetTooLong,
    Unauthenticated,
    UnsupportedCapability,
    UnsupportedContentType,
    UnsupportedMediaType,
    short_of,
)
from gateway.request import AttemptReport
from providers.contract import WorkersBusy, shortage_of

MEDIA_TYPE = "application/problem+json"

_BUSY = "as much decoding and encoding waits as this gateway takes at once; try again shortly"
_DOWN = "the ledger's database does not answer; try again shortly"

#: Every problem's status and its title, which never changes from one occurrence to the next.
STATUS: dict[type[GatewayError], tuple[int, str]] = {
    MalformedBody: (400, "The body cannot be read"),
    MalformedRequest: (400, "The request cannot be read"),
    InvalidRequest: (422, "The request is not valid"),
    RequestTimeout: (408, "The request came too slowly"),
    RequestTooLarge: (413, "The request is too large"),
    TargetTooLong: (414, "The address is too long"),
    HeadersTooLarge: (431, "The headers are too large"),
    NotImplementedHere: (501, "This is not implemented"),
    UnsupportedContentType: (415, "This Content-Type is not read here"),
    InvalidImage: (422, "The picture cannot be used"),
    ImageTooLarge: (422, "The picture is too large"),
    UnsupportedMediaType: (422, "The picture's format is not taken"),
    ImageUnreachable: (422, "The picture could not be fetched"),
    ImageForbidden: (422, "The picture's address is not allowed"),
    PromptTooLong: (422, "The prompt is too long"),
    UnsupportedCapability: (422, "No deployment takes this kind of prompt"),
    NoDeployment: (422, "No deployment can answer"),
    Unauthenticated: (401, "A valid key is needed"),
    Forbidden: (403, "The key does not allow this"),
    BudgetExceeded: (402, "The budget is used up"),
    RateLimited: (429, "Too many requests"),
    IdempotencyConflict: (409, "The Idempotency-Key is taken"),
    IdempotencyMismatch: (422, "The Idempotency-Key stands for another request"),
    Conflict: (409, "Something stands in its way"),
    NotFound: (404, "There is no such thing here"),
    MethodNotAllowed: (405, "This path does not take this method"),
    Overloaded: (429, "Too much at once"),
    ProviderFailure: (502, "The provider failed"),
    AllDeploymentsUnavailable: (503, "No deployment is available"),
    LedgerDown: (503, "Spending cannot be recorded"),
    Stopping: (503, "The gateway is being stopped"),
    DeadlineExceeded: (504, "The deadline passed"),
    InternalError: (500, "The gateway failed"),
}


def status_of(problem: GatewayError) -> int:
    """Return the HTTP status of a problem."""
    return STATUS[type(problem)][0]


def foreseen(error: Exception) -> GatewayError | None:
    """Return the problem that an error stands for; None for a defect that nobody foresaw."""
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, WorkersBusy):
        return Overloaded(_BUSY, retry_after_seconds=1.0)
    resource = shortage_of(error)
    if resource is not None:
        return short_of(resource)
    return LedgerDown(_DOWN, retry_after_seconds=1.0) if isinstance(error, LedgerUnavailable) else None


def problem_body(problem: GatewayError, request_id: str) -> dict[str, Any]:
    """Return a problem as JSON."""
    status, title = STATUS[type(problem)]
    body: dict[str, Any] = {
        "type": f"urn:maskgate:problem:{problem.code}",
        "title": title,
        "status": status,
        "code": problem.code,
        "detail": problem.message,
        "request_id": request_id,
    }
    if problem.field is not None:
        body["field"] = problem.field
    if problem.retry_after_seconds is not None:
        body["retry_after_seconds"] = problem.retry_after_seconds
    if problem.attempts:
        body["attempts"] = [attempt_body(attempt) for attempt in problem.attempts]
    return body


def problem_headers(problem: GatewayError) -> dict[str, str]:
    """Return the headers that go with a problem."""
    headers = {}
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after_seconds)))
    elif status_of(problem) in {429, 503}:
        headers["Retry-After"] = "1"
    if isinstance(problem, MethodNotAllowed):
        headers["Allow"] = ", ".join(problem.allowed)
    if isinstance(problem, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="maskgate"'
    return headers


def attempt_body(attempt: AttemptReport) -> dict[str, Any]:
    """Return an attempt as JSON."""
    body: dict[str, Any] = {
        "prompt_index": attempt.prompt_index,
        "deployment": attempt.deployment,
        "outcome": attempt.outcome.value,
        "duration_ms": attempt.duration_ms,
        "charge_microusd": attempt.charge.microusd,
    }
    if attempt.held.microusd:
        body["held_microusd"] = attempt.held.microusd
    if attempt.message is not None:
        body["message"] = attempt.message
    return body
