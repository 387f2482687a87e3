"""Whatever is wrong in a ledger is found where it is, in both databases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from gateway.accounting import Attempt, Ledger, OverBudget
from gateway.accounting.budgets import BudgetPeriod, Budgets, BudgetScope, WantedBudget
from gateway.accounting.verification import MOST_BREAKS, Break, Verification
from gateway.accounting.verifying import verify
from gateway.store import Database, open_database
from gateway.store.chain import Head
from gateway.store.entry import Entry, Kind
from gateway.store.tables import budget_windows, budgets
from providers.contract import Money
from tests.gateway.accounting.ledger_rows import DAY, FIRST_DAY, Writer, ended, imported, opening, unlocked

#: Noon of the first day, in seconds since 1970.
NOON = FIRST_DAY * 86_400.0 + 43_200

Wrong = Callable[[Connection], None]

BUDGETS = [
    ("b_tenant", "tenant:acme", "acme", "tenant", "acme", "total", 100_000, 1, 0),
    ("b_key", "key:k1", "acme", "key", "k1", "day", 100, 0, 0),
    ("b_tag", "tag:acme:team=red", "acme", "tag", "team=red", "month", 50_000, 1, 0),
]

#: Budget, first moment of the period, hard, limit, allowed, spent, reserved: added up by hand.
WINDOWS = [
    ("b_tenant", 0, 1, 100_000, 100_000, 5000, 10_000),
    ("b_key", FIRST_DAY * DAY, 0, 100, 100, 3000, 5000),
    ("b_key", (FIRST_DAY + 1) * DAY, 0, 100, 100, 0, 5000),
    ("b_tag", FIRST_DAY * DAY, 1, 50_000, 50_000, 2000, 5000),
]


def fill(connection: Connection) -> None:
    """Write attempts that ended in every way, by two writers, and what they add up to."""
    first, second = Writer("w_first"), Writer("w_second")
    settled, released = opening("settled"), opening("released")
    first.write(
        connection,
        settled,
        ended(settled, Kind.SETTLE, amount=4000, cost=3000),
        ended(settled, Kind.CORRECT, amount=-1000, cost=-500, phase=3),
    )
    first.write(connection, released, ended(released, Kind.RELEASE))
    first.write(connection, opening("open"))
    resolved = opening("resolved", key_id="k2", tags='{"team":"red"}')
    first.write(connection, resolved)
    second.write(connection, resolved, ended(resolved, Kind.HOLD), opens=False)
    second.write(connection, resolved, ended(resolved, Kind.SETTLE, amount=2000, cost=2000, phase=2), opens=False)
    held = opening("held", at=(FIRST_DAY + 1) * DAY + 7, tags='{"team":"red","order":"7"}')
    second.write(connection, held, ended(held, Kind.HOLD))
    second.write(connection, imported("statement", at=(FIRST_DAY + 1) * DAY))
    for writer in (first, second):
        writer.add_up(connection)
    names = [column.name for column in budgets.c]
    connection.execute(insert(budgets), [dict(zip(names, row, strict=True)) for row in BUDGETS])
    names = [column.name for column in budget_windows.c]
    connection.execute(insert(budget_windows), [dict(zip(names, row, strict=True)) for row in WINDOWS])


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An intact ledger of a few attempts."""
    opened = await open_database(database_url)
    await opened.write(fill)
    yield opened
    await opened.close()


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[Database]:
    """The same in a file: what the database looks for itself is looked for in both kinds, the rest in one."""
    opened = await open_database(f"sqlite:///{tmp_path}/ledger.db")
    await opened.write(fill)
    yield opened
    await opened.close()


async def look(database: Database, *noted: Head) -> Verification:
    """Look at everything."""
    return await database.read(partial(verify, tell=lambda _progress: None, noted=noted))


async def test_a_ledger_that_is_whole_is_found_whole(database: Database) -> None:
    """Reservations, settlements, releases, holds, corrections and imports of two writers break no law."""
    seen = await look(database)
    assert [] == seen.breaks
    assert (12, 6, 2, 4) == (seen.entries, seen.attempts, seen.days, seen.windows)
    assert [("w_first", 7), ("w_second", 5)] == [(head.writer, head.sequence) for head in seen.heads]


async def spend(ledger: Ledger, name: str) -> None:
    """Have attempts end in every way; a hard budget may be in the way of some."""
    for number, fate in enumerate(("settle", "release", "hold", "open") * 3):
        attempt = Attempt(
            f"{name}{number}",
            name,
            0,
            "acme",
            f"k{number % 2}",
            "eu",
            "runflow",
            "sam-3",
            "eu",
            "p",
            (("team", "red"),),
        )
        try:
            reservation = await ledger.reserve(attempt, Money(5000), expires_in=60)
        except OverBudget:
            continue
        if fate == "settle":
            await reservation.settle(charge=Money(4321), cost=Money(4000), reported=None, upstream_ref=None)
        elif fate == "release":
            await reservation.release("never_sent")
        elif fate == "hold":
            await reservation.hold("unanswered")


async def test_what_the_gateway_writes_is_whole(database_url: str) -> None:
    """Two gateways at once, budgets set before and in the middle, holds resolved the day after, an open one swept."""
    now = [NOON]
    first, second = [
        await Ledger.open(database_url, wall=lambda: now[0], clock=time.monotonic, answer_seconds=10) for _ in range(2)
    ]
    made = count(1)
    book = Budgets(first.database, wall=lambda: now[0], new_id=lambda prefix: f"{prefix}_{next(made)}")

    async def set_budget(scope: BudgetScope, subject: str, period: BudgetPeriod, microusd: int, *, hard: bool) -> None:
        await book.set(WantedBudget("acme", scope, subject, period, Money(microusd), hard))

    await set_budget(BudgetScope.TENANT, "acme", BudgetPeriod.MONTH, 100_000, hard=True)
    await asyncio.gather(spend(first, "a"), spend(second, "b"))
    await set_budget(BudgetScope.TAG, "team=red", BudgetPeriod.DAY, 1, hard=False)
    now[0] += 86_400
    await asyncio.gather(spend(first, "c"), spend(second, "d"))
    assert await first.sweep() > 0
    for held in (await second.held(100))[::2]:
        await second.settle_held(held, charge=Money(1234), cost=Money(1234), reported=None, upstream_ref=None)
    await first.close()
    seen = await look(second.database)
    await second.close()
    assert [] == seen.breaks
    assert (2, 2, 3) == (len(seen.heads), seen.days, seen.windows)


async def test_an_empty_ledger_is_whole(database_url: str) -> None:
    """Nothing was written, and nothing is broken."""
    database = await open_database(database_url)
    seen = await look(database)
    await database.close()
    assert (True, 0, []) == (seen.intact, seen.entries, seen.heads)


def sql(statement: str, *checks: str) -> Wrong:
    """Return a change behind the database's back; `checks` are in its way."""

    def change(connection: Connection) -> None:
        unlocked(connection, checks=checks)
        connection.exec_driver_sql(statement)

    return change


def written(*entries: Entry) -> Wrong:
    """Return entries that a third writer chained and added up as they are: only their figures are wrong."""

    def write(connection: Connection) -> None:
        unlocked(connection, checks=("entries_move_as_their_kind_says",))
        writer = Writer("w_wrong")
        writer.write(connection, *entries)
        writer.add_up(connection)

    return write


def ghost() -> Wrong:
    """Return the ending of an attempt that was never opened."""

    def write(connection: Connection) -> None:
        opened = opening("wrong", tenant="zoo")
        Writer("w_wrong").write(connection, opened, ended(opened, Kind.RELEASE), opens=False)

    return write


WRONG = opening("wrong", tenant="zoo", key_id="k9")
IMPORTED = imported("wrong", at=(FIRST_DAY + 1) * DAY)
SETTLED = ended(WRONG, Kind.SETTLE, amount=4000, cost=3000)
HOLD = ended(WRONG, Kind.HOLD)


def at_wrong(law: str, expected: int, found: int, sequence: int) -> Break:
    """Return the break of the attempt that the third writer has written."""
    return Break(law, str(expected), str(found), "w_wrong", sequence, "wrong")


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (ghost(), at_wrong("openings", 1, 0, 1)),
        (
            written(WRONG, ended(WRONG, Kind.RELEASE), ended(WRONG, Kind.RELEASE, phase=2)),
            at_wrong("resolutions", 0, 1, 3),
        ),
        (written(IMPORTED, ended(IMPORTED, Kind.RELEASE)), at_wrong("endings_of_an_import", 0, 1, 2)),
        (
            written(WRONG, HOLD._replace(amount_microusd=3000, reserved_microusd=-3000, held_microusd=3000)),
            at_wrong("micro_dollars_set_aside", 5000, 3000, 2),
        ),
        (
            written(WRONG, SETTLED._replace(reserved_microusd=-4000, available_microusd=0)),
            at_wrong("micro_dollars_reserved_at_last", 0, 1000, 2),
        ),
        (
            written(
                WRONG,
                HOLD,
                ended(WRONG, Kind.SETTLE, amount=4000, phase=2)._replace(held_microusd=-4000, available_microusd=0),
            ),
            at_wrong("micro_dollars_held_at_last", 0, 1000, 3),
        ),
    ],
    ids=["ghost", "resolved_without_hold", "import_ended", "hold_of_less", "leaves_reserved", "leaves_held"],
)
async def test_an_attempt_that_does_not_add_up_is_named(database: Database, wrong: Wrong, expected: Break) -> None:
    """Its last entry is told, with what it should be and what it is; nothing else is."""
    await database.write(wrong)
    assert [expected] == (await look(database)).breaks


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (
            sql("UPDATE entries SET reported_microusd = 1 WHERE attempt_id = 'settled' AND phase = 1"),
            ("chain", None, "w_first", 2, "settled"),
        ),
        (
            sql(
                "UPDATE entries SET available_microusd = 1001 WHERE attempt_id = 'settled' AND phase = 1",
                "entries_balance",
            ),
            ("entries_balance", "a row that breaks it", "w_first", 2, "settled"),
        ),
        (
            sql("DELETE FROM entries WHERE attempt_id = 'released' AND phase = 0"),
            ("sequence", "5", "w_first", 5, "released"),
        ),
        (
            sql("DELETE FROM entries WHERE attempt_id = 'released' AND phase = 0"),
            ("openings", "0", "w_first", 5, "released"),
        ),
        (
            sql("DELETE FROM entries WHERE attempt_id = 'settled' AND phase = 0"),
            ("sequence", "2", "w_first", 2, "settled"),
        ),
        (
            sql("UPDATE entries SET chain = '0' WHERE attempt_id = 'open'"),
            ("chain", "0", "w_first", 6, "open"),
        ),
        (
            sql(
                "UPDATE entries SET amount_microusd = 6000, margin_microusd = 3000, available_microusd = -1000"
                " WHERE attempt_id = 'settled' AND phase = 1",
                "entries_move_as_their_kind_says",
            ),
            ("micro_dollars_at_most", "6000", "w_first", 3, "settled"),
        ),
    ],
    ids=["value", "balance", "gap", "opening", "first", "hash", "more_than_reserved"],
)
async def test_an_entry_that_was_changed_is_named(
    file: Database, wrong: Wrong, expected: tuple[str, str | None, str, int, str]
) -> None:
    """Its writer, its number and its attempt are told."""
    await file.write(wrong)
    law, found, writer, sequence, attempt_id = expected
    places = {(each.law, each.writer, each.sequence, each.attempt_id): each.found for each in (await look(file)).breaks}
    assert (law, writer, sequence, attempt_id) in places
    assert found in {None, places[law, writer, sequence, attempt_id]}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (
            sql(
                "UPDATE usage_lines SET charged_microusd = charged_microusd + 1, held = held + 2 WHERE key_id = 'k2'"
                " AND writer = 'w_second'"
            ),
            Break(
                "usage_line",
                "held 0 charged_microusd 2000",
                "held 2 charged_microusd 2001",
                place=f'usage of day {FIRST_DAY}, acme k2 eu runflow sam-3 eu {{"team":"red"}}',
            ),
        ),
        (
            sql("DELETE FROM usage_lines WHERE tenant = 'zoo'"),
            Break(
                "usage_line",
                "attempts 1 settled 1 cost_microusd 700",
                "attempts 0 settled 0 cost_microusd 0",
                place=f"usage of day {FIRST_DAY + 1}, zoo k1 eu runflow sam-3 eu {{}}",
            ),
        ),
        (
            sql("UPDATE budget_windows SET reserved_microusd = 4999 WHERE budget_id = 'b_tag'"),
            Break(
                "budget_window",
                "spent 2000 reserved 5000",
                "spent 2000 reserved 4999",
                place=f"budget b_tag from {FIRST_DAY * DAY}",
            ),
        ),
        (
            sql("DELETE FROM budget_windows WHERE budget_id = 'b_key' AND spent_microusd = 0"),
            Break(
                "budget_window",
                "spent 0 reserved 5000",
                "no window",
                place=f"budget b_key from {(FIRST_DAY + 1) * DAY}",
            ),
        ),
        (
            sql(
                "UPDATE budget_windows SET limit_microusd = 1, allowed_microusd = 14999 WHERE budget_id = 'b_tenant'",
                "budget_windows_never_passed",
            ),
            Break("hard_budget_passed", "at most 14999", "15000", place="budget b_tenant from 0"),
        ),
    ],
    ids=["usage_line", "no_usage_line", "window", "no_window", "passed"],
)
async def test_a_sum_that_is_none_is_named(file: Database, wrong: Wrong, expected: Break) -> None:
    """The line or window is told, with what the entries add up to."""
    await file.write(wrong)
    breaks = (await look(file)).breaks
    assert [expected] == [each for each in breaks if not each.law.startswith("budget_windows_")]


async def test_a_budget_that_was_passed_breaks_its_check_as_well(database: Database) -> None:
    """The CHECK is looked at although the table has lost it."""
    change = sql(
        "UPDATE budget_windows SET limit_microusd = 1, allowed_microusd = 14999 WHERE budget_id = 'b_tenant'",
        "budget_windows_never_passed",
    )
    await database.write(change)
    laws = [(each.law, each.place) for each in (await look(database)).breaks]
    assert ("budget_windows_never_passed", "budget b_tenant from 0") in laws


async def test_a_chain_that_lost_its_end_is_found_by_the_head_that_was_noted(file: Database) -> None:
    """The rest of the chain is whole; the entry that was noted is not there."""
    noted = (await look(file)).heads
    assert [] == (await look(file, *noted)).breaks
    await file.write(sql("DELETE FROM entries WHERE attempt_id = 'statement'"))
    lost = Break("noted_head", noted[1].chain, "no such entry", "w_second", 5)
    assert lost in (await look(file, *noted)).breaks


async def test_a_chain_that_was_written_anew_is_found_by_the_head_that_was_noted(file: Database) -> None:
    """Somebody who computes every hash anew cannot change the one that was noted."""
    noted = Head("w_first", 3, "another")
    broken = [each for each in (await look(file, noted)).breaks if each.law == "noted_head"]
    assert [("another", "w_first", 3, "settled")] == [(b.expected, b.writer, b.sequence, b.attempt_id) for b in broken]


async def test_the_first_breaks_are_told_and_that_there_are_more(file: Database) -> None:
    """A ledger that is broken all over is walked to its end, and its breaks are cut off."""

    def fill_wrong(connection: Connection) -> None:
        writer = Writer("w_many")
        for number in range(MOST_BREAKS):
            writer.write(connection, opening(f"many{number}", tenant="zoo"))
        writer.add_up(connection)
        unlocked(connection)
        connection.exec_driver_sql("UPDATE entries SET request_id = 'changed' WHERE writer = 'w_many'")
        connection.exec_driver_sql("UPDATE usage_lines SET attempts = 0 WHERE tenant = 'zoo'")

    await file.write(fill_wrong)
    seen = await look(file)
    assert (MOST_BREAKS, True, 12 + MOST_BREAKS) == (len(seen.breaks), seen.more, seen.entries)


def test_a_break_reads_as_a_line() -> None:
    """Where, what, expected, found."""
    broken = Break("chain", "aa", "bb", "w_1", 7, "att_1")
    assert "entry 7 of w_1, attempt att_1: chain: expected aa, found bb" == str(broken)
    assert "budget b from 0: budget_window: expected 1, found 2" == str(
        Break("budget_window", "1", "2", place="budget b from 0")
    )
