"""Deployments that die, choke and slow down while many callers ask: who is asked, what it costs, nothing lost."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.asking import Caller, Reply
from tests.end_to_end.audit import audit
from tests.end_to_end.household import House, Winding, gateway_running, key_in
from tests.end_to_end.killing import Disk
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.money_house import gateways
from tests.end_to_end.upstreams import NAMES, PRODIA_MICROUSD, RUNFLOW, RUNFLOW_MICROUSD, Upstreams, until

AT_ONCE = 8

EU, US = "runflow-eu", "runflow-us"


@asynccontextmanager
async def ledger_kept_shut(url: str) -> AsyncIterator[None]:
    """Let nobody else write to the ledger while the block lasts; everybody may read."""
    disk = await Disk.open(url)
    sqlite = url.startswith("sqlite")
    try:
        await disk.rows("BEGIN IMMEDIATE" if sqlite else "BEGIN")
        if not sqlite:
            await disk.rows("LOCK TABLE entries IN SHARE ROW EXCLUSIVE MODE")
        yield
        await disk.rows("COMMIT")
    finally:
        await disk.close()


def question(upstreams: Upstreams, *, cache: str = "skip", **route: Any) -> dict[str, Any]:
    """Return a question, in the operator's order unless the route says otherwise."""
    return {
        "image": {"url": upstreams.scene("shoes").url},
        "prompt": "left shoe",
        "route": {"strategy": "priority", "deployments": list(NAMES), **route},
        "cache": {"mode": cache},
    }


async def crowd(caller: Caller, body: dict[str, Any], count: int, *, status: int = 200) -> list[Reply]:
    """Ask that many times, a few at once, and return the answers in the order in which they came."""
    places, replies = asyncio.Semaphore(AT_ONCE), []

    async def ask() -> None:
        async with places:
            replies.append(await caller.segment(body, status=status))

    await asyncio.gather(*(ask() for _ in range(count)))
    return replies


async def share_of(deployment: str, caller: Caller, body: dict[str, Any], holds: Callable[[float], bool]) -> None:
    """Ask until *holds* is true of the deployment's share of the latest forty answers."""
    latest: list[str] = []
    async with asyncio.timeout(85):
        while len(latest) < 40 or not holds(latest[-40:].count(deployment) / 40):
            latest += [reply.body["answers"][0]["deployment"] for reply in await crowd(caller, body, AT_ONCE)]


async def deployment(caller: Caller, name: str) -> dict[str, Any]:
    """Return one line of /v1/deployments."""
    listed = (await caller.get("/v1/deployments")).body["deployments"]
    return next(each for each in listed if each["name"] == name)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [({"kind": "refuse"}, "unreachable"), ({"kind": "status", "status": 500}, "failed")],
)
async def test_no_caller_sees_that_a_region_has_died(
    caller: Caller, house: House, upstreams: Upstreams, fault: dict[str, Any], outcome: str
) -> None:
    """Every question is answered by the next one; a few calls meet the dead region, and then none does."""
    await crowd(caller, question(upstreams), 40)
    upstreams.strike(EU, fault)
    replies = await crowd(caller, question(upstreams), 160)
    ways = Counter(tuple(reply.attempts) for reply in replies)
    assert {((EU, outcome), (US, "succeeded")), ((US, "succeeded"),)} == set(ways)
    assert 5 <= ways[(EU, outcome), (US, "succeeded")] <= 5 + AT_ONCE
    assert sum(len(reply.attempts) for reply in replies) <= 1.2 * 160 + 3
    assert 200 == len(upstreams.books_of(200))
    assert_books_agree(house.ledger(), upstreams.books())


async def test_a_region_that_takes_calls_and_answers_none_costs_little(
    caller: Caller, house: House, upstreams: Upstreams
) -> None:
    """Nobody sees it: its breaker opens, and what it may bill is on hold beside what the next one has charged."""
    upstreams.strike(EU, {"kind": "reset_after"})
    replies = await crowd(caller, question(upstreams), 100)
    assert sum(len(reply.attempts) for reply in replies) <= 1.2 * 100 + 3
    doubted = [reply for reply in replies if reply.attempts[0] == (EU, "unanswered")]
    assert 5 <= len(doubted) <= 5 + AT_ONCE
    assert {RUNFLOW_MICROUSD} == {reply.body["cost"]["held_microusd"] for reply in doubted}
    assert_books_agree(house.ledger(), upstreams.books())


async def test_an_open_breaker_lets_no_call_through_but_the_probe(
    wound_house: House, upstreams: Upstreams, winding: Winding, session: aiohttp.ClientSession
) -> None:
    """While it is open the region's books stay empty, however well it is; then one call of many at once finds out."""
    caller = Caller(wound_house.url, session, wound_house.key)
    upstreams.strike(EU, {"kind": "status", "status": 500})
    await crowd(caller, question(upstreams), 20)
    upstreams.strike(EU)
    await crowd(caller, question(upstreams), 80)
    assert {US} == {call.upstream for call in upstreams.books()}
    winding.ahead += 40
    upstreams.strike(EU, {"kind": "status", "status": 500})
    replies = await crowd(caller, question(upstreams), 80)
    assert 1 == sum((EU, "failed") in reply.attempts for reply in replies)


async def test_with_all_of_them_down_everybody_is_told_at_once(
    caller: Caller, house: House, upstreams: Upstreams
) -> None:
    """Once all breakers are open the answer is 503 with a moment to come back at, and nothing is reserved for it."""
    for name in NAMES:
        upstreams.strike(name, {"kind": "status", "status": 401})
    await caller.segment(question(upstreams), status=502)
    rows = house.rows()
    for reply in await crowd(caller, question(upstreams), 80, status=503):
        assert ("all_deployments_unavailable", []) == (reply.body["code"], reply.attempts)
        assert int(reply.headers["Retry-After"]) >= 1
    assert rows == house.rows()
    assert [] == upstreams.books()


async def test_a_throttled_region_is_left_alone_for_as_long_as_it_asks(
    wound_house: House, upstreams: Upstreams, winding: Winding, session: aiohttp.ClientSession
) -> None:
    """After a 429 that says half a minute nobody is lost, and nobody asks it before that is over."""
    caller = Caller(wound_house.url, session, wound_house.key)
    upstreams.strike(EU, {"kind": "throttle", "retry_after": 30})
    replies = await crowd(caller, question(upstreams), 40)
    assert {(US, "succeeded")} == {reply.attempts[-1] for reply in replies}
    assert 1 <= sum((EU, "overloaded") in reply.attempts for reply in replies) <= AT_ONCE
    upstreams.strike(EU)
    winding.ahead += 15
    await crowd(caller, question(upstreams), 40)
    assert {US} == {call.upstream for call in upstreams.books()}
    winding.ahead += 20
    assert [(EU, "succeeded")] == (await caller.segment(question(upstreams))).attempts


async def test_a_call_that_waits_for_the_ledger_is_not_sent_to_a_region_that_is_out_by_then(
    upstreams: Upstreams, tmp_path: Path, database_url: str, session: aiohttp.ClientSession
) -> None:
    """A 429 that is heard while the reservation is written holds for that call, too: the next region answers."""
    upstreams.strike(EU, {"kind": "latency", "seconds": 1}, {"kind": "throttle", "retry_after": 30})
    with gateways(upstreams.sandbox, tmp_path / "house", database_url=database_url, count=1) as [gateway]:
        caller = Caller(gateway.url, session, key_in(gateway.folder))
        first = asyncio.create_task(caller.segment(question(upstreams)))
        await asyncio.sleep(0.5)
        async with ledger_kept_shut(database_url):
            second = asyncio.create_task(caller.segment(question(upstreams)))
            async with asyncio.timeout(20):
                while (await deployment(caller, EU))["health"]["state"] == "closed":  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.05)
        assert [(EU, "overloaded"), (US, "succeeded")] == (await first).attempts
        assert [(US, "succeeded")] == (await second).attempts
    accounts = await audit(database_url, upstreams.books())
    ended = Counter((each.deployment, each.ended, each.reason) for each in accounts)
    assert {(EU, "release", "overloaded"): 1, (EU, "release", "not_sent"): 1, (US, "settle", None): 2} == ended


@pytest.mark.soak
async def test_traffic_leaves_a_slow_region_and_comes_back(caller: Caller, upstreams: Upstreams) -> None:
    """Under `fastest` nine of ten go to the region that is not ten times slower; once it is well it is found again."""
    body = question(upstreams, strategy="fastest", deployments=list(RUNFLOW))
    await crowd(caller, body, 40)
    upstreams.strike(EU, {"kind": "latency", "seconds": 0.7})
    await share_of(US, caller, body, lambda share: share >= 0.9)
    upstreams.strike(EU)
    await share_of(EU, caller, body, lambda share: share >= 0.3)


async def test_a_hedge_is_paid_for_and_so_is_the_call_that_lost(
    caller: Caller, house: House, upstreams: Upstreams
) -> None:
    """Both are reserved; the answer comes from the quick one, and the slow one goes on, is settled and is kept."""
    upstreams.strike(EU, {"kind": "latency", "seconds": 4})
    wish = question(upstreams, cache="use", hedge_after_seconds=0.2, max_attempts=2, deployments=[EU, "prodia"])
    reply = await caller.segment(wish)
    assert [("prodia", "succeeded"), (EU, "under_way")] == reply.attempts
    cost = reply.body["cost"]
    assert (PRODIA_MICROUSD, RUNFLOW_MICROUSD) == (cost["charged_microusd"], cost["held_microusd"])
    assert ["open", "settle"] == [each.ended for each in house.ledger()]
    until(lambda: ["settle", "settle"] == [each.ended for each in house.ledger()])
    assert_books_agree(house.ledger(), upstreams.books())
    again = await caller.segment(question(upstreams, cache="use", deployments=[EU]))
    assert (["hit"], EU) == (again.caches, again.body["answers"][0]["deployment"])


@pytest.mark.slow
async def test_the_moment_of_a_hedge_is_learned(caller: Caller, upstreams: Upstreams) -> None:
    """With `p95` nobody is asked twice until enough is known; then a call that is late by that has company."""
    wish = question(upstreams, hedge_after_seconds="p95", max_attempts=2, deployments=list(RUNFLOW))
    assert {((EU, "succeeded"),)} == {tuple(reply.attempts) for reply in await crowd(caller, wish, 8)}
    await crowd(caller, question(upstreams), 40)
    upstreams.strike(EU, {"kind": "latency", "seconds": 4})
    assert [(US, "succeeded"), (EU, "under_way")] == (await caller.segment(wish)).attempts


@pytest.mark.slow
async def test_no_more_than_a_twentieth_of_the_questions_is_asked_twice(
    caller: Caller, house: House, upstreams: Upstreams
) -> None:
    """However many wish for it, and however slow everything is; and a request that allows one call gets one."""
    for name in RUNFLOW:
        upstreams.strike(name, {"kind": "latency", "seconds": 0.3})
    wish = question(upstreams, hedge_after_seconds=0.05, deployments=list(RUNFLOW))
    await crowd(caller, wish, 60)
    await crowd(caller, question(upstreams, hedge_after_seconds=0.05, max_attempts=1), 5)
    until(lambda: all(each.ended != "open" for each in house.ledger()))
    assert 65 < len(house.ledger()) <= 65 + 65 // 20 + 1
    assert_books_agree(house.ledger(), upstreams.books())


async def test_an_operator_may_forbid_to_ask_again_in_doubt(
    upstreams: Upstreams, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """With no money in doubt allowed, a call that may have been billed is the last one, and the problem says why."""
    changes = {"routing": {"doubt": {"per_request_usd": "0"}}}
    with gateway_running(upstreams.sandbox, tmp_path / "careful", changes=changes) as house:
        caller = Caller(house.url, session, house.key)
        upstreams.strike(EU, {"kind": "reset_after"})
        reply = await caller.segment(question(upstreams), status=502)
        assert [(EU, "unanswered")] == reply.attempts
        assert "routing.doubt.per_request_usd" in reply.body["detail"]
        upstreams.strike(EU, {"kind": "status", "status": 500})
        assert [(EU, "failed"), (US, "succeeded")] == (await caller.segment(question(upstreams))).attempts


async def test_an_answer_says_why_each_deployment_was_chosen_or_was_not(caller: Caller, upstreams: Upstreams) -> None:
    """Every one has its place and its terms, or the reason why it has none; a quote says the same; a hit does, too."""
    body = question(upstreams, cache="use", strategy="cheapest", deployments=[EU, US, "prodia"]) | {"explain": True}
    for cache in ("miss", "hit"):
        answer = (await caller.segment(body)).body["answers"][0]
        explained = {each["deployment"]: each for each in answer["explanation"]}
        assert (cache, "prodia") == (answer["cache"], answer["deployment"])
        assert [1, None] == [explained["prodia"]["rank"], explained["local-classic"]["rank"]]
        assert {2, 3} == {explained[EU]["rank"], explained[US]["rank"]}
        assert "not_wanted" == explained["local-classic"]["reason"]
        assert PRODIA_MICROUSD == explained["prodia"]["weighed"]["cost_microusd"]
    quoted = (await caller.quote(body)).body["questions"][0]["explanation"]
    assert {"runflow-eu", "runflow-us", "prodia", "local-classic"} == {each["deployment"] for each in quoted}
    assert "explanation" not in (await caller.segment(body | {"explain": False})).body["answers"][0]


async def test_a_drained_region_is_left_alone(caller: Caller, house: House, upstreams: Upstreams) -> None:
    """From the moment that it is drained until it is resumed it gets no call, and the list says why."""
    admin = {"Authorization": f"Bearer {house.key}"}
    path = f"/admin/v1/deployments/{EU}"
    await caller.send("POST", f"{path}/drain", json={"reason": "moving house"}, status=200, headers=admin)
    assert {US} == {reply.attempts[0][0] for reply in await crowd(caller, question(upstreams), 10)}
    drained = await deployment(caller, EU)
    assert ("drained", False) == (drained["health"]["cause"], drained["takes_traffic"])
    assert "moving house" in drained["health"]["reason"]
    await caller.send("POST", f"{path}/resume", status=200, headers=admin)
    assert [(EU, "succeeded")] == (await caller.segment(question(upstreams))).attempts
