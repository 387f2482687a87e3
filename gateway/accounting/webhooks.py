"""
Telling somebody's server what has happened: signed, and again until it has taken it.

Source: Standard Webhooks 1.0.0, https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md,
read 2026-11 (headers, signed content, secrets, which answers are success, when to try again).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from providers.contract import Clock, Deadline, ProviderError, Sleep, Upstream

#: Seconds before each attempt, counted from the one before it: three days in all.
PAUSES = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
#: How long a receiver may take over one attempt.
ATTEMPT_SECONDS = 20.0

_MOST_AT_ONCE = 8

_SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with, and no secret
_MOST_ANSWER_BYTES = 65_536
_GONE = 410


class Delivery(StrEnum):
    """How a delivery ended."""

    TAKEN = "taken"
    """The receiver answered 2xx."""
    GONE = "gone"
    """The receiver answered 410: it wants no more of these."""
    GIVEN_UP = "given_up"
    """Every attempt failed."""
    LEFT = "left"
    """Somebody else delivers it."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is told. Its receiver knows it by its id, however often it comes."""

    id: str
    """Without a full stop, which separates it from the rest of what is signed."""
    body: bytes
    """JSON, below 20 kB."""


def signing_keys(secrets: Sequence[str]) -> tuple[bytes, ...]:
    """
    Read the secrets that messages are signed with; several while one replaces another.

    Args:
        secrets: each `whsec_` and the base64 of 24 to 64 bytes.

    Raises:
        ValueError: one of them is none; the message does not show it.
    """
    return tuple(_signing_key(secret) for secret in secrets)


def _signing_key(secret: str) -> bytes:
    remedy = "write whsec_ and the base64 of 24 to 64 random bytes, as from: openssl rand -base64 32"
    if not secret.startswith(_SECRET_PREFIX):
        raise ValueError(f"the webhook's secret does not begin with whsec_; {remedy}")
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"the webhook's secret is not base64 behind whsec_; {remedy}") from None
    if not 24 <= len(key) <= 64:
        raise ValueError(f"the webhook's secret has {len(key)} bytes; {remedy}")
    return key


def signed(message: Message, keys: Sequence[bytes], *, at: int) -> dict[str, str]:
    """
    Return the headers of one attempt.

    Args:
        message: its exact bytes are signed.
        keys: one signature is made with each.
        at: when the attempt is made, in seconds since 1970, UTC.
    """
    content = b".".join((message.id.encode(), str(at).encode(), message.body))
    digests = (hmac.digest(key, content, hashlib.sha256) for key in keys)
    return {
        "content-type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


class Webhook:
    """A receiver of messages."""

    def __init__(
        self,
        url: str,
        keys: Sequence[bytes],
        *,
        upstream: Upstream,
        clock: Clock,
        wall: Callable[[], float],
        sleep: Sleep,
        attempted: Callable[[Message, str | None], None] = lambda _message, _reason: None,
    ) -> None:
        """
        Name a receiver.

        Args:
            url: as the operator has configured it.
            keys: what messages are signed with; see `signing_keys`.
            upstream: what they are sent with; it follows no redirect.
            clock: monotonic seconds.
            wall: seconds since 1970, UTC: what attempts are dated with.
            sleep: waits between attempts.
            attempted: told of every attempt why it failed; None where the receiver has taken the message.
        """
        self._attempted = attempted
        self._url = url
        self._keys = tuple(keys)
        self._upstream = upstream
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._places = asyncio.Semaphore(_MOST_AT_ONCE)

    async def deliver(self, message: Message, *, before: Callable[[float], Awaitable[bool]]) -> Delivery:
        """
        Send a message until it is taken, for three days at most.

        Args:
            message: the same bytes and the same id go out each time.
            before: awaited before each pause, with its seconds; says whether the delivery is still ours.
        """
        for pause in PAUSES:
            if not await before(pause):
                return Delivery.LEFT
            await self._sleep(pause)
            status, reason = await self._attempt(message)
            self._attempted(message, reason)
            if reason is None:
                return Delivery.TAKEN
            if status == _GONE:
                return Delivery.GONE
        return Delivery.GIVEN_UP

    async def _attempt(self, message: Message) -> tuple[int | None, str | None]:
        """Send it once; return the status of the answer, None where none came, and why that is a failure, if it is."""
        async with self._places:
            try:
                reply = await self._upstream.send(
                    "POST",
                    self._url,
                    headers=signed(message, self._keys, at=int(self._wall())),
                    content=message.body,
                    deadline=Deadline.after(ATTEMPT_SECONDS, self._clock),
                    max_bytes=_MOST_ANSWER_BYTES,
                )
            except ProviderError as error:
                status, reason = error.status, error.message  # perhaps of an answer whose body was not worth reading
            else:
                status, reason = reply.status, f"its receiver answered {reply.status}"
        return status, None if status is not None and 200 <= status < 300 else reason
