"""Passed budgets are told of, once a period, whichever gateways see it."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select

from gateway.accounting.alerts import Alerts
from gateway.accounting.budgets import Budget, Budgets, wanted_budget
from gateway.accounting.webhooks import Webhook, signing_keys
from gateway.store import BudgetStanding, Database, open_database
from gateway.store.tables import leases
from providers.transport import HttpUpstream
from tests.gateway.accounting.receiver import Receiver

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


class Pauses:
    """A sleep that ends when it is told to."""

    def __init__(self) -> None:
        """Begin with nobody asleep."""
        self.asleep = asyncio.Queue[float]()
        self.wake = asyncio.Semaphore(0)

    async def __call__(self, seconds: float, /) -> None:
        """Sleep, but for no pause before a first attempt."""
        if seconds:
            self.asleep.put_nowait(seconds)
            await self.wake.acquire()


@dataclass(slots=True)
class Place:
    """A database, a receiver, and the gateways that tell of budgets."""

    database: Database
    receiver: Receiver
    upstream: HttpUpstream
    budget: Budget
    pauses: Pauses
    ahead: float = 0.0
    """How far the clock is wound ahead, in seconds."""
    counted: Counter[tuple[str, str]] = field(default_factory=Counter)
    opened: list[Alerts] = field(default_factory=list)

    def alerts(self, *, telling: bool = True) -> Alerts:
        """Return those of one more gateway."""
        webhook = Webhook(
            self.receiver.url,
            signing_keys([SECRET]),
            upstream=self.upstream,
            clock=time.monotonic,
            wall=time.time,
            sleep=self.pauses,
        )
        made = Alerts(
            self.database,
            webhook if telling else None,
            count=lambda scope, period: self.counted.update([(scope, period)]),
            wall=lambda: time.time() + self.ahead,
            holder=f"gateway_{len(self.opened)}",
        )
        self.opened.append(made)
        return made

    def standing(self, **changed: Any) -> BudgetStanding:
        """Return how the budget stands."""
        budget = self.budget
        standing = BudgetStanding(
            budget_id=budget.id,
            scope=budget.scope.value,
            subject=budget.subject,
            period=budget.period.value,
            hard=budget.hard,
            limit_microusd=budget.limit.microusd,
            spent_microusd=1_000_001,
            reserved_microusd=5000,
            resets_at=budget.resets_at,
        )
        return replace(standing, **changed)

    def ids(self) -> list[str]:
        """Return the ids of the messages that came."""
        return [received.headers["webhook-id"] for received in self.receiver.received]

    async def settled(self) -> None:
        """Wait until nobody is telling any more."""
        await asyncio.gather(*(task for alerts in self.opened for task in alerts._telling))


@asynccontextmanager
async def opened(database_url: str) -> AsyncIterator[Place]:
    """Open a database with a soft budget of a dollar a day, and a receiver that takes everything."""
    database = await open_database(database_url, connect_seconds=10)
    budget = await Budgets(database, wall=time.time, new_id=lambda prefix: f"{prefix}_1").set(
        wanted_budget(tenant="acme", period="day", limit_usd="1", hard=False)
    )
    upstream = HttpUpstream(time.monotonic)
    async with Receiver().open() as receiver:
        made = Place(database, receiver, upstream, budget, Pauses())
        yield made
        for alerts in made.opened:
            await alerts.close()
    await upstream.close()
    await database.close()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """The place on SQLite."""
    async with opened(f"sqlite:///{tmp_path}/ledger.db") as made:
        yield made


@pytest.fixture
async def shared(database_url: str) -> AsyncIterator[Place]:
    """The place on a database of each kind."""
    async with opened(database_url) as made:
        yield made


async def test_the_first_crossing_is_told_with_its_figures(place: Place) -> None:
    """The webhook says which budget of which tenant is passed, how it stands and when it resets."""
    place.alerts().tell([place.standing()])
    await place.settled()
    (received,) = place.receiver.received
    document = json.loads(received.body)
    assert place.budget.resets_at is not None
    resets_at = datetime.fromtimestamp(place.budget.resets_at / 1e6, UTC).strftime("%Y-%m-%dT00:00:00Z")
    assert {
        "budget_id": "bud_1",
        "tenant": "acme",
        "scope": "tenant",
        "subject": "acme",
        "period": "day",
        "hard": False,
        "limit_microusd": 1_000_000,
        "limit_usd": "1.000000",
        "spent_microusd": 1_000_001,
        "spent_usd": "1.000001",
        "reserved_microusd": 5000,
        "reserved_usd": "0.005000",
        "resets_at": resets_at,
    } == document["data"]
    assert "budget.passed" == document["type"]
    assert abs(datetime.fromisoformat(document["timestamp"]).timestamp() - time.time()) < 60
    assert "." not in received.headers["webhook-id"]


async def test_a_period_is_told_of_once(shared: Place) -> None:
    """However often and on however many gateways a budget is passed, its receiver is told once."""
    gateways = [shared.alerts() for _ in range(3)]
    for spent in range(20):
        for alerts in gateways:
            alerts.tell([shared.standing(spent_microusd=2_000_000 + spent)])
    await shared.settled()
    assert 1 == len(shared.receiver.received)
    assert {("tenant", "day"): 60} == shared.counted
    shared.alerts().tell([shared.standing()])
    await shared.settled()
    assert 1 == len(shared.receiver.received)


@pytest.mark.parametrize("changed", [{"resets_at": 1_900_000_000_000_000}, {"limit_microusd": 2_000_000}])
async def test_another_period_and_another_limit_are_told_anew(place: Place, changed: dict[str, int]) -> None:
    """The next period's crossing is news, and so is that of a raised limit."""
    alerts = place.alerts()
    alerts.tell([place.standing()])
    await place.settled()
    alerts.tell([place.standing(**changed)])
    await place.settled()
    assert 2 == len(set(place.ids())) == len(place.ids())


async def test_a_refusal_of_a_hard_budget_is_told_as_such(place: Place) -> None:
    """A hard budget that refuses is told of by another type, also when it never resets."""
    place.alerts().tell([place.standing(hard=True, period="total", resets_at=None)])
    await place.settled()
    document = json.loads(place.receiver.received[0].body)
    assert ("budget.refused", None) == (document["type"], document["data"]["resets_at"])


async def test_without_a_webhook_the_crossing_is_counted(place: Place) -> None:
    """Where no webhook is configured, the metric counts and nothing is sent."""
    alerts = place.alerts(telling=False)
    alerts.tell([place.standing(), place.standing(scope="key")])
    await place.settled()
    assert {("tenant", "day"): 1, ("key", "day"): 1} == place.counted
    assert [] == place.receiver.received


async def test_a_message_comes_again_after_an_error(place: Place) -> None:
    """A receiver that fails is told again, under the same id, and by this gateway alone meanwhile."""
    place.receiver.statuses = [500, 200]
    place.alerts().tell([place.standing()])
    assert 5 == await place.pauses.asleep.get()
    place.alerts().tell([place.standing()])
    place.pauses.wake.release()
    await place.settled()
    assert 2 == len(place.ids())
    assert 1 == len(set(place.ids()))


async def test_a_receiver_that_is_gone_is_told_nothing_more(place: Place) -> None:
    """After a 410 this gateway sends nothing more, whatever is passed."""
    place.receiver.statuses = [410]
    alerts = place.alerts()
    alerts.tell([place.standing()])
    await place.settled()
    alerts.tell([place.standing(limit_microusd=2_000_000)])
    await place.settled()
    assert 1 == len(place.receiver.received)
    assert {("tenant", "day"): 2} == place.counted


async def test_what_a_stopped_gateway_has_not_told_another_one_tells(shared: Place) -> None:
    """A gateway that stops between two attempts leaves the rest to the next one, under the same id."""
    shared.receiver.statuses = [500, 200]
    first = shared.alerts()
    first.tell([shared.standing()])
    await shared.pauses.asleep.get()
    await first.close()
    shared.alerts().tell([shared.standing(spent_microusd=3_000_000)])
    await shared.settled()
    assert 2 == len(shared.ids())
    assert 1 == len(set(shared.ids()))


async def test_a_gateway_that_was_second_looks_again_later(place: Place) -> None:
    """Who leaves the news to another gateway looks again after a minute, in case that one has died."""
    place.receiver.statuses = [500, 200]
    first, second = place.alerts(), place.alerts()
    first.tell([place.standing()])
    await place.pauses.asleep.get()
    second.tell([place.standing()])
    await asyncio.gather(*second._telling)
    await first.close()
    second.tell([place.standing()])
    await place.settled()
    assert 1 == len(place.ids())
    place.ahead = 61
    second.tell([place.standing()])
    await place.settled()
    assert 2 == len(place.ids())


async def test_a_removed_budget_is_not_told_of(place: Place) -> None:
    """What was removed before it could be told is nobody's news."""
    alerts = place.alerts()
    alerts.tell([place.standing(budget_id="bud_gone")])
    await place.settled()
    assert [] == place.receiver.received


async def test_what_was_told_long_ago_is_forgotten(shared: Place) -> None:
    """When news is told, the leases of periods that have ended are taken out of the database."""

    async def left() -> int | None:
        return await shared.database.read(
            lambda connection: connection.scalar(select(func.count()).select_from(leases))
        )

    alerts = shared.alerts()
    alerts.tell([shared.standing(limit_microusd=limit) for limit in (1, 2, 3)])
    await shared.settled()
    assert 3 == await left()
    shared.ahead = 3 * 86_400
    alerts.tell([shared.standing(limit_microusd=4, resets_at=1_900_000_000_000_000)])
    await shared.settled()
    assert 1 == await left()


async def test_every_gateway_gives_the_same_news_the_same_id(place: Place) -> None:
    """The id is made of budget, period and limit alone, so that it is the same after leases are lost."""
    for spent in (1_500_000, 2_500_000):
        place.alerts().tell([place.standing(spent_microusd=spent)])
        await place.settled()
        await place.database.write(lambda connection: connection.execute(delete(leases)))
    assert 2 == len(place.ids())
    assert 1 == len(set(place.ids()))
