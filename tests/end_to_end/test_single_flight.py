"""Callers who ask the same at once share the provider's word about it, and none of each other's private trouble."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.asking import Caller, Reply, on, text
from tests.end_to_end.household import House, gateway_running
from tests.end_to_end.ledger import ledger_locked
from tests.end_to_end.upstreams import RUNFLOW_MICROUSD, Upstreams

FOLLOWERS = 19
SHARING = {
    "tenants": {
        "acme": {"share_cache": True},
        "poor": {"share_cache": True},
        "marked": {"share_cache": True, "markup": "1.15"},
        "fixed": {"share_cache": True, "prices": {"runflow-eu": "0.0011"}},
    }
}
SPENT = "0.000001"


@pytest.fixture
def sharing_house(upstreams: Upstreams, tmp_path: Path) -> Iterator[House]:
    """Run a gateway with two tenants that share their answers."""
    with gateway_running(upstreams.sandbox, tmp_path / "sharing", changes=SHARING) as house:
        yield house


async def key_of(office: Caller, tenant: str) -> dict[str, Any]:
    """Return a new key of a tenant."""
    made = await office.send("POST", "/admin/v1/keys", json={"tenant": tenant, "scopes": ["segment"]}, status=201)
    return made.body


async def in_trouble(office: Caller, trouble: str, key: dict[str, Any]) -> None:
    """Give the leader a hard budget that is too small."""
    subject = {"key_budget": {"key_id": key["id"]}, "tag_budget": {"tag": "team=red"}}.get(trouble, {})
    budget = {"tenant": key["tenant"], "limit_usd": SPENT, "period": "total", "hard": True, **subject}
    await office.send("PUT", "/admin/v1/budgets", json=budget, status=200)


def question(upstreams: Upstreams, **wishes: Any) -> dict[str, Any]:
    """Return what all of them ask."""
    route = on("runflow-eu", **{"deadline_seconds": 20, **wishes})
    return {"image": {"url": upstreams.scene("shoes").url}, "prompts": [text("left shoe")], "route": route}


def assert_answered(replies: list[Reply], joined: int) -> None:
    """Demand that everybody has an answer, that one of them has bought it, and so many have waited for it."""
    caches = Counter(cache for reply in replies for cache in reply.caches)
    assert {"miss": 1, "joined": joined} == caches
    assert all(reply.body["instances"] for reply in replies)


@pytest.fixture
def either_house(upstreams: Upstreams, tmp_path: Path, database_url: str) -> Iterator[House]:
    """Run such a gateway on each kind of database."""
    with gateway_running(upstreams.sandbox, tmp_path / "sharing", changes=SHARING, database_url=database_url) as house:
        yield house


@pytest.mark.parametrize("trouble", ["key_budget", "tag_budget", "tenant_budget", "revoked", "ceiling"])
async def test_a_follower_goes_on_without_a_leader_that_may_not_spend(
    either_house: House, upstreams: Upstreams, session: aiohttp.ClientSession, trouble: str, database_url: str
) -> None:
    """One caller's key, budget or ceiling is its own: the next one buys, once for all the others."""
    office = Caller(either_house.url, session, either_house.key)
    key = await key_of(office, "poor" if trouble == "tenant_budget" else "acme")
    other = await key_of(office, "acme")
    asked = question(upstreams)
    body: dict[str, Any] = dict(asked)
    if trouble.endswith("budget"):
        await in_trouble(office, trouble, key)
        body["tags"] = {"team": "red"} if trouble == "tag_budget" else {}
    if trouble == "ceiling":
        body["prompts"] = [text("right shoe"), text("left shoe")]
        body["route"] = {**body["route"], "max_charge_usd": "0.006"}
    leader, follower = (Caller(either_house.url, session, each["key"]) for each in (key, other))
    await leader.get("/v1/deployments")  # its key is known from here on
    async with ledger_locked(database_url) as execute:
        first = asyncio.create_task(leader.segment(body, status=None))
        await asyncio.sleep(0.3)
        rest = [asyncio.create_task(follower.segment(asked)) for _ in range(FOLLOWERS)]
        await asyncio.sleep(0.7)
        if trouble == "revoked":
            await execute(f"UPDATE api_keys SET revoked_at = 1 WHERE id = '{key['id']}'")
    refused, replies = await first, [await each for each in rest]
    assert not any(word in str(each.body) for each in replies for word in ("poor", SPENT, "budget"))
    if trouble == "ceiling":
        assert "error" in refused.body["answers"][1]
    else:
        assert refused.status == (401 if trouble == "revoked" else 402)
    assert_answered(replies, FOLLOWERS - 1)
    assert (2 if trouble == "ceiling" else 1) == len(upstreams.books())


@pytest.mark.parametrize(
    "trouble",
    [
        "hurry",
        "tenant_budget",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("key_budget", "tag_budget", "revoked", "hangup")),
    ],
)
async def test_a_follower_s_trouble_stays_its_own(
    sharing_house: House, upstreams: Upstreams, session: aiohttp.ClientSession, trouble: str
) -> None:
    """One in the middle who may not spend, has no time or hangs up changes nothing for those before and after it."""
    office = Caller(sharing_house.url, session, sharing_house.key)
    key = await key_of(office, "poor" if trouble == "tenant_budget" else "acme")
    other = await key_of(office, "acme")
    asked = question(upstreams)
    body: dict[str, Any] = question(upstreams, deadline_seconds=1) if trouble == "hurry" else dict(asked)
    if trouble.endswith("budget"):
        await in_trouble(office, trouble, key)
        body["tags"] = {"team": "red"} if trouble == "tag_budget" else {}
    troubled, rest = (Caller(sharing_house.url, session, each["key"]) for each in (key, other))
    await troubled.get("/v1/deployments")  # its key is known from here on
    upstreams.strike("runflow-eu", {"kind": "latency", "seconds": 3})
    before = [asyncio.create_task(rest.segment(asked)) for _ in range(10)]
    await office.until_in_flight("runflow-eu", 1)
    middle = asyncio.create_task(troubled.segment(body, status=None))
    await asyncio.sleep(0.2)
    after = [asyncio.create_task(rest.segment(asked)) for _ in range(9)]
    if trouble == "hangup":
        middle.cancel()
    if trouble == "revoked":
        await office.send("DELETE", f"/admin/v1/keys/{key['id']}", status=200)
    replies = [await each for each in (*before, *after)]
    assert_answered(replies, 18)
    assert not any("poor" in str(each.body) for each in replies)
    assert 1 == len(upstreams.books())
    if trouble == "hangup":
        return
    reply = await middle
    if trouble == "hurry":
        assert 504 == reply.status
    else:
        assert (200, 0, ["joined"]) == (reply.status, reply.charged, reply.caches)  # free, as a hit is


async def test_what_a_joined_answer_has_saved_is_in_the_caller_s_own_terms(
    sharing_house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """Who joins another tenant's call reads what its own would have cost, and no word of the other one's terms."""
    office = Caller(sharing_house.url, session, sharing_house.key)
    keys = [await key_of(office, tenant) for tenant in ("marked", "fixed", "acme")]
    buyer, *joining = (Caller(sharing_house.url, session, each["key"]) for each in keys)
    upstreams.strike("runflow-eu", {"kind": "latency", "seconds": 2})
    first = asyncio.create_task(buyer.segment(question(upstreams)))
    await office.until_in_flight("runflow-eu", 1)
    replies = await asyncio.gather(*(each.segment(question(upstreams)) for each in joining))
    bought = await first
    assert (["miss"], 5750) == (bought.caches, bought.charged)
    assert [(["joined"], 0, 1100), (["joined"], 0, RUNFLOW_MICROUSD)] == [
        (each.caches, each.charged, each.body["cost"]["saved_microusd"]) for each in replies
    ]
    assert not any(word in str(each.body) for each in replies for word in ("marked", "5750", "0.00575"))
    assert 1 == len(upstreams.books())


async def test_a_follower_has_its_own_time(
    sharing_house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """A leader in a hurry leaves with its deadline; the others get what they would have got alone, by one more call."""
    upstreams.strike("runflow-eu", {"kind": "latency", "seconds": 2})
    caller = Caller(sharing_house.url, session, sharing_house.key)
    first = asyncio.create_task(caller.segment(question(upstreams, deadline_seconds=1), status=None))
    await asyncio.sleep(0.2)
    replies = await asyncio.gather(*(caller.segment(question(upstreams)) for _ in range(FOLLOWERS)))
    assert 504 == (await first).status
    assert_answered(replies, FOLLOWERS - 1)
    assert len(upstreams.books()) <= 2


async def test_the_most_urgent_one_sets_the_pace(
    sharing_house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """Who waits for a patient leader's silent deployment asks the next one when its own time for a call is over."""
    upstreams.strike("runflow-eu", {"kind": "silence"})
    caller = Caller(sharing_house.url, session, sharing_house.key)

    def asked(seconds: float) -> dict[str, Any]:
        return question(upstreams) | {"route": on("runflow-eu", "runflow-us", deadline_seconds=seconds)}

    first = asyncio.create_task(caller.segment(asked(8), status=None))
    await asyncio.sleep(0.2)
    replies = await asyncio.gather(*(caller.segment(asked(4)) for _ in range(FOLLOWERS)))
    caches = Counter(cache for reply in replies for cache in reply.caches)
    assert (1, FOLLOWERS - 1) == (caches["miss"], caches["joined"] + caches["hit"])  # a hit: it came when all was done
    assert all(reply.body["instances"] for reply in replies)
    assert ["runflow-us"] == [call.upstream for call in upstreams.books()]
    upstreams.strike("runflow-eu")
    first.cancel()


async def test_each_region_keeps_its_answer(
    sharing_house: House, upstreams: Upstreams, session: aiohttp.ClientSession
) -> None:
    """Callers who may use different deployments, asking in turn, buy one answer each and push out none."""
    caller = Caller(sharing_house.url, session, sharing_house.key)
    for _ in range(3):
        for region in ("runflow-eu", "runflow-us"):
            asked = question(upstreams) | {"route": on(region)}
            assert [region] == [each["deployment"] for each in (await caller.segment(asked)).body["answers"]]
    assert 2 == len(upstreams.books())
