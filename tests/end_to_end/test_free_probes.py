"""A region whose breaker is open is asked something free before any caller's question goes there again."""

import asyncio
import json
from collections import Counter
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.asking import Caller, on
from tests.end_to_end.household import House, Winding
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.upstreams import Upstreams

EU, US = "runflow-eu", "runflow-us"

#: How long before an ejection's end the clock is wound to, in seconds.
SHORTLY = 0.2


class Watched:
    """A gateway before which a region dies and gets well, and what everybody sees of it."""

    def __init__(
        self, house: House, upstreams: Upstreams, winding: Winding, session: aiohttp.ClientSession, **wishes: Any
    ) -> None:
        """Ask about the shoes, `runflow-eu` first."""
        self.house = house
        self.upstreams = upstreams
        self.winding = winding
        self.session = session
        self.caller = Caller(house.url, session, house.key)
        self.body = {
            "image": {"url": upstreams.scene("shoes").url},
            "prompt": "left shoe",
            "route": on(EU, US, **wishes),
            "cache": {"mode": "skip"},
        }

    async def attempts(self) -> list[tuple[str, str]]:
        """Ask once, and return whom that has reached."""
        return (await self.caller.segment(self.body)).attempts

    async def health(self, name: str = EU) -> dict[str, Any]:
        """Return what `GET /v1/deployments` says of a region's health."""
        listed = (await self.caller.get("/v1/deployments")).body["deployments"]
        health: dict[str, Any] = next(each["health"] for each in listed if each["name"] == name)
        return health

    async def requests(self, name: str = EU) -> Counter[str]:
        """Return how many requests have come to a region, by the name of the call, whoever runs it."""
        url = f"{self.upstreams.sandbox.control_url}/upstreams/{name}/requests"
        async with self.session.get(url) as answer:
            return Counter((await answer.json())["requests"])

    def free_probes(self, result: str) -> int:
        """Return how many free probes of the region have come to that, as the log tells."""
        lines = (self.house.state / "gateway.log").read_text(encoding="utf-8").splitlines()
        told = [json.loads(line) for line in lines if '"free_probe"' in line]
        return [(line["deployment"], line["result"]) for line in told].count((EU, result))

    async def to_the_end_of_the_ejection(self) -> None:
        """Wind the clock on until shortly before it."""
        self.winding.ahead += (await self.health())["retry_after_seconds"] - SHORTLY

    async def until_free_probes(self, result: str, count: int) -> None:
        """Keep asking until so many free probes have come to that; none of the questions may reach the region."""
        async with asyncio.timeout(60):
            while self.free_probes(result) < count:
                assert [(US, "succeeded")] == await self.attempts()

    async def until_passed(self, count: int) -> None:
        """Wait until so many free probes have passed, while nobody asks anything."""
        async with asyncio.timeout(60):
            while self.free_probes("passed") < count:
                await self.health()


@pytest.fixture
def watched(wound_house: House, upstreams: Upstreams, winding: Winding, session: aiohttp.ClientSession) -> Watched:
    """A new gateway whose clock can be wound on."""
    return Watched(wound_house, upstreams, winding, session)


async def test_no_caller_meets_a_dead_region_again(watched: Watched) -> None:
    """While it refuses connections it is asked only what is free; healed, it is back by one such and one call."""
    watched.upstreams.strike(EU, {"kind": "refuse"})
    for _ in range(5):
        assert [(EU, "unreachable"), (US, "succeeded")] == await watched.attempts()
    for count, least in ((1, 55), (2, 85)):
        await watched.to_the_end_of_the_ejection()
        await watched.until_free_probes("failed", count)
        assert [(US, "succeeded")] == await watched.attempts()
        health = await watched.health()
        assert ("open", "failing") == (health["state"], health["cause"])
        series = f'maskgate_free_probes_total{{deployment="{EU}",result="failed"}}'
        assert count == (await watched.caller.metrics())[series]
        assert health["reason"].startswith("a free probe failed: ")
        assert least < health["retry_after_seconds"] <= least + 15
    watched.upstreams.strike(EU)
    await watched.to_the_end_of_the_ejection()
    before = await watched.requests()
    await watched.until_passed(1)
    health = await watched.health()
    assert "half_open" == health["state"]
    assert "a free probe has passed since" in health["reason"]
    assert {"account.me": 1} == await watched.requests() - before
    assert [(EU, "succeeded")] == await watched.attempts()
    health = await watched.health()
    assert ("closed", None) == (health["state"], health["reason"])
    since = await watched.requests() - before
    assert (1, 1) == (since["account.me"], since["create"])
    assert_books_agree(watched.house.ledger(), watched.upstreams.books())


async def test_a_region_that_answers_and_is_ill_gets_free_questions_alone(watched: Watched) -> None:
    """While every call there ends in 500 nothing but the free question reaches it, and none of that is billed."""
    watched.upstreams.strike(EU, {"kind": "status", "status": 500, "on": "any"})
    for _ in range(5):
        assert [(EU, "failed"), (US, "succeeded")] == await watched.attempts()
    before = await watched.requests()
    for count in (1, 2, 3):
        await watched.to_the_end_of_the_ejection()
        await watched.until_free_probes("failed", count)
    assert {"account.me": 3} == await watched.requests() - before
    assert {US} == {call.upstream for call in watched.upstreams.books()}
    assert_books_agree(watched.house.ledger(), watched.upstreams.books())


async def test_a_key_that_is_refused_is_tried_without_a_caller(watched: Watched) -> None:
    """A free question that is denied keeps the region denied, which is what its operator has to be told."""
    watched.upstreams.strike(EU, {"kind": "status", "status": 401, "on": "any"})
    assert [(EU, "denied"), (US, "succeeded")] == await watched.attempts()
    await watched.to_the_end_of_the_ejection()
    await watched.until_free_probes("failed", 1)
    health = await watched.health()
    assert ("open", "denied") == (health["state"], health["cause"])
    assert "401" in health["reason"]


async def test_a_free_answer_is_no_proof(watched: Watched) -> None:
    """A region that knows our key and fails at segmentations meets one caller for each ejection, and stays out."""
    watched.upstreams.strike(EU, {"kind": "status", "status": 500})
    for _ in range(5):
        assert [(EU, "failed"), (US, "succeeded")] == await watched.attempts()
    for count in (1, 2):
        await watched.to_the_end_of_the_ejection()
        await watched.until_passed(count)
        assert [(EU, "failed"), (US, "succeeded")] == await watched.attempts()
        assert [(US, "succeeded")] == await watched.attempts()
    assert "500" in (await watched.health())["reason"]
