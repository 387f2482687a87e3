"""Three times what the deployments bear: as much as they bear is answered, and the rest is told when to return."""

import asyncio
import base64
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml

from gateway.app import sandbox_config
from tests.end_to_end.household import House, gateway_process
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.upstreams import NAMES, Upstreams

#: How long too much is asked; the promise is about 30.
SECONDS = 6.0
#: Calls at once that each of the deployments is taken to bear, and questions that may wait for it.
BEARS, MAY_WAIT = 4, 8
PLACES = len(NAMES) * BEARS
TIMES = 3


@dataclass(frozen=True, slots=True)
class Ending:
    """How one request ended."""

    status: int
    code: str | None
    """The problem's; None for an answer."""
    retry_after: str | None
    at: float
    """When, in monotonic seconds."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """Callers with as many connections as they like."""

    house: House
    session: aiohttp.ClientSession
    asked: dict[str, Any]

    async def ask(self) -> Ending:
        """Ask once, of no cache."""
        started = time.monotonic()
        async with self.session.post(self.house.url + "/v1/segmentations", json=self.asked) as answer:
            body, ended = await answer.json(content_type=None), time.monotonic()
            return Ending(answer.status, body.get("code"), answer.headers.get("Retry-After"), ended, ended - started)

    async def one_after_another(self, count: int) -> list[Ending]:
        """Ask so many times without a pause."""
        return [await self.ask() for _ in range(count)]

    async def steadily(self, per_second: float, seconds: float) -> list[Ending]:
        """Ask at that rate, whether answers come or not."""
        began, asking = time.monotonic(), list[asyncio.Task[Ending]]()
        for number in range(round(per_second * seconds)):
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
            asking.append(asyncio.create_task(self.ask()))
        return list(await asyncio.gather(*asking))


@pytest.fixture
def small_house(upstreams: Upstreams, tmp_path: Path) -> Iterator[House]:
    """Run a gateway whose deployments bear a few calls at once, each of which takes a while."""
    listed = yaml.safe_load(sandbox_config(upstreams.sandbox.host, upstreams.sandbox.port))["deployments"]
    small = {
        index: {**each, "max_concurrency": BEARS, "max_queue": MAY_WAIT}
        for index, each in enumerate(listed)
        if each["name"] in NAMES
    }
    for name in NAMES:
        upstreams.strike(name, {"kind": "latency", "seconds": 0.4})
    with gateway_process(upstreams.sandbox, tmp_path / "small", changes={"deployments": small}) as running:
        yield running.house


@pytest.fixture
async def crowd(small_house: House, upstreams: Upstreams, session: aiohttp.ClientSession) -> Crowd:
    """Return its callers. They send the picture along: how long a fetch takes is another server's doing."""
    asked = {
        "image": {"data": base64.b64encode(upstreams.picture("shoes")).decode()},
        "prompt": "left shoe",
        "cache": {"mode": "skip"},
        "route": {"deployments": list(NAMES), "deadline_seconds": 8},
    }
    return Crowd(small_house, session, asked)


def figures(milliseconds: list[float]) -> str:
    """Return the middle and the 99th percentile in words."""
    ordered = sorted(milliseconds)
    middle, high = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.99))
    return f"p50 {middle:.1f} ms, p99 {high:.1f} ms"


def logged(house: House) -> list[float]:
    """Return how long the gateway took for each refusal, in milliseconds: without what this busy process adds."""
    lines = (house.state / "gateway.log").read_text(encoding="utf-8").splitlines()
    entries = [orjson.loads(line) for line in lines if '"outcome":"overloaded"' in line]
    return [entry["ms"] for entry in entries]


@pytest.mark.alone
async def test_three_times_too_much(crowd: Crowd, small_house: House, upstreams: Upstreams) -> None:
    """At three times capacity 80 % of it is answered, refusals say when to return and are free; then all is well."""
    calm = await asyncio.gather(*(crowd.one_after_another(3) for _ in range(PLACES)))
    endings = [ending for row in calm for ending in row]
    assert {200: len(endings)} == Counter(ending.status for ending in endings)
    capacity = PLACES / (sum(ending.seconds for ending in endings) / len(endings))

    began = time.monotonic()
    endings = await crowd.steadily(TIMES * capacity, SECONDS)
    good = [ending for ending in endings if ending.status == 200]
    refused = [ending for ending in endings if ending.status != 200]
    assert {(429, "overloaded")} == {(ending.status, ending.code) for ending in refused}
    assert all(int(ending.retry_after or 0) >= 1 for ending in refused)
    goodput = len(good) / (max(ending.at for ending in good) - began)
    print(  # noqa: T201 - the figures are what one runs it by hand for
        f"\ncapacity {capacity:.1f}/s, asked {TIMES * capacity:.1f}/s, answered {goodput:.1f}/s\n"
        f"{len(refused)} were refused\n"
        f"refusals as their senders see them: {figures([ending.seconds * 1000 for ending in refused])}\n"
        f"refusals as the gateway's log has them: {figures(logged(small_house))}"
    )
    assert goodput >= 0.8 * capacity

    after = await asyncio.gather(*(crowd.one_after_another(2) for _ in range(PLACES)))
    assert {200: 2 * PLACES} == Counter(ending.status for row in after for ending in row)
    ledger = small_house.ledger()
    assert {"settle": len(good) + 5 * PLACES} == Counter(each.ended for each in ledger)
    assert_books_agree(ledger, upstreams.books())
