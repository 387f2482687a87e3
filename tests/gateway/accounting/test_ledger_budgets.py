"""Budgets hold while money is spent: in both databases, at any concurrency, on any number of gateways."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import insert, text, update
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.accounting import Attempt, KeyRefused, Ledger, LedgerUnavailable, OverBudget, Reservation
from gateway.accounting.budgets import Budget, Budgets, set_budget, wanted_budget
from gateway.store import BudgetStanding, Kind, Verdict, ending
from gateway.store.tables import api_keys
from providers.contract import Money
from tests.gateway.store.cutting_proxy import Cut, CuttingProxy
from tests.gateway.store.ledger_sums import agree
from tests.servers import Postgres

ATTEMPT = Attempt("att", "seg_1", 0, "acme", "key_1", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01")
NOON = datetime(2026, 12, 31, 12, tzinfo=UTC).timestamp()
DAY = 86_400


class Hand:
    """A clock that is wound by hand, in seconds since 1970."""

    def __init__(self) -> None:
        """Begin at noon of a year's last day."""
        self.now = NOON

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Bench:
    """A ledger with budgets, whose attempts are numbered."""

    def __init__(self, ledger: Ledger, wall: Hand) -> None:
        """Spend through a ledger."""
        self.ledger = ledger
        self.wall = wall
        self._numbers = itertools.count(1)
        self._budgets = Budgets(ledger.database, wall=wall, new_id=lambda prefix: f"{prefix}_{next(self._numbers)}")

    async def limit(self, usd: str, *, hard: bool = True, period: str = "total", **whose: str) -> Budget:
        """Set a budget."""
        return await self._budgets.set(wanted_budget(tenant="acme", period=period, limit_usd=usd, hard=hard, **whose))

    async def reserve(self, microusd: int, *, tags: tuple[tuple[str, str], ...] = (), **change: Any) -> Reservation:
        """Reserve for an attempt of its own."""
        attempt = replace(ATTEMPT, attempt_id=f"att_{next(self._numbers)}", tags=tags, **change)
        return await self.ledger.reserve(attempt, Money(microusd), expires_in=60)

    async def used(self) -> tuple[int, int]:
        """Return what is spent and reserved of the only budget, in its running period."""
        (budget,) = await self._budgets.page()
        return budget.spent.microusd, budget.reserved.microusd


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    """An empty ledger in each kind of database, which in the end agrees with its entries."""
    wall = Hand()
    ledger = await Ledger.open(database_url, wall=wall, clock=time.monotonic, answer_seconds=10)
    yield Bench(ledger, wall)
    await ledger.journal.close()
    await agree(ledger.database)
    await ledger.close()


async def settle(reservation: Reservation, charge: int) -> None:
    """Settle with an equal cost."""
    await reservation.settle(charge=Money(charge), cost=Money(charge), reported=None, upstream_ref=None)


async def test_the_last_micro_dollar(bench: Bench) -> None:
    """A hard budget gives out its last micro-dollar, and not one more; the refusal says how it stands."""
    budget = await bench.limit("0.01", period="day")
    first = await bench.reserve(9_999)
    await bench.reserve(1)
    with pytest.raises(OverBudget) as refused:
        await bench.reserve(1)
    midnight = round((NOON + DAY / 2) * 1_000_000)
    assert BudgetStanding(budget.id, "tenant", "acme", "day", True, 10_000, 0, 10_000, midnight) == (
        refused.value.standing
    )
    await settle(first, 4_000)
    assert (4_000, 1) == await bench.used()
    await bench.reserve(5_999)
    await bench.reserve(0)
    with pytest.raises(OverBudget):
        await bench.reserve(1)


async def test_release_gives_back_and_a_hold_does_not(bench: Bench) -> None:
    """What is released may be spent again; what is on hold may not, until it is resolved."""
    await bench.limit("0.01")
    released, held = await bench.reserve(6_000), await bench.reserve(4_000)
    await released.release("refused")
    assert (0, 4_000) == await bench.used()
    await held.hold("unanswered")
    assert (0, 4_000) == await bench.used()
    with pytest.raises(OverBudget):
        await bench.reserve(6_001)
    (on_hold,) = await bench.ledger.held(10)
    settled = await bench.ledger.settle_held(
        on_hold, charge=Money(3_000), cost=Money(5_000), reported=None, upstream_ref=None
    )
    assert Verdict.WRITTEN is settled
    assert (3_000, 0) == await bench.used()


async def test_an_attempt_stays_in_its_own_day(bench: Bench) -> None:
    """Over midnight, month and year a budget begins anew, and what was open before ends in the period it began in."""
    await bench.limit("0.01", period="day")
    late = await bench.reserve(10_000)
    swept = bench.wall.now
    bench.wall.now += DAY / 2
    assert (0, 0) == await bench.used()
    today = await bench.reserve(10_000)
    await settle(late, 10_000)
    assert (0, 10_000) == await bench.used()
    await settle(today, 500)
    bench.wall.now = swept
    assert (10_000, 0) == await bench.used()


async def test_the_sweep_counts_in_the_day_of_the_reservation(bench: Bench) -> None:
    """An abandoned attempt and its late settlement count where it was reserved, not where it was swept."""
    await bench.limit("0.01", period="day")
    late = await bench.reserve(10_000)
    bench.wall.now += DAY
    assert 1 == await bench.ledger.sweep()
    assert (0, 0) == await bench.used()
    await settle(late, 9_000)
    assert (0, 0) == await bench.used()
    bench.wall.now -= DAY
    assert (9_000, 0) == await bench.used()


async def test_a_soft_budget_tells(bench: Bench) -> None:
    """A reservation that passes a soft budget is made, and says so; one that only fills it says nothing."""
    budget = await bench.limit("0.01", hard=False)
    assert () == (await bench.reserve(10_000)).passed
    (passed,) = (await bench.reserve(1)).passed
    assert (budget.id, False, 10_001, None) == (
        passed.budget_id,
        passed.hard,
        passed.reserved_microusd,
        passed.resets_at,
    )


async def test_each_budget_has_its_own_attempts(bench: Bench) -> None:
    """Budgets of a key and of a tag refuse what carries them, and nothing else."""
    await _store_key(bench)
    await bench.limit("0.01", key_id="key_1")
    await bench.limit("0.005", tag="team=a=b")
    await bench.reserve(5_000, tags=(("team", "a=b"), ("stage", "test")))
    with pytest.raises(OverBudget) as refused:
        await bench.reserve(1, tags=(("team", "a=b"),))
    assert ("tag", "team=a=b") == (refused.value.standing.scope, refused.value.standing.subject)
    await bench.reserve(5_000, tags=(("team", "a"),))
    with pytest.raises(OverBudget) as refused:
        await bench.reserve(1)
    assert ("key", "key_1") == (refused.value.standing.scope, refused.value.standing.subject)
    await bench.reserve(99, key_id="key_2", tags=(("team", "b"),))
    await bench.reserve(5_000, tenant="zoo", key_id="key_3", tags=(("team", "a=b"),))


async def _store_key(bench: Bench, **values: int) -> None:
    """Store the key that attempts are made with."""
    key = {"id": "key_1", "tenant": "acme", "name": "", "prefix": "mg_", "sha256": "x", "scopes": "segment"}
    await bench.ledger.database.write(lambda c: c.execute(insert(api_keys).values(key | {"created_at": 0} | values)))


async def test_a_key_that_is_no_longer_good_reserves_nothing(bench: Bench) -> None:
    """A key that has expired, or is revoked by whomever, is refused at the next reserve; what is open ends well."""
    await _store_key(bench, expires_at=round((NOON + 10) * 1_000_000))
    reservation = await bench.reserve(5_000)
    bench.wall.now += 10
    with pytest.raises(KeyRefused):
        await bench.reserve(5_000)
    bench.wall.now -= 5
    await bench.ledger.database.write(lambda c: c.execute(update(api_keys).values(revoked_at=1)))
    batch = [bench.reserve(1), bench.reserve(1, key_id="key_2"), settle(reservation, 5_000)]
    results = await asyncio.gather(*batch, return_exceptions=True)
    assert [KeyRefused, Reservation, type(None)] == [type(result) for result in results]


async def test_one_refusal_spares_the_rest_of_its_batch(bench: Bench) -> None:
    """Of many who reserve at once, as many get their money as there is money for, the first ones first."""
    await bench.limit("0.01")
    results = await asyncio.gather(*(bench.reserve(3_000) for _ in range(50)), return_exceptions=True)
    assert [Reservation] * 3 + [OverBudget] * 47 == [type(result) for result in results]


async def test_a_correction_may_pass_a_hard_budget(bench: Bench) -> None:
    """What the provider has charged beyond is written though a budget has no room, and nothing is given out after."""
    await bench.limit("0.01")
    reservation = await bench.reserve(10_000)
    await settle(reservation, 10_000)
    now = round(bench.wall() * 1_000_000)
    correction = ending(
        reservation.attempt_id, Kind.CORRECT, set_aside=0, phase=3, amount=500, cost=700, reason="statement", at=now
    )
    assert Verdict.WRITTEN is await bench.ledger.journal.commit(correction)
    assert Verdict.WRITTEN is await bench.ledger.journal.commit(correction)
    assert Verdict.CLASHED is await bench.ledger.journal.commit(correction._replace(reason="another"))
    assert (10_500, 0) == await bench.used()
    with pytest.raises(OverBudget):
        await bench.reserve(1)


async def spend(ledger: Ledger, rng: random.Random, name: str) -> int:
    """Reserve and end some attempts; return how often a budget refused."""
    refused = 0
    for number in range(6):
        amount = rng.randrange(1, 5_000)
        attempt = replace(ATTEMPT, attempt_id=f"{name}-{number}", tags=(("team", rng.choice("ab")),))
        try:
            reservation = await ledger.reserve(attempt, Money(amount), expires_in=60)
        except OverBudget:
            refused += 1
            continue
        how = rng.choice(["settle", "release", "hold", "open"])
        if how == "settle":
            await settle(reservation, rng.randrange(amount + 1))
        elif how == "release":
            await reservation.release("refused")
        elif how == "hold":
            await reservation.hold("unanswered")
    return refused


async def test_two_gateways_never_pass_a_budget(database_url: str) -> None:
    """Over 20 seeds of two gateways with 12 callers each, three budgets hold to the micro-dollar at every moment."""
    wall = Hand()
    open_ledger = partial(Ledger.open, database_url, wall=wall, clock=time.monotonic, answer_seconds=10)
    ledgers = [await open_ledger(), await open_ledger()]
    bench = Bench(ledgers[0], wall)
    await bench.limit("0.04", period="day")
    await bench.limit("0.02", period="day", tag="team=a")
    await bench.limit("0.03", period="day", tag="team=b")
    for seed in range(20):
        wall.now += DAY
        callers = [
            spend(ledger, random.Random(f"{seed} {gateway} {caller}"), f"{seed}-{gateway}-{caller}")
            for gateway, ledger in enumerate(ledgers)
            for caller in range(12)
        ]
        assert sum(await asyncio.gather(*callers)), f"seed {seed}: no budget was reached, so nothing was shown"
    await agree(ledgers[1].database)
    for ledger in ledgers:
        await ledger.close()


async def test_a_budget_that_is_set_while_money_is_spent(database_url: str) -> None:
    """A budget that appears in the middle of spending counts every attempt once: those before it and those after."""
    wall = Hand()
    ledger = await Ledger.open(database_url, wall=wall, clock=time.monotonic, answer_seconds=10)
    bench = Bench(ledger, wall)
    callers = [spend(ledger, random.Random(caller), f"c{caller}") for caller in range(12)]
    spending = asyncio.gather(*callers, *(spend(ledger, random.Random(n), f"d{n}") for n in range(12)))
    for number in range(5):
        await bench.limit("100", tag=f"team={'ab'[number % 2]}", period=("total", "day", "month")[number % 3])
        await asyncio.sleep(0)
    await spending
    await agree(ledger.database)
    await ledger.close()


@pytest.mark.needs("postgres")
async def test_who_waits_for_a_budget_obeys_it(postgres_url: str) -> None:
    """A reserve that is asked for while a budget is being set waits for it, and is then measured by it."""
    wall = Hand()
    ledger = await Ledger.open(postgres_url, wall=wall, clock=time.monotonic, answer_seconds=10)
    bench = Bench(ledger, wall)
    await (await bench.reserve(1)).release("prepared")  # so that the statement is the server's already
    other = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with other.begin() as connection:
        wanted = wanted_budget(tenant="acme", limit_usd="0.01")
        await connection.run_sync(partial(set_budget, wanted=wanted, now=0, new_id=lambda prefix: f"{prefix}_1"))
        reserving = asyncio.ensure_future(bench.reserve(10_001))
        blocked = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        while not await ledger.database.read(lambda c: c.scalar(blocked)):
            pass
    with pytest.raises(OverBudget):
        await reserving
    await other.dispose()
    await ledger.close()


@pytest.mark.needs("postgres")
async def test_a_cut_commit_counts_once(own_postgres: Postgres) -> None:
    """A commit whose answer is lost counts once against its budget, whether it had taken place or not."""
    proxy = CuttingProxy(own_postgres.port)
    await proxy.start()
    wall = Hand()
    ledger = await Ledger.open(own_postgres.url(port=proxy.port), wall=wall, clock=time.monotonic, answer_seconds=10)
    bench = Bench(ledger, wall)
    await bench.limit("0.01")
    for cut in (Cut.AFTER, Cut.BEFORE, Cut.AFTER):
        proxy.cut = cut
        reservation = await bench.reserve(3_000)
        assert proxy.cut is Cut.NEVER
        proxy.cut = cut
        await settle(reservation, 2_500)
    assert (7_500, 0) == await bench.used()
    proxy.cut, proxy.stays_away = Cut.AFTER, True
    with pytest.raises(LedgerUnavailable):
        await bench.reserve(2_500)
    proxy.stays_away = False
    await proxy.start()
    await ledger.journal.close(patience_seconds=20)
    assert (7_500, 0) == await bench.used()
    assert await agree(ledger.database) == 8
    await ledger.close()
    await proxy.stop()
