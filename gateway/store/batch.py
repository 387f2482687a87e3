"""
A whole batch of entries into the ledger, in the transaction that the caller has begun.

`apply` is for batches in which everything fits, which is nearly all of them: the entries, what is used of budgets and
the running sums are each one statement. Where anything does not fit, it raises `NotAsGiven`, the transaction is rolled
back, and `apply_carefully` judges entry by entry in a new one.

Why the entries are written before their budgets are looked for: whoever sets a budget locks the entries and adds up
what is there. Who has written before is counted by it; who writes later sees the budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from gateway.store.budgeting import BudgetBook, BudgetRow, BudgetStanding, accounts_of_opening
from gateway.store.chain import Head, chained
from gateway.store.database import LedgerUnavailable
from gateway.store.entry import ENDED, OPENED, Entry, Kind, Verdict, judge
from gateway.store.ledger_sql import (
    add_usage,
    find_budgets,
    find_lapsed_keys,
    find_openings,
    find_standing,
    insert_entries,
    lock_windows,
    put_windows,
    record,
)
from gateway.store.usage_lines import added_up

_LET_NO_BUDGET_IN = "LOCK TABLE entries IN ROW EXCLUSIVE MODE"


class Posting(NamedTuple):
    """An entry on its way into the ledger."""

    entry: Entry
    opening: Entry | None = None
    """The entry that opened its attempt, where it is at hand; else it is looked up."""


class Outcome(NamedTuple):
    """What became of an entry."""

    verdict: Verdict
    budgets: tuple[BudgetStanding, ...] = ()
    """Over budget: the one that refused. A reserve that is written: the soft ones that stand above their limit."""


class NotAsGiven(Exception):
    """Not everything of a batch can be written as it was given. The transaction has to be rolled back."""


_WRITTEN = Outcome(Verdict.WRITTEN)


def apply(connection: Connection, batch: Sequence[Posting], head: Head) -> tuple[list[Outcome], Head]:
    """
    Write a batch, all of it as it was given.

    Args:
        connection: in a transaction that writes.
        batch: without entries it is asked only whether the database answers.
        head: the end of this writer's chain.

    Returns:
        What became of each entry, and the end of the chain once the transaction is committed.

    Raises:
        NotAsGiven: an entry does not fit, or a budget has no room.
        LedgerUnavailable: an entry has a value that cannot be stored.
    """
    if not batch:
        connection.exec_driver_sql("SELECT 1")
        return [], head
    if any(posting.entry.phase > ENDED for posting in batch):
        raise NotAsGiven("a hold is resolved, or an attempt corrected")
    openings = _openings(connection, batch)
    paired = [(posting.entry, openings[posting.entry.attempt_id]) for posting in batch]
    rows, head = _chained(head, [entry for entry, _ in paired])
    accounts = _accounts(openings.values())
    written, budgets = record(connection, rows, writer=head.writer, sums=added_up(paired), accounts=accounts)
    if written != len(rows):
        raise NotAsGiven("something stands in the place of an entry, or its attempt is not open")
    book = _opened(connection, budgets, openings.values())
    if not book.windows:
        return [_WRITTEN] * len(batch), head
    outcomes = []
    for entry, opening in paired:
        if entry.kind == Kind.RESERVE and book.refusing(entry) is not None:
            raise NotAsGiven("a budget has no room")
        outcomes.append(Outcome(Verdict.WRITTEN, book.count(entry, opening)))
    _close_book(connection, book)
    return outcomes, head


def apply_carefully(connection: Connection, batch: Sequence[Posting], head: Head) -> tuple[list[Outcome], Head]:
    """
    Judge each entry of a batch by what stands now, and write those that have a place; see `apply` for the arguments.

    Applying a batch again is harmless: what is there already is found to be there. That is how a commit is resolved of
    which nobody knows whether it took place.

    Raises:
        NotAsGiven: another gateway came in between; what it has written is seen by the next try.
        LedgerUnavailable: an entry has a value that cannot be stored.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_LET_NO_BUDGET_IN)
    standing = find_standing(connection, {posting.entry.attempt_id for posting in batch})
    reserves = [posting.entry for posting in batch if posting.entry.phase == OPENED]
    openings = [phases[OPENED] for phases in standing.values() if OPENED in phases]
    lapsed = find_lapsed_keys(connection, (entry.key_id for entry in reserves))
    counted = [*openings, *reserves]
    accounts = _accounts(counted)
    book = _opened(connection, find_budgets(connection, accounts) if accounts else [], counted)
    outcomes, written = [], []
    for entry, _ in batch:
        phases = standing[entry.attempt_id]
        outcome, fitting = _judged(entry, phases, lapsed, book)
        outcomes.append(outcome)
        if fitting is not None:
            phases[fitting.phase] = fitting
            written.append((fitting, phases[OPENED]))
    if written:
        head = _write_by_phase(connection, [entry for entry, _ in written], head)
        add_usage(connection, head.writer, added_up(written))
        _close_book(connection, book)
    return outcomes, head


def _judged(
    entry: Entry, phases: dict[int, Entry], lapsed: dict[str, int], book: BudgetBook
) -> tuple[Outcome, Entry | None]:
    """Say what becomes of an entry, and what is to be written of it; count that."""
    judged = judge(entry, phases)
    if isinstance(judged, Verdict):
        return Outcome(judged), None
    if judged.kind == Kind.RESERVE:
        if lapsed.get(judged.key_id or "", judged.at + 1) <= judged.at:
            return Outcome(Verdict.REVOKED), None
        refusing = book.refusing(judged)
        if refusing is not None:
            return Outcome(Verdict.OVER_BUDGET, (refusing,)), None
    verdict = Verdict.WRITTEN if judged is entry else Verdict.RESOLVED
    return Outcome(verdict, book.count(judged, phases.get(OPENED, judged))), judged


def _chained(head: Head, entries: Sequence[Entry]) -> tuple[list[tuple[Any, ...]], Head]:
    """Append entries to the chain."""
    try:
        return chained(head, entries)
    except TypeError as error:
        raise LedgerUnavailable(f"a value cannot be stored: {error}", certain=True, values_at_fault=True) from error


def _write_by_phase(connection: Connection, entries: Sequence[Entry], head: Head) -> Head:
    """Write entries, those first that others in the batch stand upon."""
    for phase in sorted({entry.phase for entry in entries}):
        rows, head = _chained(head, [entry for entry in entries if entry.phase == phase])
        if insert_entries(connection, rows) != len(rows):
            raise NotAsGiven("another gateway came in between")
    return head


def _openings(connection: Connection, batch: Sequence[Posting]) -> dict[str, Entry]:
    """Return the entries that open, or have opened, the attempts of a batch."""
    openings = {entry.attempt_id: opening for entry, opening in batch if opening is not None}
    openings |= {entry.attempt_id: entry for entry, _ in batch if entry.phase == OPENED}
    unknown = {entry.attempt_id for entry, _ in batch} - openings.keys()
    if unknown:
        openings |= find_openings(connection, unknown)
        if unknown - openings.keys():
            raise NotAsGiven("an attempt was never opened")
    return openings


def _accounts(openings: Iterable[Entry]) -> set[str]:
    """Return what attempts count against."""
    return {account for opening in openings for account in accounts_of_opening(opening)}


def _opened(connection: Connection, budgets: Sequence[BudgetRow], openings: Iterable[Entry]) -> BudgetBook:
    """Return a book with all windows that attempts count in, which others cannot change from now on."""
    book = BudgetBook(budgets)
    needed = book.needed(openings)
    if needed:
        book.windows = lock_windows(connection, needed)
    return book


def _close_book(connection: Connection, book: BudgetBook) -> None:
    """Store what was counted."""
    if book.changed:
        put_windows(connection, [book.windows[key] for key in sorted(book.changed)])
