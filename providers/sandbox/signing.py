"""
Addresses that expire, in the look of S3's presigned ones.

Runflow's outputs and uploads are presigned and time-limited; only the look is Amazon's here, the signature is an HMAC
of the sandbox's own, since clients must treat it as opaque.

Source: upstreams' facts (docs.runflow.io concepts/callbacks, guides/upload-large-files), read 2026-11; the 403 after
expiry is the documented one for uploads and invented for outputs; the 400 for a second credential is S3's.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

_DATE = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a signed address is not served."""

    status: int
    code: str
    message: str

    @property
    def xml(self) -> bytes:
        """The error body, as object stores write it."""
        return (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{self.code}</Code>'
            f"<Message>{self.message}</Message></Error>"
        ).encode()


NO_SUCH_KEY = Refusal(404, "NoSuchKey", "The specified key does not exist.")


class Signer:
    """Signs paths and checks them again."""

    def __init__(self, secret: bytes, clock: Callable[[], float]) -> None:
        """Sign with *secret*; *clock* tells seconds since the epoch."""
        self._secret = secret
        self._clock = clock

    def url(self, base: str, path: str, *, seconds: int, age: int = 0) -> str:
        """Return the address of *path* under *base* that is good for *seconds*, signed *age* seconds ago."""
        date = datetime.fromtimestamp(self._clock() - age, UTC).strftime(_DATE)
        signature = self._signature(path, date, str(seconds))
        return (
            f"{base}{quote(path)}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={date}&X-Amz-Expires={seconds}"
            f"&X-Amz-SignedHeaders=host&X-Amz-Signature={signature}"
        )

    def check(self, path: str, query: Mapping[str, str], *, credential: bool = False) -> Refusal | None:
        """
        Say why *path* is not served; None when the signature holds.

        Args:
            path: decoded path of the request.
            query: its query.
            credential: whether an Authorization header came with it, which no one may send to such an address.
        """
        if credential:
            return Refusal(400, "InvalidArgument", "Only one auth mechanism allowed; send no Authorization header.")
        date, expires = query.get("X-Amz-Date", ""), query.get("X-Amz-Expires", "")
        given = query.get("X-Amz-Signature", "")
        if not hmac.compare_digest(given.encode(), self._signature(path, date, expires).encode()):
            return Refusal(403, "SignatureDoesNotMatch", "The request signature does not match.")
        signed_at = datetime.strptime(date, _DATE).replace(tzinfo=UTC).timestamp()
        if self._clock() > signed_at + int(expires):
            return Refusal(403, "AccessDenied", "Request has expired")
        return None

    def _signature(self, path: str, date: str, expires: str) -> str:
        """Return the lower-case hexadecimal signature."""
        return hmac.new(self._secret, f"{path}\n{date}\n{expires}".encode(), hashlib.sha256).hexdigest()
