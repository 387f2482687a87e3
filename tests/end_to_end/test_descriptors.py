"""More calls at once than the process has descriptors for: some are answered, the rest are free, nobody is blamed."""

import asyncio
import base64
import errno
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import httpx
import pytest

from tests.end_to_end.household import House, gateway_process, gateway_running
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


async def none_left(**_given: object) -> NoReturn:
    """Stand in for what connects: there is no descriptor left."""
    raise OSError(errno.EMFILE, "Too many open files")


def test_a_descriptor_that_is_missing_behind_the_reservation_costs_nothing(
    upstreams: Upstreams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt is released, the caller told to come back, the resource named, and nobody's breaker opens."""
    body = asked(upstreams)
    with (
        gateway_running(upstreams.sandbox, tmp_path / "house") as house,
        httpx.Client(base_url=house.url, timeout=60) as client,
    ):
        with monkeypatch.context() as patched:
            patched.setattr("aiohappyeyeballs.start_connection", none_left)
            for _ in range(10):
                refused = client.post("/v1/segmentations", json=body)
                assert (429, "overloaded") == (refused.status_code, refused.json()["code"])
        ready = client.get("/readyz")
        assert (503, ["descriptors"]) == (ready.status_code, list(ready.json()["shortages"]))
        listed = client.get("/v1/deployments").json()["deployments"]
        assert {"closed"} == {each["health"]["state"] for each in listed if each["name"] in NAMES}
        assert {"release"} == {each.ended for each in house.ledger()}
        assert 200 == client.post("/v1/segmentations", json=body).status_code
