"""
A quote's name says all of it: what was promised, to whom, until when, signed with what all gateways share.

Nothing is stored, so a quote costs no row, survives a restart and is good at every replica. It is no secret: whoever
holds it reads what the quote itself said. The signature keeps it from being made or changed by anybody else.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from blake3 import blake3

from gateway.accounting.pricing import Ceiling
from gateway.problems import InvalidRequest
from gateway.request import CacheMode, Fit, Route
from providers.contract import Money, PriceUnit

PREFIX = "quote_"
FIELD = "quote_id"
#: Longer is no token of ours, and is not looked at.
LONGEST = 16_384

_FORM = 1
_MAC_BYTES = hashlib.sha256().digest_size
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AGAIN = "ask POST /v1/quotes for a new one"


@dataclass(frozen=True, slots=True)
class QuotedCall:
    """A deployment that was quoted, and what a call to it may cost the tenant."""

    deployment: str
    price_id: str
    """The terms that were in force."""
    ceiling: Ceiling


@dataclass(frozen=True, slots=True)
class QuoteTerms:
    """What a quote promises."""

    tenant: str
    digest: str
    """Of what was asked; see `quoted_digest`."""
    most: Money
    """For the whole request, every attempt charged or held."""
    questions: tuple[tuple[QuotedCall, ...], ...]
    """For each question: who may be asked, in this order."""
    expires_at: int
    """Microseconds since 1970, UTC: from then on it binds no longer."""

    @property
    def expires(self) -> str:
        """The moment it expires, as people write it."""
        return (_EPOCH + timedelta(microseconds=self.expires_at)).isoformat(timespec="seconds").replace("+00:00", "Z")


def quoted_digest(questions: Sequence[str], route: Route, mode: CacheMode, fit: Fit) -> str:
    """
    Return the name of what was asked: a quote binds for an equal request alone.

    The deadline and `max_charge_usd` may differ: neither can make a request dearer than its quote.

    Args:
        questions: the digest of each question; those hold the picture and the tenant.
        route: where the caller wants to be served, and in how many attempts.
        mode: what the cache may do.
        fit: what may be done with the picture.
    """
    places = [None if names is None else sorted(names) for names in (route.deployments, route.providers, route.regions)]
    parts = [list(questions), route.strategy.value, *places, route.max_attempts, mode.value, fit.value]
    return blake3(orjson.dumps(parts)).hexdigest(length=16)


class QuoteTokens:
    """Seals quotes, and opens what was sealed."""

    def __init__(self, secret: bytes) -> None:
        """Sign with a secret that all gateways of a tenant share."""
        self._secret = secret

    def seal(self, quote: QuoteTerms) -> str:
        """Return the quote's name: url-safe text, well below 2 kB for a dozen deployments."""
        calls = list(dict.fromkeys(call for question in quote.questions for call in question))
        places = {call: place for place, call in enumerate(calls)}
        body = zlib.compress(
            orjson.dumps(
                [
                    _FORM,
                    quote.tenant,
                    quote.digest,
                    quote.expires_at,
                    quote.most.microusd,
                    [_written(call) for call in calls],
                    [[places[call] for call in question] for question in quote.questions],
                ]
            )
        )
        return PREFIX + _encoded(self._mac(body) + body)

    def open(self, token: str, *, tenant: str, digest: str, now: int) -> QuoteTerms:
        """
        Return what was promised.

        Args:
            token: what the caller sent as `quote_id`.
            tenant: who asks.
            digest: of what is asked; see `quoted_digest`.
            now: microseconds since 1970, UTC.

        Raises:
            InvalidRequest: it is none of ours, of another tenant, expired, or of another request.
        """
        quote = self._opened(token)
        if quote is None:
            raise InvalidRequest(
                f"quote_id is no quote of this gateway, or not the whole of one; {_AGAIN}", field=FIELD
            )
        if quote.tenant != tenant:
            raise InvalidRequest(f"quote_id was given to another tenant; {_AGAIN}", field=FIELD)
        if now >= quote.expires_at:
            raise InvalidRequest(f"quote_id expired at {quote.expires}; {_AGAIN}", field=FIELD)
        if quote.digest != digest:
            raise InvalidRequest(
                "quote_id is for another request: send the picture, prompts, max_masks, min_score, fit, route and "
                f"cache.mode that were quoted, or {_AGAIN}",
                field=FIELD,
            )
        return quote

    def _opened(self, token: str) -> QuoteTerms | None:
        """Return what is in a token that we have signed; None for any other text."""
        text = token.removeprefix(PREFIX)
        if text == token or len(token) > LONGEST or not token.isascii():
            return None
        try:
            signed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (NotBase64, ValueError):
            return None
        mac, body = signed[:_MAC_BYTES], signed[_MAC_BYTES:]
        if _encoded(signed) != text or not hmac.compare_digest(mac, self._mac(body)):
            return None
        form, *fields = orjson.loads(zlib.decompress(body))
        if form != _FORM:  # signed by another version of this program
            return None
        tenant, digest, expires_at, most, calls, questions = fields
        known = [_read(call) for call in calls]
        return QuoteTerms(
            tenant=tenant,
            digest=digest,
            most=Money(most),
            questions=tuple(tuple(known[place] for place in question) for question in questions),
            expires_at=expires_at,
        )

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")


def _written(call: QuotedCall) -> list[str | int]:
    """Return a call as it stands in a token; a price's id begins with its deployment's name, which stands once."""
    ceiling = call.ceiling
    shared = len(call.deployment) if call.price_id.startswith(call.deployment) else 0
    return [
        call.deployment,
        shared,
        call.price_id[shared:],
        ceiling.each.microusd,
        ceiling.unit.value,
        ceiling.most.microusd,
    ]


def _read(written: list[Any]) -> QuotedCall:
    deployment, shared, rest, each, unit, most = written
    return QuotedCall(deployment, deployment[:shared] + rest, Ceiling(Money(each), PriceUnit(unit), Money(most)))


def _encoded(signed: bytes) -> str:
    return urlsafe_b64encode(signed).decode().rstrip("=")
