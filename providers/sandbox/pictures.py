"""
Where the fake Runflow gets a run's picture from.

Its own assets, a data: URI, an address on this machine; and for addresses in the providers' documents scenes stand. Why
nowhere else: the sandbox runs beside other people's services and must not be a way to reach them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

import aiohttp

from providers.sandbox.assets import Assets
from providers.sandbox.runflow_input import LARGEST_ASSET
from providers.sandbox.segmenting import BadPicture

_FETCH_SECONDS = 30


class PictureSource:
    """Brings the bytes behind an `image_url`."""

    def __init__(self, assets: Assets, session: aiohttp.ClientSession, known: Mapping[str, bytes]) -> None:
        """Look into *assets* first; have the *known* files by address; fetch the rest over *session*."""
        self._known = known
        self._assets = assets
        self._session = session

    async def bring(self, url: str) -> bytes:
        """
        Return the file.

        Raises:
            BadPicture: there is none to be had; the message says why.
        """
        if url.startswith("data:"):
            return _from_data_uri(url)
        if url in self._known:
            return self._known[url]
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
        except ValueError as error:
            raise BadPicture(f"image_url is no address: {error}") from error
        if parts.scheme not in ("http", "https"):
            raise BadPicture(f"422: media URL must use HTTP(S) or data URI, got '{parts.scheme}'")
        if parts.path.startswith("/assets/") and "X-Amz-Signature" in parts.query:
            return self._from_assets(unquote(parts.path), dict(parse_qsl(parts.query)))
        if not is_loopback(host):
            raise BadPicture(f"the sandbox fetches pictures from this machine only, not from {host}; upload it instead")
        return await self._fetched(url)

    def _from_assets(self, path: str, query: dict[str, str]) -> bytes:
        """Return an uploaded file."""
        found = self._assets.serve(path, query, credential=False)
        if not isinstance(found, tuple):
            raise BadPicture(f"the image could not be downloaded: {found.status} {found.message}")
        return found[1]

    async def _fetched(self, url: str) -> bytes:
        """Fetch a file; redirects are not followed, since they lead elsewhere."""
        try:
            async with asyncio.timeout(_FETCH_SECONDS), self._session.get(url, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise BadPicture(f"the image could not be downloaded: status {answer.status}")
                data = bytearray()
                async for chunk in answer.content.iter_chunked(1 << 16):
                    data += chunk
                    if len(data) > LARGEST_ASSET:
                        raise BadPicture(f"the image is larger than {LARGEST_ASSET} bytes")
                return bytes(data)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise BadPicture(f"the image could not be downloaded: {type(error).__name__}") from error


def _from_data_uri(url: str) -> bytes:
    """Return the bytes of a base64 data: URI."""
    head, _, text = url.partition(",")
    if not head.endswith(";base64"):
        raise BadPicture("the data URI is not base64")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise BadPicture(f"the data URI is not base64: {error}") from error


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
