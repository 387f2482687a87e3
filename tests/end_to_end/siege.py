"""Callers who do not stop asking, whatever happens to the gateway, and what they were told."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.end_to_end.asking import on, text
from tests.end_to_end.upstreams import PATIENCE_SECONDS, Upstreams


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one request."""

    status: int
    word: str
    """What the cache did, or the problem's code."""
    seconds: float


@dataclass(slots=True)
class Siege:
    """What callers were told, oldest first."""

    url: str
    session: aiohttp.ClientSession
    headers: Mapping[str, str]
    told: list[Told] = field(default_factory=list)

    async def ask(self, body: Mapping[str, Any]) -> Told:
        """Ask once."""
        started = time.monotonic()
        async with self.session.post(self.url + "/v1/segmentations", json=body, headers=self.headers) as answer:
            said = await answer.json(content_type=None)
            word = said["code"] if answer.status != 200 else said["answers"][0]["cache"]
            told = Told(answer.status, word, time.monotonic() - started)
        self.told.append(told)
        return told

    @asynccontextmanager
    async def under_way(self, body: Mapping[str, Any], *, callers: int) -> AsyncIterator[None]:
        """Have that many callers ask the same, again and again, while the block lasts; then let each one finish."""
        ended = False

        async def insist() -> None:
            while not ended:
                await self.ask(body)

        tasks = [asyncio.create_task(insist()) for _ in range(callers)]
        try:
            yield
        finally:
            ended = True
            await asyncio.gather(*tasks)

    async def until_told(self, status: int, body: Mapping[str, Any]) -> None:
        """Ask until the answer has that status."""

        async def told() -> bool:
            return (await self.ask(body)).status == status

        await until_so(told)

    async def until_heard(self, status: int) -> None:
        """Return when one of those who ask has been told that status, from now on."""
        seen = len(self.told)

        async def heard() -> bool:
            return any(each.status == status for each in self.told[seen:])

        await until_so(heard)


async def until_so(holds: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as *holds* does; for what another process does, and tells nobody."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.01)


def purchase(upstreams: Upstreams, deployment: str = "runflow-eu") -> dict[str, Any]:
    """Return a question that has to be bought each time."""
    return {
        "image": {"data": base64.b64encode(upstreams.picture("shoes")).decode()},
        "prompts": [text("left shoe")],
        "route": on(deployment, deadline_seconds=30),
        "cache": {"mode": "skip"},
    }


def keepsake(upstreams: Upstreams) -> dict[str, Any]:
    """Return a question that is bought once."""
    return purchase(upstreams) | {"cache": {"mode": "use"}}
