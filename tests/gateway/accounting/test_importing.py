"""A statement brings the ledger to what the provider has billed, by new entries alone, in both databases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from gateway.accounting import Attempt, Ledger, OverBudget, Tally, UsageQuery
from gateway.accounting.budgets import Budgets, wanted_budget
from gateway.accounting.importing import OPERATOR, Done, Source, Wanted, import_statement
from gateway.accounting.matching import Group, Period
from gateway.accounting.statement import Billed
from gateway.accounting.verifying import verify
from gateway.store import Verdict, entries
from providers.contract import Money
from tests.gateway.store.ledger_sums import agree

SECOND = 1_000_000
START = 1_800_000_000
ATTEMPT = Attempt("att_1", "seg_1", 0, "acme", "key_1", "prodia", "prodia", "birefnet", "us", "prodia@2026-01-01*1.2")
SOURCE = Source("prodia", "prodia", ("prodia", "birefnet", "us"))
WHOLE = Wanted(Period((START - 1000) * SECOND, (START + 10_000) * SECOND), complete=True)
PARTIAL = replace(WHOLE, complete=False)


@dataclass
class Desk:
    """A ledger, and a clock that is set by hand."""

    ledger: Ledger
    now: float = START
    imports: int = 0

    async def spend(self, name: str, *, at: float, cost: int | None, ref: str | None = None, **others: Any) -> None:
        """Settle an attempt at its cost and a markup of 20 %; hold it where nobody knows the cost."""
        self.now = START + at
        reservation = await self.ledger.reserve(
            replace(ATTEMPT, attempt_id=name, **others), Money(6000), expires_in=600
        )
        self.now += 1
        if cost is None:
            await reservation.hold("unanswered", upstream_ref=ref)
        else:
            charge = Money(min(6000, -(-cost * 6 // 5)))
            await reservation.settle(charge=charge, cost=Money(cost), reported=None, upstream_ref=ref)

    async def bring(
        self, *rows: Billed, wanted: Wanted = PARTIAL, source: Source = SOURCE, ledger: Ledger | None = None
    ) -> list[Done]:
        """Import a statement; no two imports are of one moment."""
        self.imports += 1
        self.now = now = START + 20_000 + self.imports
        run = f"stmt_{self.imports}"
        return await import_statement(ledger or self.ledger, rows, source, wanted, wall=lambda: now, run=run)

    async def total(self, tenant: str = "acme") -> Tally:
        """Return what a tenant's usage comes to."""
        return (await self.ledger.usage(UsageQuery(tenant=tenant))).total

    async def written(self) -> list[tuple[str, int, str, int, int, str | None]]:
        """Return what imports have added to the ledger."""
        columns = ("attempt_id", "phase", "kind", "amount_microusd", "cost_microusd", "upstream_ref")
        query = select(*(entries.c[name] for name in columns)).where(
            (entries.c.phase >= 2) | (entries.c.kind == "import")
        )
        rows = await self.ledger.database.read(lambda connection: connection.execute(query).all())
        return sorted((row[0], row[1], row[2], row[3], row[4], row[5]) for row in rows)


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    """An empty ledger in each kind of database; at the end it is intact, whatever was written to it."""
    made: list[Desk] = []
    ledger = await Ledger.open(
        database_url, wall=lambda: made[0].now, clock=time.monotonic, sleep=asyncio.sleep, answer_seconds=10
    )
    made.append(Desk(ledger))
    yield made[0]
    await agree(ledger.database)
    seen = await ledger.database.read(partial(verify, tell=lambda _progress: None))
    await ledger.close()
    assert [] == seen.breaks


def row(ref: str, at: float, cost: int) -> Billed:
    """Return a row of a statement."""
    return Billed(2, ref, round((START + at) * SECOND), Money(cost))


def told(done: list[Done]) -> set[tuple[str, str | None, str | None, str | None]]:
    """Return the findings in short: group, attempt, row, and what was written."""
    return {
        (
            each.finding.group.value,
            each.finding.known.attempt_id if each.finding.known else None,
            each.finding.billed.ref if each.finding.billed else None,
            None if each.entry is None or each.verdict is not Verdict.WRITTEN else each.entry.kind,
        )
        for each in done
    }


async def fill(desk: Desk) -> None:
    """Spend in every way that a statement can know of."""
    await desk.spend("same", at=0, cost=4000, ref="job_same")
    await desk.spend("dearer", at=100, cost=4000, ref="job_dearer")
    await desk.spend("lost", at=1000, cost=None)
    await desk.spend("named", at=2000, cost=None, ref="job_named")
    await desk.spend("unbilled", at=3000, cost=None)
    await desk.spend("forgotten", at=4000, cost=3000, ref="job_forgotten")


ROWS = (
    row("job_same", 1, 4000),
    row("job_dearer", 101, 7000),
    row("job_lost", 1030, 4001),
    row("job_named", 5000, 9000),
    row("job_alien", 6000, 700),
)

FOUND = {
    ("matched", "same", "job_same", None),
    ("different_amount", "dearer", "job_dearer", "correct"),
    ("matched", "lost", "job_lost", "settle"),
    ("matched", "named", "job_named", "settle"),
    ("missing_here", None, "job_alien", "import"),
}


async def test_a_statement_that_may_be_partial(desk: Desk) -> None:
    """What was billed is booked; what the statement lacks stays as it is."""
    await fill(desk)
    lacking = {("missing_there", "unbilled", None, None), ("missing_there", "forgotten", None, None)}
    assert FOUND | lacking == told(await desk.bring(*ROWS))
    expected = [
        ("dearer", 3, "correct", 0, 3000, "job_dearer"),
        ("lost", 2, "settle", 4802, 4001, "job_lost"),
        ("named", 2, "settle", 6000, 9000, "job_named"),
        ("stmt_prodia_job_alien", 0, "import", 0, 700, "job_alien"),
    ]
    assert expected == await desk.written()
    charged, cost = 4800 + 4800 + 4802 + 6000 + 3600, 4000 + 7000 + 4001 + 9000 + 3000
    spent = Tally(attempts=6, settled=5, held=1, charged_microusd=charged, cost_microusd=cost, held_microusd=6000)
    assert spent == await desk.total()
    assert Tally(attempts=1, settled=1, cost_microusd=700) == await desk.total(OPERATOR)


async def test_a_complete_statement(desk: Desk) -> None:
    """What it lacks was not billed: a hold is released, and a cost corrected to nothing; its charge stands."""
    await fill(desk)
    lacking = {("missing_there", "unbilled", None, "release"), ("missing_there", "forgotten", None, "correct")}
    assert FOUND | lacking == told(await desk.bring(*ROWS, wanted=WHOLE))
    assert ("forgotten", 3, "correct", 0, -3000, None) in await desk.written()
    total = await desk.total()
    assert (5, 1, 0) == (total.settled, total.released, total.held)
    assert (24_002, 24_001) == (total.charged_microusd, total.cost_microusd)


async def test_the_same_statement_again(desk: Desk) -> None:
    """It finds everything as it says, and writes nothing."""
    await fill(desk)
    await desk.bring(*ROWS, wanted=WHOLE)
    before = await desk.written()
    again = await desk.bring(*ROWS, wanted=WHOLE)
    assert {Group.MATCHED} == {each.finding.group for each in again}
    assert [None] * len(ROWS) == [each.entry for each in again]
    assert before == await desk.written()


async def test_two_imports_at_once(desk: Desk, database_url: str) -> None:
    """Every entry is written once, by whoever comes first."""
    await fill(desk)
    other = await Ledger.open(database_url, wall=lambda: desk.now, clock=time.monotonic, answer_seconds=10)
    both = await asyncio.gather(desk.bring(*ROWS, wanted=WHOLE), desk.bring(*ROWS, wanted=WHOLE, ledger=other))
    await other.close()
    verdicts = [each.verdict for done in both for each in done if each.entry is not None]
    assert 6 == verdicts.count(Verdict.WRITTEN)
    assert {Verdict.WRITTEN, Verdict.CLASHED} >= set(verdicts)
    assert 6 == len(await desk.written())


async def test_a_dry_run(desk: Desk) -> None:
    """It finds the same and writes nothing."""
    await fill(desk)
    done = await desk.bring(*ROWS, wanted=replace(WHOLE, dry_run=True))
    assert 6 == sum(each.entry is not None for each in done)
    assert {None} == {each.verdict for each in done}
    assert [] == await desk.written()


async def test_a_statement_that_changes_its_mind(desk: Desk) -> None:
    """Correction follows correction, of attempts and of imports alike, and each is by the difference."""
    await desk.spend("att_1", at=0, cost=4000, ref="job_1")
    for first, second in ((5000, 700), (3000, 900), (3000, 0)):
        await desk.bring(row("job_1", 1, first), row("job_2", 100, second))
    expected = [
        ("att_1", 3, "correct", 0, 1000, "job_1"),
        ("att_1", 4, "correct", 0, -2000, "job_1"),
        ("stmt_prodia_job_2", 0, "import", 0, 700, "job_2"),
        ("stmt_prodia_job_2", 3, "correct", 0, 200, "job_2"),
        ("stmt_prodia_job_2", 4, "correct", 0, -900, "job_2"),
    ]
    assert expected == await desk.written()
    assert (4800, 3000) == ((await desk.total()).charged_microusd, (await desk.total()).cost_microusd)


async def test_budgets_follow(desk: Desk) -> None:
    """A hold that is settled or released makes room at once, and a corrected cost takes none."""
    budgets = Budgets(desk.ledger.database, wall=lambda: desk.now, new_id=lambda prefix: f"{prefix}_1")
    await budgets.set(wanted_budget(tenant="acme", period="total", limit_usd="0.018", hard=True))
    await desk.spend("lost", at=0, cost=None)
    await desk.spend("unbilled", at=1000, cost=None)
    await desk.spend("dearer", at=2000, cost=5000, ref="job_dearer")
    with pytest.raises(OverBudget):
        await desk.spend("refused", at=3000, cost=None)
    await desk.bring(row("job_lost", 5, 2000), row("job_dearer", 2000, 50_000), wanted=WHOLE)
    standing = await budgets.page(tenant="acme", after="", most=1)
    assert [(8400, 0)] == [(each.spent.microusd, each.reserved.microusd) for each in standing]
    await desk.spend("admitted", at=30_000, cost=None)


async def test_an_attempt_under_way_is_waited_for(desk: Desk) -> None:
    """A row that may be an open attempt's is booked only when that has ended, and then once."""
    desk.now = START + 100
    reservation = await desk.ledger.reserve(ATTEMPT, Money(6000), expires_in=10**6)
    assert {("waiting", None, "job_1", None)} == told(await desk.bring(row("job_1", 103, 4000)))
    await reservation.settle(charge=Money(4800), cost=Money(4000), reported=None, upstream_ref="job_1")
    assert {("matched", "att_1", "job_1", None)} == told(await desk.bring(row("job_1", 103, 4000)))


async def test_found_by_lookup_after_the_import(desk: Desk) -> None:
    """What was imported and then found to be an attempt of ours is owed once."""
    await desk.spend("att_1", at=0, cost=None)
    await desk.bring(row("job_1", 9000, 4000))
    [held] = await desk.ledger.held(1)
    await desk.ledger.settle_held(held, charge=Money(4800), cost=Money(4000), reported=None, upstream_ref="job_1")
    await desk.bring(row("job_1", 9000, 4000))
    assert ("stmt_prodia_job_1", 3, "correct", 0, -4000, None) in await desk.written()
    assert (4000, 0) == ((await desk.total()).cost_microusd, (await desk.total(OPERATOR)).cost_microusd)
    assert {("matched", "att_1", "job_1", None)} == told(await desk.bring(row("job_1", 9000, 4000), wanted=WHOLE))


async def test_other_deployments_and_providers(desk: Desk) -> None:
    """Another deployment's attempt is found by its name alone, another provider's not at all; a provider has both."""
    await desk.spend("other", at=0, cost=None, deployment="prodia-2")
    await desk.spend("stranger", at=0, cost=None, deployment="eu", provider="runflow", ref="job_1")
    await desk.spend("named", at=0, cost=None, deployment="prodia-2", ref="job_2")
    found = told(await desk.bring(row("job_1", 0, 4000), row("job_2", 0, 4000), wanted=replace(WHOLE, dry_run=True)))
    assert {("missing_here", None, "job_1", None), ("matched", "named", "job_2", None)} == found
    found = told(await desk.bring(row("job_1", 0, 4000), row("job_2", 0, 4000), source=Source("prodia")))
    assert {("matched", "other", "job_1", "settle"), ("matched", "named", "job_2", "settle")} == found


async def test_found_long_after_by_name(desk: Desk) -> None:
    """A settled attempt from weeks before the statement is found by its name."""
    await desk.spend("old", at=-3_000_000, cost=4000, ref="job_1")
    assert {("matched", "old", "job_1", None)} == told(await desk.bring(row("job_1", 0, 4000)))


async def test_many_rows(desk: Desk) -> None:
    """A statement of more rows than one transaction takes is booked whole."""
    await desk.spend("att_1", at=0, cost=None, ref="job_0700")
    rows = [row(f"job_{number:04}", number, 5) for number in range(1200)]
    done = await desk.bring(*rows)
    assert 1200 == sum(each.verdict is Verdict.WRITTEN for each in done)
    assert 5 * 1199 == (await desk.total(OPERATOR)).cost_microusd
    assert 0 == sum(each.entry is not None for each in await desk.bring(*rows))


async def test_the_sweep_leaves_imports_alone(desk: Desk) -> None:
    """What was imported is no reservation that somebody has abandoned."""
    await desk.bring(row("job_1", 0, 4000))
    assert 0 == await desk.ledger.sweep()
    assert Tally(attempts=1, settled=1, cost_microusd=4000) == await desk.total(OPERATOR)
