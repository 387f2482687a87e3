"""Group commit, and what happens when the database is gone."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from gateway.store import (
    BoundedDatabase,
    Entry,
    Journal,
    Kind,
    LedgerUnavailable,
    Outcome,
    Verdict,
    ending,
    entries,
    open_database,
)
from tests.gateway.store.cutting_proxy import Cut, CuttingProxy
from tests.gateway.store.ledger_sums import agree
from tests.gateway.store.openings import opening
from tests.servers import Postgres


def settle(attempt_id: str) -> Entry:
    """Return the entry of a settlement."""
    return ending(attempt_id, Kind.SETTLE, set_aside=5000, amount=4000, cost=4000, upstream_ref="run", at=3)


async def open_journal(url: str, *, answer_seconds: float = 1.0, late_seconds: float = 60.0) -> Journal:
    """Open a journal on a database; unless told otherwise, it waits for each commit to the end."""
    database = BoundedDatabase(await open_database(url, connect_seconds=answer_seconds), seconds=answer_seconds)
    return Journal(database, clock=time.monotonic, sleep=asyncio.sleep, late_seconds=late_seconds)


async def close(journal: Journal, *, patience_seconds: float = 10.0) -> None:
    """Close a journal and its database."""
    await journal.close(patience_seconds=patience_seconds)
    await journal._database.close()


async def written(journal: Journal) -> list[tuple[str, int]]:
    """Return attempt and phase of all entries, in order."""

    def read(connection: Connection) -> list[tuple[str, int]]:
        query = select(entries.c.attempt_id, entries.c.phase).order_by(entries.c.attempt_id, entries.c.phase)
        return [(attempt_id, phase) for attempt_id, phase in connection.execute(query)]

    return await journal._database.read(read)


async def until_up(journal: Journal) -> None:
    """Wait until the journal has found its database again and has nothing parked."""
    while (task := journal._recovering) is not None:
        await asyncio.wait({task})
    assert (journal.down_seconds, journal.parked) == (None, 0)


@pytest.fixture
async def journal(database_url: str) -> AsyncIterator[Journal]:
    """A journal on an empty database of each kind."""
    opened = await open_journal(database_url, answer_seconds=10.0)
    yield opened
    await close(opened)


@pytest.fixture
async def proxy(own_postgres: Postgres) -> AsyncIterator[CuttingProxy]:
    """A proxy before a PostgreSQL of the test's own."""
    started = CuttingProxy(own_postgres.port)
    await started.start()
    yield started
    await started.stop()


async def test_concurrent_entries_share_transactions(journal: Journal) -> None:
    """A thousand callers who reserve and settle at once make 2,000 entries in at most 20 transactions."""

    async def spend(number: int) -> tuple[Verdict, Outcome | None]:
        return await journal.commit(opening(f"a{number}")), await journal.keep(settle(f"a{number}"))

    verdicts = await asyncio.gather(*map(spend, range(1000)))
    assert set(verdicts) == {(Verdict.WRITTEN, Outcome(Verdict.WRITTEN))}
    assert journal.operations == 2000
    assert journal.transactions <= 20
    assert len(await written(journal)) == 2000


async def test_a_spoiled_entry_fails_alone(journal: Journal) -> None:
    """An entry whose values the database refuses fails by itself; the rest of its batch is written."""
    batch = [opening(f"a{number}") for number in range(21)]
    batch[13] = batch[13]._replace(prompt_index=2**63)
    verdicts = await asyncio.gather(*map(journal.commit, batch))
    assert verdicts == [Verdict.MALFORMED if number == 13 else Verdict.WRITTEN for number in range(21)]
    assert journal.down_seconds is None


async def test_a_caller_that_goes_away_keeps_its_ending(journal: Journal) -> None:
    """An entry that must not be lost is written although its caller is cancelled at once."""
    await journal.commit(opening("a"))
    caller = journal.keep(settle("a"))
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await journal.close()
    assert await written(journal) == [("a", 0), ("a", 1)]


async def test_a_kept_entry_is_written_no_later_than_what_follows_it(journal: Journal) -> None:
    """Who reserves after an ending that he does not wait for finds it on disk with his reservation."""
    await journal.commit(opening("a"))
    ending = journal.keep(settle("a"))
    assert await journal.commit(opening("b")) is Verdict.WRITTEN
    assert ending.result() == Outcome(Verdict.WRITTEN)
    assert await written(journal) == [("a", 0), ("a", 1), ("b", 0)]
    assert journal.transactions == 2


async def test_a_closed_journal_takes_nothing(journal: Journal) -> None:
    """After its end a journal refuses reservations."""
    await journal.close()
    with pytest.raises(LedgerUnavailable):
        await journal.commit(opening("a"))


async def test_a_locked_file_is_unavailable_and_then_caught_up(tmp_path: Path) -> None:
    """While another process holds the file, reservations fail and endings are parked; afterwards they are written."""
    journal = await open_journal(f"sqlite:///{tmp_path}/ledger.db", answer_seconds=5.0)
    await journal.commit(opening("a"))
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable, match="locked") as refused:
        await journal.commit(opening("b"))
    assert refused.value.certain
    assert await journal.keep(settle("a")) is None
    assert journal.parked == 1
    other.execute("ROLLBACK")
    other.close()
    await until_up(journal)
    assert await journal.commit(opening("c")) is Verdict.WRITTEN
    assert await written(journal) == [("a", 0), ("a", 1), ("c", 0)]
    await close(journal)


async def test_a_late_commit_is_waited_for_by_nobody_and_counts(tmp_path: Path) -> None:
    """While one takes too long, everybody goes on, reservations fail at once, and what was under way is written."""
    journal = await open_journal(f"sqlite:///{tmp_path}/ledger.db", answer_seconds=5.0, late_seconds=0.05)
    await journal.commit(opening("a"))
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    first = asyncio.ensure_future(journal.commit(opening("b")))
    await asyncio.sleep(0)
    behind = asyncio.ensure_future(journal.commit(opening("c")))
    kept = asyncio.ensure_future(journal.keep(settle("a")))
    failed = await asyncio.gather(first, behind, return_exceptions=True)
    assert [LedgerUnavailable, LedgerUnavailable] == [type(failure) for failure in failed]
    assert failed[1].certain  # type: ignore[union-attr]
    assert (None, False) == (await kept, journal.answers)
    with pytest.raises(LedgerUnavailable, match="does not answer") as refused:
        await journal.commit(opening("d"))
    assert refused.value.certain
    other.execute("ROLLBACK")
    other.close()
    while (task := journal._flushing) is not None:
        await asyncio.wait({task})
    assert journal.answers
    journal._late_seconds = 60
    assert await journal.commit(opening("e")) is Verdict.WRITTEN
    there = set(await written(journal))
    assert {("a", 0), ("a", 1), ("e", 0)} <= there
    assert not {("c", 0), ("d", 0)} & there
    await close(journal)


@pytest.mark.needs("postgres")
@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
async def test_a_commit_of_unknown_outcome_is_resolved(proxy: CuttingProxy, own_postgres: Postgres, cut: Cut) -> None:
    """A connection that is cut around its COMMIT costs nobody anything: all entries are there once, and confirmed."""
    journal = await open_journal(own_postgres.url(port=proxy.port), answer_seconds=10.0)
    await journal.commit(opening("a"))
    proxy.cut = cut
    given = [settle("a"), *map(opening, "bcd")]
    assert await asyncio.gather(*map(journal.commit, given)) == [Verdict.WRITTEN] * 4
    assert proxy.cuts == 1
    assert await written(journal) == [("a", 0), ("a", 1), ("b", 0), ("c", 0), ("d", 0)]
    assert await journal.commit(settle("b")) is Verdict.WRITTEN
    assert await agree(journal._database) == 6
    await close(journal)


@pytest.mark.needs("postgres")
async def test_a_server_that_restarts_is_noticed_by_nobody(own_postgres: Postgres) -> None:
    """Connections that went stale over a crash of the server are replaced, and what was confirmed is there."""
    journal = await open_journal(own_postgres.url(), answer_seconds=10.0)
    await journal.commit(opening("a"))
    own_postgres.crash()
    own_postgres.start()
    assert await journal.commit(opening("b")) is Verdict.WRITTEN
    assert await written(journal) == [("a", 0), ("b", 0)]
    await close(journal)


@pytest.mark.needs("postgres")
async def test_a_server_that_is_gone_costs_no_ending(own_postgres: Postgres) -> None:
    """With the server killed, reservations fail and endings are parked; when it is back, they are written."""
    journal = await open_journal(own_postgres.url())
    await journal.commit(opening("a"))
    own_postgres.crash()
    with pytest.raises(LedgerUnavailable):
        await journal.commit(opening("b"))
    assert await journal.keep(settle("a")) is None
    assert journal.parked == 1
    own_postgres.start()
    await until_up(journal)
    assert await written(journal) == [("a", 0), ("a", 1)]
    await close(journal)


@pytest.mark.needs("postgres")
async def test_a_server_that_hangs_is_waited_for_once(own_postgres: Postgres) -> None:
    """With the server frozen, the first callers fail within two answer times and later ones at once, without a try."""
    journal = await open_journal(own_postgres.url(), answer_seconds=0.5)
    await journal.commit(opening("a"))
    own_postgres.freeze()
    try:
        async with asyncio.timeout(10):
            failed = await asyncio.gather(*map(journal.commit, map(opening, "bcd")), return_exceptions=True)
            assert [type(failure) for failure in failed] == [LedgerUnavailable] * 3
            assert await journal.keep(settle("a")) is None
        waiting = journal.commit(opening("e"))
        with pytest.raises(LedgerUnavailable, match="does not answer"):
            waiting.send(None)  # without one turn of the event loop
    finally:
        own_postgres.thaw()
    await until_up(journal)
    assert await journal.commit(opening("f")) is Verdict.WRITTEN
    assert {("a", 0), ("a", 1), ("f", 0)} <= set(await written(journal))
    await close(journal)


@pytest.mark.needs("postgres")
async def test_what_cannot_be_written_to_the_end_is_counted(
    own_postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal that closes without its database ends in bounded time and says how many entries it leaves behind."""
    journal = await open_journal(own_postgres.url(), answer_seconds=0.5)
    await journal.commit(opening("a"))
    own_postgres.stop(signal.SIGINT)
    assert await journal.keep(settle("a")) is None
    async with asyncio.timeout(20):
        await close(journal, patience_seconds=0.2)
    assert "1 entries were not written" in caplog.text
