"""What holds for very many requests at once: no error, nothing bought twice, nothing lost, few transactions."""

import asyncio
import base64
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from tests.end_to_end.asking import Caller, on, text
from tests.end_to_end.household import House, gateway_process, gateway_running
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.upstreams import NAMES, PRODIA_MICROUSD, RUNFLOW, RUNFLOW_MICROUSD, Scene, Upstreams, until

MANY = 1000

#: One transaction has to serve this many rows of the ledger on average, at the least.
ROWS_A_TRANSACTION = 4


@pytest.fixture
def busy_house(upstreams: Upstreams, tmp_path: Path) -> Iterator[House]:
    """Run a gateway as a process, so that it has a processor to itself."""
    with gateway_process(upstreams.sandbox, tmp_path / "busy") as running:
        yield running.house


@pytest.fixture
async def crowd(busy_house: House, session: aiohttp.ClientSession) -> Caller:
    """Return the callers of that gateway."""
    return Caller(busy_house.url, session, busy_house.key)


def places(scene: Scene, count: int) -> list[tuple[int, int, int]]:
    """Return that many different pixels on a scene's things, spread evenly: x, y and the thing's index."""
    owner = np.full((scene.height, scene.width), -1)
    for index, thing in enumerate(scene.things):
        owner[thing.bitmap == 1] = index
    rows, columns = np.nonzero(owner >= 0)
    chosen = np.linspace(0, rows.size - 1, count).astype(int)
    return [(int(columns[at]), int(rows[at]), int(owner[rows[at], columns[at]])) for at in chosen]


async def assert_few_transactions(crowd: Caller, house: House, rows: int) -> None:
    """Demand that the ledger has so many rows, written in at most a quarter as many transactions."""
    metrics = await crowd.metrics()
    operations, transactions, parked = (
        metrics[f'maskgate_ledger{{count="{count}"}}'] for count in ("operations", "transactions", "parked")
    )
    assert (rows, rows, 0) == (house.rows(), operations, parked)
    assert transactions * ROWS_A_TRANSACTION <= rows


@pytest.mark.slow
async def test_thousand_questions_through_runflow(crowd: Caller, busy_house: House, upstreams: Upstreams) -> None:
    """A thousand different questions at once over two regions: each gets its own thing, and all is paid once."""
    scene = upstreams.scene("street")
    asked = places(scene, MANY)
    assert MANY == len(set(asked))

    async def ask(number: int) -> None:
        x, y, index = asked[number]
        prompt = {"kind": "object", "points": [{"x": x, "y": y}]}
        route = on(RUNFLOW[number % 2], deadline_seconds=100)
        reply = await crowd.segment({"image": {"url": scene.url}, "prompts": [prompt], "route": route})
        thing = scene.things[index]
        assert [(thing.area, thing.box)] == [(each["area"], each["box"]) for each in reply.body["instances"]]
        assert (["miss"], RUNFLOW_MICROUSD) == (reply.caches, reply.charged)

    await asyncio.gather(*(ask(number) for number in range(MANY)))
    await assert_few_transactions(crowd, busy_house, 2 * MANY)
    books = upstreams.books()
    assert dict.fromkeys(RUNFLOW, MANY // 2) == Counter(call.upstream for call in books)
    assert_books_agree(busy_house.ledger(), books)
    total = (await crowd.get("/v1/usage")).body["total"]
    assert (MANY, MANY, MANY * RUNFLOW_MICROUSD) == (total["attempts"], total["settled"], total["charged_microusd"])


@pytest.mark.slow
async def test_thousand_questions_through_prodia(crowd: Caller, busy_house: House, upstreams: Upstreams) -> None:
    """A thousand different questions at once, each with the picture's bytes in it, through Prodia: the same holds."""
    scene, data = upstreams.scene("shapes"), base64.b64encode(upstreams.picture("shapes")).decode()

    async def ask(number: int) -> None:
        thing = scene.things[number % len(scene.things)]
        reply = await crowd.segment(
            {
                "image": {"data": data},
                "prompts": [text(thing.name)],
                "max_masks": 1 + number % 100,
                "min_score": number / MANY / 2,
                "route": on("prodia", deadline_seconds=100),
            }
        )
        assert [(thing.area, thing.box)] == [(each["area"], each["box"]) for each in reply.body["instances"]]
        assert (["miss"], PRODIA_MICROUSD) == (reply.caches, reply.charged)

    await asyncio.gather(*(ask(number) for number in range(MANY)))
    await assert_few_transactions(crowd, busy_house, 2 * MANY)
    assert_books_agree(busy_house.ledger(), upstreams.books())
    assert MANY == len(upstreams.books())


@pytest.mark.slow
async def test_many_questions_over_a_breaking_region(crowd: Caller, busy_house: House, upstreams: Upstreams) -> None:
    """While a region breaks in several ways at once, every caller is answered, and nothing that was billed is lost."""
    upstreams.strike(
        "runflow-eu",
        {"kind": "status", "status": 500, "share": 0.2},
        {"kind": "reset_after", "share": 0.2},
        {"kind": "bad_json", "share": 0.1},
        {"kind": "bad_png", "share": 0.1},
    )
    scene = upstreams.scene("shoes")

    async def ask(x: int, y: int, index: int) -> list[str]:
        prompt = {"kind": "object", "points": [{"x": x, "y": y}]}
        route = on(*NAMES, deadline_seconds=100)
        reply = await crowd.segment({"image": {"url": scene.url}, "prompts": [prompt], "route": route})
        assert [scene.things[index].area] == [each["area"] for each in reply.body["instances"]]
        return [outcome for _, outcome in reply.attempts]

    ways = await asyncio.gather(*(ask(*place) for place in places(scene, 300)))
    assert {"succeeded"} == {way[-1] for way in ways}
    assert any(len(way) > 1 for way in ways)
    # A reservation whose deployment's breaker opened before the call was made was no attempt.
    ledger = [each for each in busy_house.ledger() if each.reason != "not_sent"]
    assert sum(map(len, ways)) == len(ledger)
    # Whatever is held here was billed: the region had done the work before it broke. A run that succeeded is settled
    # though its masks cannot be read.
    ends = Counter(each.ended for each in ledger)
    assert ends["settle"] >= 300
    assert_books_agree(ledger, upstreams.books_of(ends["settle"] + ends["hold"]))


@pytest.mark.parametrize("count", [50, pytest.param(MANY, marks=pytest.mark.slow)])
async def test_equal_requests_buy_once(crowd: Caller, busy_house: House, upstreams: Upstreams, count: int) -> None:
    """Equal requests at once are one call and one charge; the others wait for it and say what they saved."""
    upstreams.strike("runflow-eu", {"kind": "latency", "seconds": 3})
    scene = upstreams.scene("shoes")
    (shoe,) = scene.named("left shoe")
    body: dict[str, Any] = {"image": {"url": scene.url}, "prompt": "left shoe", "route": on("runflow-eu")}
    replies = await asyncio.gather(*(crowd.segment(body) for _ in range(count)))
    caches = Counter(cache for reply in replies for cache in reply.caches)
    # On a machine that takes the call's three seconds to accept a thousand connections the last ones are hits.
    assert (1, count - 1) == (caches["miss"], caches["joined"] + caches["hit"])
    assert caches["joined"] >= 49
    for reply in replies:
        paid, saved = (RUNFLOW_MICROUSD, 0) if reply.caches == ["miss"] else (0, RUNFLOW_MICROUSD)
        assert (paid, saved) == (reply.charged, reply.body["cost"]["saved_microusd"])
        assert bool(paid) == bool(reply.attempts)
        assert [shoe.area] == [each["area"] for each in reply.body["instances"]]
    upstreams.strike("runflow-eu", {"kind": "refuse"})
    hit = await crowd.segment(body)
    assert (["hit"], 0, []) == (hit.caches, hit.charged, hit.attempts)
    assert RUNFLOW_MICROUSD == hit.body["cost"]["saved_microusd"]
    assert replies[0].body["instances"] == hit.body["instances"]
    assert ["settle"] == [each.ended for each in busy_house.ledger()]
    assert_books_agree(busy_house.ledger(), upstreams.books())
    metrics = await crowd.metrics()
    assert caches["joined"] == metrics['maskgate_cache_total{result="joined"}']
    assert count * RUNFLOW_MICROUSD == metrics["maskgate_saved_micros_total"]


async def test_failure_is_shared_and_not_kept(crowd: Caller, busy_house: House, upstreams: Upstreams) -> None:
    """When the one call fails, all who waited for it learn that; the next request buys anew."""
    upstreams.strike("runflow-eu", {"kind": "latency", "seconds": 1}, {"kind": "status", "status": 500})
    body: dict[str, Any] = {
        "image": {"url": upstreams.scene("shoes").url},
        "prompt": "left shoe",
        "route": on("runflow-eu", max_attempts=1),
    }
    replies = await asyncio.gather(*(crowd.segment(body, status=502) for _ in range(20)))
    assert {"provider_failed"} == {reply.body["code"] for reply in replies}
    assert ["release"] == [each.ended for each in busy_house.ledger()]
    upstreams.strike("runflow-eu")
    assert ["miss"] == (await crowd.segment(body)).caches


async def test_full_gateway_turns_away_and_stays_alive(
    upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Beyond `max_in_flight` a request is a 429 with a Retry-After at once, reserves nothing, and health answers on."""
    upstreams.strike("runflow-eu", {"kind": "latency", "seconds": 2})
    image, route = {"url": upstreams.scene("shoes").url}, on("runflow-eu")
    with gateway_running(upstreams.sandbox, tmp_path / "small", changes={"limits": {"max_in_flight": 2}}) as house:
        caller = Caller(house.url, session, house.key)
        asked = [
            asyncio.create_task(caller.segment({"image": image, "prompt": phrase, "route": route}))
            for phrase in ("left shoe", "carton")
        ]
        await asyncio.to_thread(until, lambda: house.rows() == 2)
        refused = await caller.segment({"image": image, "prompt": "right shoe", "route": route}, status=429)
        assert ("overloaded", "1") == (refused.body["code"], refused.headers["Retry-After"])
        await caller.get("/healthz")
        assert 2 == (await caller.metrics())["maskgate_requests_in_flight"]
        assert [["miss"], ["miss"]] == [reply.caches for reply in await asyncio.gather(*asked)]
        assert ["settle", "settle"] == [each.ended for each in house.ledger()]
        assert_books_agree(house.ledger(), upstreams.books())
