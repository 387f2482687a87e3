"""
The secrets that callbacks of the fake Runflow are signed with.

Source: docs.runflow.io guides/verify-callback-signatures (a secret begins `whsec_` and is shown once; the signature is
the lower-case hexadecimal HMAC-SHA256 of the body under the whole secret; rotation is a second secret), read
2026-11-20. That the newest one signs is invented: while both are there a caller has to try both anyway.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_hex

_MOST_SECRETS = 100


@dataclass(slots=True)
class CallbackSecret:
    """One secret."""

    id: str
    label: str | None
    plain: str = field(repr=False)
    created_at: float
    """Seconds since the epoch, as the one below."""
    last_used_at: float | None = None

    @property
    def key_prefix(self) -> str:
        """What may be shown of it."""
        return self.plain[:12]


class CallbackSecrets:
    """All secrets of one region, the newest last."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Start without any; *clock* tells seconds since the epoch."""
        self._clock = clock
        self._secrets: list[CallbackSecret] = []

    def make(self, label: str | None) -> CallbackSecret:
        """Return a new secret, which signs from now on; the oldest of too many is forgotten."""
        secret = CallbackSecret(str(uuid.uuid4()), label, f"whsec_{token_hex(24)}", self._clock())
        self._secrets = [*self._secrets, secret][-_MOST_SECRETS:]
        return secret

    def all(self) -> tuple[CallbackSecret, ...]:
        """Return all secrets, the oldest first."""
        return tuple(self._secrets)

    def current(self) -> CallbackSecret | None:
        """Return the one that signs; None where there is none."""
        return self._secrets[-1] if self._secrets else None

    def sign(self, body: bytes) -> tuple[str, str] | None:
        """Return a secret's id and its signature of *body*; None where there is no secret."""
        secret = self.current()
        if secret is None:
            return None
        secret.last_used_at = self._clock()
        return secret.id, signature(secret.plain, body)


def signature(secret: str, body: bytes) -> str:
    """Return the signature of *body* under *secret*."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
