"""Lost answers: held at first, then found again at the provider, and the ledger ends where the books are."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.asking import Caller, on, text
from tests.end_to_end.household import House, gateway_running
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.upstreams import PRODIA_MICROUSD, RUNFLOW_MICROUSD, Upstreams, until

#: Asked at once and often; an attempt that nobody knows is given up after a second.
EAGER: dict[str, Any] = {"reconcile": {"every_seconds": 0.2, "first_seconds": 0.1, "absent_seconds": 1}}


@pytest.fixture
def eager_house(upstreams: Upstreams, tmp_path: Path) -> Iterator[House]:
    """Run a gateway that clears up at once."""
    with gateway_running(upstreams.sandbox, tmp_path / "eager", changes=EAGER) as house:
        yield house


def question(upstreams: Upstreams, *deployments: str) -> dict[str, Any]:
    """Return a question to those deployments with a short deadline."""
    return {
        "image": {"url": upstreams.scene("shoes").url},
        "prompts": [text("left shoe")],
        "route": on(*deployments, deadline_seconds=3),
        "cache": {"mode": "skip"},
    }


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"kind": "lost_answer"}, 504),
        ({"kind": "reset_after"}, 502),
        ({"kind": "cut_body"}, 502),
        ({"kind": "bad_json"}, 502),
        ({"kind": "lost_answer", "on": "poll"}, 504),
    ],
    ids=lambda value: "_".join(map(str, value.values())) if isinstance(value, dict) else "",
)
async def test_found_again(
    eager_house: House, upstreams: Upstreams, session: aiohttp.ClientSession, fault: dict[str, Any], status: int
) -> None:
    """A call of Runflow that was billed and brought nothing is settled at what the books say, under their name."""
    caller = Caller(eager_house.url, session, eager_house.key)
    upstreams.strike("runflow-eu", fault)
    reply = await caller.segment(question(upstreams, "runflow-eu"), status=status)
    assert RUNFLOW_MICROUSD == reply.body["attempts"][0]["held_microusd"]
    upstreams.strike("runflow-eu")
    until(lambda: eager_house.ledger()[0].ended == "settle")
    [account], [billed] = eager_house.ledger(), upstreams.books()
    assert (billed.microusd, billed.id) == (account.amount, account.upstream_ref)
    assert_books_agree([account], [billed])
    assert 3 == eager_house.rows()
    total = (await caller.get("/v1/usage")).body["total"]
    assert (RUNFLOW_MICROUSD, 0) == (total["charged_microusd"], total["held_microusd"])
    assert (1, 0, 0) == (total["settled"], total["released"], total["held"])
    metrics = await caller.metrics()
    assert 1 == metrics['maskgate_reconciliations_total{deployment="runflow-eu",result="settled"}']
    assert RUNFLOW_MICROUSD == metrics['maskgate_spend_micros_total{provider="runflow"}']


async def test_never_came_there(eager_house: House, upstreams: Upstreams, session: aiohttp.ClientSession) -> None:
    """A call that broke before Runflow took it is released, once its record cannot be merely late."""
    caller = Caller(eager_house.url, session, eager_house.key)
    upstreams.strike("runflow-eu", {"kind": "reset_before"})
    await caller.segment(question(upstreams, "runflow-eu"), status=502)
    assert "hold" == eager_house.ledger()[0].ended
    until(lambda: eager_house.ledger()[0].ended == "release")
    assert [] == upstreams.books()
    total = (await caller.get("/v1/usage")).body["total"]
    assert (0, 0, 1) == (total["charged_microusd"], total["held_microusd"], total["released"])


async def test_nobody_can_tell(eager_house: House, upstreams: Upstreams, session: aiohttp.ClientSession) -> None:
    """A lost call of Prodia stays on hold, since Prodia has no call that would find it."""
    caller = Caller(eager_house.url, session, eager_house.key)
    upstreams.strike("prodia", {"kind": "lost_answer"})
    await caller.segment(question(upstreams, "prodia"), status=504)
    name = 'maskgate_reconciliations_total{deployment="prodia",result="unknown"}'
    for _ in range(1000):
        if (await caller.metrics()).get(name, 0) >= 3:
            break
    assert ["hold"] == [each.ended for each in eager_house.ledger()]
    assert PRODIA_MICROUSD == (await caller.get("/v1/usage")).body["total"]["held_microusd"]
    assert_books_agree(eager_house.ledger(), upstreams.books())


async def test_two_gateways(
    eager_house: House, upstreams: Upstreams, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Two gateways of one ledger that clear up at once settle each attempt once."""
    upstreams.strike("runflow-eu", {"kind": "reset_after"})
    upstreams.strike("runflow-us", {"kind": "reset_after"})
    with gateway_running(upstreams.sandbox, tmp_path / "eager", changes=EAGER) as second:
        callers = [Caller(house.url, session, house.key) for house in (eager_house, second)]
        asked = question(upstreams, "runflow-eu", "runflow-us")
        await asyncio.gather(*(caller.segment(asked, status=502) for caller in callers for _ in range(3)))
        until(lambda: {"settle"} == {each.ended for each in eager_house.ledger()})
    assert len(eager_house.ledger()) >= 4
    assert_books_agree(eager_house.ledger(), upstreams.books())
    assert 3 * len(eager_house.ledger()) == eager_house.rows()
