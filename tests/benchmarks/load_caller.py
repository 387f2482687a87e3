"""
One caller as a process of its own: it asks at a steady rate and writes down how each request ended.

    python -m tests.benchmarks.load_caller PLAN.json

Why a process: whoever asks three hundred times a second is late with reading what came, and would blame the gateway
for it. A caller that asks seldom beside it sees what the gateway does.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
import orjson

from tests.benchmarks.steady import Told, steadily

#: Longer than any deadline that is asked for: whoever waits so long has lost the request.
PATIENCE_SECONDS = 40


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask."""

    url: str
    authorization: str
    body: str
    """The file that holds the request."""
    starts: float
    """The moment of the first request, in monotonic seconds."""
    per_second: float
    seconds: float
    told: str
    """The file that is written at the end: one `Ending` for each request, in the order in which they were due."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How one request ended."""

    due: float
    """Monotonic seconds, as the next one."""
    ended: float
    status: int
    """0 where no answer came."""
    code: str | None
    """The problem's, or what kept the answer from coming; None for an answer."""
    retry_after: str | None
    ways: tuple[tuple[str, str], ...]
    """Whom the gateway asked, in order, and how each call ended."""

    @property
    def seconds(self) -> float:
        """From the moment it was due."""
        return self.ended - self.due

    @property
    def good(self) -> bool:
        """Whether it was answered."""
        return self.status == 200

    @property
    def lost(self) -> bool:
        """Whether it was neither answered nor told when to return."""
        return not self.good and not (self.status in {429, 503} and int(self.retry_after or 0) >= 1)


def read_endings(file: Path) -> list[Ending]:
    """Return what a caller wrote."""
    return [
        Ending(**{**each, "ways": tuple((name, outcome) for name, outcome in each["ways"])})
        for each in orjson.loads(file.read_bytes())
    ]


async def call(plan: Plan, body: bytes) -> list[Told[Ending]]:
    """Ask as planned."""
    headers = {"Content-Type": "application/json", "Authorization": plan.authorization}
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=timeout, headers=headers
    ) as session:

        async def ask(_number: int) -> Ending:
            try:
                async with session.post(plan.url, data=body) as answer:
                    said = orjson.loads(await answer.read())
                    ended = time.monotonic()
                    ways = tuple((each["deployment"], each["outcome"]) for each in said.get("attempts", ()))
                    retry_after = answer.headers.get("Retry-After")
                    return Ending(0, ended, answer.status, said.get("code"), retry_after, ways)
            except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as fault:
                return Ending(0, time.monotonic(), 0, type(fault).__name__, None, ())

        await asyncio.sleep(max(0.0, plan.starts - time.monotonic()))
        return await steadily(ask, plan.per_second, plan.seconds)


def main(file: Path) -> None:
    """Do what the plan in *file* says."""
    plan = Plan(**orjson.loads(file.read_bytes()))
    answers = asyncio.run(call(plan, Path(plan.body).read_bytes()))
    endings = [{**asdict(told.answer), "due": told.due} for told in answers]
    Path(plan.told).write_bytes(orjson.dumps(endings))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
