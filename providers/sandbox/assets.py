"""
Uploads of the fake Runflow: announce, put, confirm, then use the signed address as `image_url`.

Source: docs.runflow.io guides/upload-large-files (sizes, the three steps, no credential on the upload); read
2026-11-20. The lifetimes, and the errors of a confirmation without an upload, are invented.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from providers.sandbox.runflow_input import AssetRequest
from providers.sandbox.shelf import Shelf
from providers.sandbox.signing import NO_SUCH_KEY, Refusal, Signer

_MOST_ASSETS = 20_000
_MOST_BYTES = 512_000_000
_SIGNED_SECONDS = 900


@dataclass(slots=True)
class Asset:
    """One uploaded file, or one that is yet to come."""

    id: str
    request: AssetRequest
    created_at: float
    """Seconds since the epoch."""
    data: bytes | None = field(default=None, repr=False)
    confirmed: bool = False

    @property
    def path(self) -> str:
        """Where it is served."""
        return f"/assets/{self.id}/{self.request.filename}"


class Assets:
    """All assets of one upstream."""

    def __init__(self, signer: Signer, clock: Callable[[], float]) -> None:
        """Sign addresses with *signer*; *clock* tells seconds since the epoch."""
        self._signer = signer
        self._clock = clock
        self._assets: Shelf[Asset] = Shelf(most=_MOST_ASSETS, most_bytes=_MOST_BYTES)

    def announce(self, request: AssetRequest, base: str) -> tuple[Asset, str]:
        """Make room for a file; return it and the address to put it to, under *base*."""
        asset = Asset(str(uuid.uuid4()), request, self._clock())
        self._assets.put(asset.id, asset, size=0)
        return asset, self._signer.url(base, f"/uploads/{asset.id}", seconds=_SIGNED_SECONDS)

    def refusal(self, path: str, query: Mapping[str, str], *, credential: bool) -> Refusal | None:
        """Say why a file may not be put to *path*; None when it may."""
        return self._signer.check(path, query, credential=credential)

    def put(self, asset_id: str, data: bytes, media_type: str) -> Refusal | None:
        """Take the bytes of a file; or say why not."""
        asset = self._assets.get(asset_id)
        if asset is None:
            return NO_SUCH_KEY
        if media_type != asset.request.mime_type:
            message = f"Content-Type must be the announced {asset.request.mime_type}."
            return Refusal(403, "SignatureDoesNotMatch", message)
        asset.data = data
        self._assets.put(asset.id, asset, size=len(data))
        return None

    def get(self, asset_id: str) -> Asset | None:
        """Return an asset; None when it never was or is forgotten."""
        return self._assets.get(asset_id)

    def url(self, asset: Asset, base: str) -> str:
        """Return its address under *base*, newly signed."""
        return self._signer.url(base, asset.path, seconds=_SIGNED_SECONDS)

    def serve(self, path: str, query: Mapping[str, str], *, credential: bool) -> tuple[str, bytes] | Refusal:
        """Return media type and bytes of the file at *path*, or why it is not served."""
        refusal = self._signer.check(path, query, credential=credential)
        if refusal is not None:
            return refusal
        asset = self._assets.get(path.split("/")[2])
        if asset is None or asset.data is None or not asset.confirmed:
            return NO_SUCH_KEY
        return asset.request.mime_type, asset.data
