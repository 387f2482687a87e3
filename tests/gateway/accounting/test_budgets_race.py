"""Budgets are set, changed and removed while other gateways spend: no micro-dollar is lost; in both databases."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import pytest
from sqlalchemy import Row, select

from gateway.accounting import Attempt, AttemptRefused, Ledger
from gateway.accounting.budgets import Budgets, WantedBudget, wanted_budget
from gateway.accounting.ledger import OverBudget
from gateway.store.tables import budget_windows, budgets, entries
from providers.contract import Money

DAY = 86_400.0
MICROS = 1_000_000
TAGS = ((), (("team", "search"),), (("team", "ads"), ("env", "x")))
WANTED = [
    partial(wanted_budget, tenant="acme", period="day"),
    partial(wanted_budget, tenant="acme", period="month"),
    partial(wanted_budget, tenant="acme", period="total", hard=False),
    partial(wanted_budget, tenant="acme", period="day", tag="team=search"),
    partial(wanted_budget, tenant="acme", period="total", tag="env=x"),
    partial(wanted_budget, tenant="other", period="total"),
]


class Hand:
    """A clock that is wound by hand, in seconds since 1970; it begins an hour before a month's last midnight."""

    def __init__(self) -> None:
        """Begin at 2026-11-30, 23:00 UTC."""
        self.now = 1_796_079_600.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass(slots=True)
class Place:
    """Two gateways on one database, and who sets budgets there."""

    ledgers: tuple[Ledger, Ledger]
    budgets: Budgets
    wall: Hand


@pytest.fixture
async def place(database_url: str) -> AsyncIterator[Place]:
    """Two open ledgers over one empty database of each kind."""
    wall = Hand()
    numbers = iter(range(1_000_000))
    first = await Ledger.open(database_url, wall=wall, clock=time.monotonic, answer_seconds=20)
    second = await Ledger.open(database_url, wall=wall, clock=time.monotonic, answer_seconds=20)
    yield Place(
        (first, second),
        Budgets(first.database, wall=wall, new_id=lambda prefix: f"{prefix}_{next(numbers):06}"),
        wall,
    )
    await second.close()
    await first.close()


async def spend(ledger: Ledger, name: str, dice: random.Random) -> bool:
    """Reserve for one attempt and end it in some way, or not at all; whether a budget has let it."""
    tenant = dice.choice(("acme", "acme", "acme", "other"))
    attempt = Attempt(
        name, "seg_1", 0, tenant, "key_1", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01", dice.choice(TAGS)
    )
    amount = dice.randrange(1, 5000)
    try:
        reservation = await ledger.reserve(attempt, Money(amount), expires_in=600)
    except OverBudget:
        return False
    await asyncio.sleep(0)
    match dice.randrange(5):
        case 0:
            await reservation.release("unreachable")
        case 1:
            await reservation.hold("unanswered")
        case 2 | 3:
            charge = Money(dice.randrange(amount + 1))
            await reservation.settle(charge=charge, cost=charge, reported=None, upstream_ref=None)
        case _:
            pass
    return True


async def added_up(ledger: Ledger) -> dict[str, dict[str, list[int]]]:
    """Return what is spent and reserved by account and day, from the entries alone."""
    rows = await ledger.database.read(
        lambda connection: connection.execute(select(entries).order_by(entries.c.phase)).all()
    )
    opened: dict[str, Row[Any]] = {}
    used = defaultdict[str, dict[str, list[int]]](lambda: defaultdict(lambda: [0, 0]))
    for row in rows:
        opening = opened.setdefault(row.attempt_id, row)
        day = time.strftime("%Y-%m-%d", time.gmtime(opening.at // MICROS))
        names = [f"tenant:{opening.tenant}", f"key:{opening.key_id}"]
        names += [f"tag:{opening.tenant}:{name}={value}" for name, value in orjson.loads(opening.tags).items()]
        for name in names:
            if row.phase == 0:
                used[name][day][1] += row.amount_microusd
            elif row.kind != "hold":
                used[name][day][0] += row.amount_microusd
                used[name][day][1] -= opening.amount_microusd
    return used


async def compare(ledger: Ledger) -> int:
    """Hold every window against the sum of the entries; return how many windows there are."""
    used = await added_up(ledger)
    pairs = budgets.join(budget_windows, budget_windows.c.budget_id == budgets.c.id)
    query = select(budgets.c.account, budgets.c.period, budget_windows).select_from(pairs)
    rows = await ledger.database.read(lambda connection: connection.execute(query).all())
    for row in rows:
        prefix = {"total": "", "month": "%Y-%m", "day": "%Y-%m-%d"}[row.period]
        within = time.strftime(prefix, time.gmtime(row.starts_at // MICROS)) if prefix else ""
        days = [figures for day, figures in used[row.account].items() if day.startswith(within)]
        expected = (sum(spent for spent, _ in days), sum(reserved for _, reserved in days))
        assert expected == (row.spent_microusd, row.reserved_microusd), row
    return len(rows)


def some_budget(dice: random.Random) -> WantedBudget:
    """Return one of the budgets, with some limit from next to nothing to much."""
    return dice.choice(WANTED)(limit_usd=f"{dice.choice((0.001, 0.02, 0.1, 5)):.6f}")


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_micro_dollar_is_lost_while_budgets_change(
    place: Place, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """While two gateways spend, over a month's end, budgets come, change and go, and each window is the sum."""
    dice = random.Random(seed)
    allowed: list[bool] = []

    async def spender(number: int) -> None:
        ledger = place.ledgers[number % 2]
        for turn in range(12):
            place.wall.now += dice.choice((0, 60))
            allowed.append(await spend(ledger, f"att_{number}_{turn}", dice))

    async def treasurer() -> None:
        for _ in range(25):
            if dice.random() < 0.2 and (there := await place.budgets.page()):
                await place.budgets.remove(dice.choice(there).id)
            else:
                await place.budgets.set(some_budget(dice))

    await asyncio.gather(treasurer(), *(spender(number) for number in range(16)))
    assert {True, False} == set(allowed)
    assert [] == [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert await compare(place.ledgers[1])
    for wanted in WANTED:
        await place.budgets.set(wanted(limit_usd="9"))
    assert len(WANTED) <= await compare(place.ledgers[1])


async def test_what_was_reserved_before_its_budget_ends_in_its_own_period(place: Place) -> None:
    """An attempt of an earlier period than that in which its budget is set can end all the same, and counts there."""
    attempt = Attempt("att_1", "seg_1", 0, "acme", "key_1", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01")
    ledger = place.ledgers[0]
    reservation = await ledger.reserve(attempt, Money(5000), expires_in=7200)
    place.wall.now += 2 * 3600
    made = {
        period: await place.budgets.set(wanted_budget(tenant="acme", period=period, limit_usd="0.006"))
        for period in ("day", "month", "total")
    }
    assert {"day": 0, "month": 0, "total": 5000} == {
        period: budget.reserved.microusd for period, budget in made.items()
    }
    await reservation.settle(charge=Money(4000), cost=Money(4000), reported=None, upstream_ref=None)
    assert 5 == await compare(ledger)


async def test_a_lowered_budget_takes_nothing_until_it_fits(place: Place) -> None:
    """Lowered below what is used, a budget refuses; once enough has come back it takes exactly what fits."""
    made = iter(range(100))

    def attempt() -> Attempt:
        return Attempt(
            f"att_{next(made)}", "seg_1", 0, "acme", "key_1", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01"
        )

    first, second = place.ledgers
    await place.budgets.set(wanted_budget(tenant="acme", limit_usd="0.010000"))
    kept = await first.reserve(attempt(), Money(4000), expires_in=60)
    gone = await first.reserve(attempt(), Money(6000), expires_in=60)
    lowered = await place.budgets.set(wanted_budget(tenant="acme", limit_usd="0.005000"))
    assert (Money(10_000), Money(0)) == (lowered.reserved, lowered.left)
    with pytest.raises(OverBudget) as refused:
        await second.reserve(attempt(), Money(1), expires_in=60)
    assert (5000, 10_000) == (refused.value.standing.limit_microusd, refused.value.standing.reserved_microusd)
    await gone.release("unreachable")
    with pytest.raises(AttemptRefused):
        await second.reserve(attempt(), Money(1001), expires_in=60)
    await second.reserve(attempt(), Money(1000), expires_in=60)
    await kept.settle(charge=Money(3999), cost=Money(3999), reported=None, upstream_ref=None)
    with pytest.raises(OverBudget):
        await second.reserve(attempt(), Money(2), expires_in=60)
    await second.reserve(attempt(), Money(1), expires_in=60)
    await compare(first)


async def test_a_removed_budget_refuses_nothing(place: Place) -> None:
    """From its removal on a budget is in nobody's way, and what it let through ends as ever."""
    attempt = Attempt("att_1", "seg_1", 0, "acme", "key_1", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01")
    first, second = place.ledgers
    budget = await place.budgets.set(wanted_budget(tenant="acme", limit_usd="0.005"))
    reservation = await first.reserve(attempt, Money(5000), expires_in=60)
    await place.budgets.remove(budget.id)
    more = Attempt("att_2", "seg_1", 0, "acme", "key_1", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01")
    await second.reserve(more, Money(5000), expires_in=60)
    await reservation.settle(charge=Money(5000), cost=Money(5000), reported=None, upstream_ref=None)
    again = await place.budgets.set(wanted_budget(tenant="acme", limit_usd="1"))
    assert (Money(5000), Money(5000)) == (again.spent, again.reserved)
