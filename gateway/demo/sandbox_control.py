"""The sandbox's control calls that the demonstration makes: faults, scenes, books. The gateway never makes them."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from providers.contract import Mask


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture that the sandbox knows exactly."""

    name: str
    image_url: str
    objects: dict[str, Mask]
    """The true mask of each thing in it, by name."""


class SandboxControl:
    """A sandbox's control server."""

    def __init__(self, url: str) -> None:
        """Stand for the one at *url*."""
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection."""
        self._session = aiohttp.ClientSession(raise_for_status=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()

    async def scene(self, name: str) -> Scene:
        """Return a known scene."""
        listed = (await self._call("GET", "/scenes"))["scenes"]
        found = next(scene for scene in listed if scene["name"] == name)
        masks = {
            each["name"]: Mask.from_counts((each["rle"]["size"][0], each["rle"]["size"][1]), each["rle"]["counts"])
            for each in found["objects"]
        }
        return Scene(found["name"], found["image_url"], masks)

    async def take_down(self, upstream: str) -> None:
        """Have an upstream refuse connections."""
        await self._call("PUT", f"/upstreams/{upstream}/fault", json={"kind": "refuse"})

    async def heal(self, upstream: str) -> None:
        """Let it answer again."""
        await self._call("DELETE", f"/upstreams/{upstream}/fault")

    async def billed_microusd(self) -> int:
        """Return what the upstreams' own books say they bill."""
        return sum(call["microusd"] for call in (await self._call("GET", "/books"))["calls"])

    async def _call(self, method: str, path: str, *, json: Any = None) -> Any:
        if self._session is None:
            raise RuntimeError("use the control as a context manager")
        async with self._session.request(method, self._url + path, json=json) as response:
            return await response.json() if response.content_type == "application/json" else None
