"""More calls at once than the process has descriptors for: some are answered, the rest are free, nobody is blamed."""

import asyncio
import base64
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.household import House, gateway_process
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.upstreams import NAMES, Upstreams


def asked(upstreams: Upstreams) -> dict[str, Any]:
    """Return a question that has to be bought each time."""
    return {
        "image": {"data": base64.b64encode(upstreams.picture("shoes")).decode()},
        "prompt": "left shoe",
        "cache": {"mode": "skip"},
        "route": {"deployments": list(NAMES), "deadline_seconds": 60},
    }


@contextmanager
def cramped(upstreams: Upstreams, state: Path, descriptors: int) -> Iterator[House]:
    """Run a gateway with so many descriptors, soft and hard, in front of providers that take a while."""
    for name in NAMES:
        upstreams.strike(name, {"kind": "latency", "seconds": 0.5})
    with gateway_process(upstreams.sandbox, state, ulimit=f"-n {descriptors}") as running:
        yield running.house


@pytest.mark.parametrize(
    ("descriptors", "calls", "answered"), [(256, 100, 30), pytest.param(1024, 600, 200, marks=pytest.mark.slow)]
)
async def test_calls_beyond_the_descriptors_are_told_to_come_back(
    upstreams: Upstreams, tmp_path: Path, descriptors: int, calls: int, answered: int
) -> None:
    """Every billed call is among those answered, the rest are 429 before money, and health goes on being told."""
    health: list[int] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        with cramped(upstreams, tmp_path / "house", descriptors) as house:

            async def ask(body: dict[str, Any]) -> tuple[int, str | None, str | None]:
                async with session.post(house.url + "/v1/segmentations", json=body) as answer:
                    said = await answer.json(content_type=None)
                    return answer.status, said.get("code"), answer.headers.get("Retry-After")

            async def look() -> None:
                while True:
                    async with session.get(house.url + "/healthz", timeout=aiohttp.ClientTimeout(10)) as answer:
                        health.append(answer.status)
                    await asyncio.sleep(0.05)

            looking = asyncio.create_task(look())
            endings = await asyncio.gather(*(ask(asked(upstreams)) for _ in range(calls)))
            looking.cancel()
            await asyncio.wait({looking})
            good = [ending for ending in endings if ending[0] == 200]
            assert {(429, "overloaded")} >= {ending[:2] for ending in endings if ending[0] != 200}
            assert all(int(ending[2] or 0) >= 1 for ending in endings if ending[0] != 200)
            assert len(good) >= answered, Counter(endings)
            assert {200} == set(health)
            async with session.get(house.url + "/v1/deployments") as answer:
                listed = (await answer.json())["deployments"]
            assert {"closed"} == {each["health"]["state"] for each in listed if each["name"] in NAMES}
            async with session.get(house.url + "/readyz") as answer:
                assert (200, {}) == (answer.status, (await answer.json())["shortages"])
    ledger, books = house.ledger(), upstreams.books()
    assert len(good) == sum(each.ended == "settle" for each in ledger) == len(books)
    assert_books_agree(ledger, books)
