"""What the tables and the judgement of a batch allow, in both databases."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy import Connection, text

from gateway.store import (
    Database,
    Entry,
    Kind,
    LedgerUnavailable,
    Posting,
    Verdict,
    ending,
    moves,
    open_database,
)
from gateway.store.batch import apply
from gateway.store.chain import begin
from gateway.store.entry import judge, resolving
from gateway.store.lane import Lane, name_writer
from tests.gateway.store.ledger_sums import agree
from tests.gateway.store.openings import opening


def reserve(attempt_id: str, amount: int = 5000) -> Entry:
    """Return the entry of a reservation."""
    return opening(attempt_id, amount=amount, tags='{"team":"a"}')


def settle(attempt_id: str, amount: int = 4000, at: int = 3) -> Entry:
    """Return the entry of a settlement."""
    return ending(attempt_id, Kind.SETTLE, set_aside=5000, amount=amount, cost=amount, upstream_ref="run", at=at)


def release(attempt_id: str) -> Entry:
    """Return the entry of a release."""
    return ending(attempt_id, Kind.RELEASE, set_aside=5000, reason="refused", at=3)


def hold(attempt_id: str, at: int = 3) -> Entry:
    """Return the entry of a hold."""
    return ending(attempt_id, Kind.HOLD, set_aside=5000, reason="abandoned", at=at)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database of each kind."""
    opened = await open_database(database_url)
    yield opened
    await opened.close()


async def write(database: Database, *batch: Entry) -> list[Verdict]:
    """Write one batch, as a writer of its own."""
    lane = Lane(database, name_writer)
    return [outcome.verdict for outcome in await lane.transact([Posting(entry) for entry in batch])]


async def test_a_batch_has_a_verdict_for_each_entry(database: Database) -> None:
    """One entry that cannot be written leaves the others of its batch written."""
    await write(database, *map(reserve, "abcdef"))
    await write(database, settle("b"), hold("c"), hold("d"), hold("e", at=2))
    given = [reserve("x"), settle("a"), release("b"), settle("c"), hold("d", at=9), release("nobody"), reserve("a", 7)]
    given += [settle("f", 5001), reserve("y"), settle("e", at=9)]
    verdicts = [
        Verdict.WRITTEN,
        Verdict.WRITTEN,
        Verdict.CLASHED,
        Verdict.RESOLVED,
        Verdict.HELD,
        Verdict.UNOPENED,
        Verdict.CLASHED,
        Verdict.EXCESSIVE,
        Verdict.WRITTEN,
        Verdict.RESOLVED,
    ]
    assert await write(database, *given) == verdicts
    assert await write(database, *given) == verdicts, "a batch that is applied again is found to be there"
    assert await write(database, settle("c", 1)) == [Verdict.CLASHED], "a hold is resolved once"


async def test_a_reserve_and_its_ending_may_share_a_batch(database: Database) -> None:
    """A reservation and its release that are written together are both written."""
    assert await write(database, reserve("a"), release("a")) == [Verdict.WRITTEN, Verdict.WRITTEN]
    assert await write(database, settle("a")) == [Verdict.CLASHED]


@pytest.mark.parametrize("size", [1, 2, 3, 63, 64, 65, 512])
async def test_a_batch_of_any_size_is_written_whole(database: Database, size: int) -> None:
    """As many rows are there as the batch has entries, none of them empty."""
    assert await write(database, *(reserve(f"a{number}") for number in range(size))) == [Verdict.WRITTEN] * size
    count = text("SELECT count(*), count(attempt_id), min(amount_microusd) FROM entries")
    assert await database.read(lambda connection: tuple(connection.execute(count).one())) == (size, size, 5000)


@pytest.mark.parametrize("change", ["UPDATE entries SET amount_microusd = 1", "DELETE FROM entries"])
async def test_entries_are_append_only(database: Database, change: str) -> None:
    """The database itself refuses to change or remove an entry."""
    await write(database, reserve("a"))
    with pytest.raises(LedgerUnavailable, match="append-only"):
        await database.write(lambda connection: connection.execute(text(change)))
    assert await write(database, reserve("a")) == [Verdict.WRITTEN]


@pytest.mark.parametrize(
    "entry",
    [
        reserve("a")._replace(amount_microusd=-1),
        reserve("a")._replace(tenant=None),
        reserve("a")._replace(kind="settle"),
        reserve("a")._replace(amount_microusd=2**63),
        reserve("a")._replace(tenant="\ud800"),
    ],
    ids=["negative", "nobody", "kind", "int64", "surrogate"],
)
async def test_impossible_entries_are_refused_by_the_database(database: Database, entry: Entry) -> None:
    """What no correct gateway writes is refused, and known to be the entry's fault."""
    with pytest.raises(LedgerUnavailable) as refused:
        await write(database, entry)
    assert (refused.value.certain, refused.value.values_at_fault) == (True, True)
    assert await write(database, reserve("a")) == [Verdict.WRITTEN], "the database goes on"


async def test_work_that_fails_leaves_nothing(database: Database) -> None:
    """An error in the work itself rolls its transaction back."""

    def broken(connection: Connection) -> None:
        apply(connection, [Posting(reserve("a"))], begin("w"))
        raise LedgerUnavailable("a fault in the middle", certain=True)

    with pytest.raises(LedgerUnavailable, match="in the middle"):
        await database.write(broken)
    assert await write(database, release("a")) == [Verdict.UNOPENED]


async def test_a_reader_cannot_write(database: Database) -> None:
    """Work that was announced as reading is refused when it writes."""
    with pytest.raises(LedgerUnavailable):
        await database.read(partial(apply, batch=[Posting(reserve("a"))], head=begin("w")))


async def test_sqlite_flushes_each_commit(tmp_path: object) -> None:
    """The writing connection keeps a write-ahead log and flushes it at each commit."""
    database = await open_database(f"sqlite:///{tmp_path}/ledger.db")
    pragmas = "journal_mode", "synchronous"
    found = await database.write(
        lambda connection: [connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in pragmas]
    )
    await database.close()
    assert found == ["wal", 2]


async def test_a_writer_has_the_file_from_the_beginning(tmp_path: object) -> None:
    """A transaction that will write locks the file before it reads, so that what it has read still holds."""
    database = await open_database(f"sqlite:///{tmp_path}/ledger.db")

    def other_writer(connection: Connection) -> None:
        connection.execute(text("SELECT count(*) FROM entries"))
        other = sqlite3.connect(f"{tmp_path}/ledger.db", timeout=0, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
        finally:
            other.close()

    with pytest.raises(LedgerUnavailable, match="locked"):
        await database.write(other_writer)
    await database.close()


async def test_an_error_repeats_no_values(database: Database) -> None:
    """What a failed statement was given does not get into messages and logs."""
    with pytest.raises(LedgerUnavailable) as refused:
        await write(database, reserve("a")._replace(tenant="somebody", prompt_index=-1))
    assert "somebody" not in str(refused.value)
    assert "INSERT" not in str(refused.value)


def test_an_ending_of_what_is_open_has_its_place() -> None:
    """A free place is the entry's own; after a hold it is the one in phase 2."""
    opened = {0: reserve("a")}
    assert judge(settle("a"), opened) == settle("a")
    assert judge(settle("a"), {**opened, 1: hold("a")}) == resolving(settle("a"))
    assert judge(settle("a"), {}) is Verdict.UNOPENED


def test_a_hold_is_resolved_once_and_nothing_else_is() -> None:
    """What is to resolve an attempt needs a hold in its place, and takes exactly what was reserved."""
    held = {0: reserve("a"), 1: hold("a")}
    resolved = resolving(settle("a"))
    assert judge(resolved, held) == resolved
    assert judge(resolved, {0: reserve("a")}) is Verdict.UNOPENED
    assert judge(resolved, {0: reserve("a"), 1: settle("a")}) is Verdict.CLASHED
    assert judge(resolved, {**held, 2: resolving(release("a"))}) is Verdict.CLASHED
    assert judge(resolved, {0: reserve("a", 6000), 1: hold("a")}) is Verdict.EXCESSIVE


def test_an_ending_moves_what_was_reserved() -> None:
    """An ending that would give back more or less than was reserved is refused."""
    assert judge(release("a"), {0: reserve("a", 4999)}) is Verdict.EXCESSIVE
    assert judge(release("a"), {0: reserve("a", 5001)}) is Verdict.EXCESSIVE


def imported(attempt_id: str, cost: int) -> Entry:
    """Return the entry of a call that only the provider's statement knows."""
    moved = moves(Kind.IMPORT, phase=0, set_aside=0, amount=0, cost=cost)
    entry = reserve(attempt_id)._replace(
        kind=Kind.IMPORT.value, amount_microusd=0, cost_microusd=cost, reason="statement"
    )
    return entry._replace(**{f"{name}_microusd": amount for name, amount in moved._asdict().items()})


async def test_imports_and_corrections_are_written_once(database: Database) -> None:
    """A call that only a statement knows is written, corrected as often as needed, and never ended."""
    corrections = [
        ending("a", Kind.CORRECT, set_aside=0, phase=phase, amount=0, cost=-7, reason="statement", at=9)
        for phase in (3, 4)
    ]
    assert await write(database, imported("a", 700), *corrections) == [Verdict.WRITTEN] * 3
    assert await write(database, imported("a", 700), *corrections) == [Verdict.WRITTEN] * 3
    assert await write(database, imported("a", 701)) == [Verdict.CLASHED]
    nothing = ending("a", Kind.RELEASE, set_aside=0, reason="refused", at=9)
    assert await write(database, nothing, corrections[0]._replace(cost_microusd=-8)) == [Verdict.CLASHED] * 2
    assert await write(database, corrections[0]._replace(attempt_id="b")) == [Verdict.UNOPENED]
    assert await agree(database) == 3
