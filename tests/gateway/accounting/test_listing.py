"""The ledger's pages, in both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy import Connection

from gateway.accounting import UsageQuery
from gateway.accounting.listing import LedgerPage, LedgerQuery, Line, Place, read_page
from gateway.store import Database, open_database
from gateway.store.entry import Kind
from tests.gateway.accounting.ledger_rows import DAY, FIRST_DAY, Writer, ended, opening

#: Attempt and phase of every entry, in the order of the reservations: two of them are of the same moment.
WALK = [("a", 0), ("a", 1), ("b", 0), ("c", 0), ("c", 1), ("c", 2), ("d", 0), ("d", 1)]

NOON = FIRST_DAY * DAY + DAY // 2


def fill(connection: Connection) -> None:
    """Write attempts in another order than that of their reservations."""
    writer = Writer("w_1")
    late = opening("d", at=NOON + DAY, tenant="zoo", key_id="k9", deployment="us", request_id="seg_9")
    writer.write(connection, late, ended(late, Kind.RELEASE))
    first = opening("a", at=NOON, tags='{"team":"red","ümläut":"ja"}')
    writer.write(connection, first, ended(first, Kind.SETTLE, amount=4000, cost=3000, after=3 * DAY))
    writer.write(connection, opening("b", at=NOON, key_id="k2"))
    held = opening("c", at=NOON + 1, tags='{"team":"blue"}')
    writer.write(connection, held, ended(held, Kind.HOLD), ended(held, Kind.SETTLE, amount=1, cost=1, phase=2))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A ledger of four attempts."""
    opened = await open_database(database_url)
    await opened.write(fill)
    yield opened
    await opened.close()


async def page(database: Database, query: LedgerQuery) -> LedgerPage:
    """Read one page."""
    return await database.read(partial(read_page, query=query))


def names(lines: tuple[Line, ...]) -> list[tuple[str, int]]:
    """Return attempt and phase of each line."""
    return [(line.attempt_id, line.phase) for line in lines]


OLDEST = LedgerQuery(newest_first=False)


async def walked(database: Database, query: LedgerQuery) -> list[tuple[str, int]]:
    """Return attempt and phase of every entry, read page by page."""
    found, place = [], None
    while True:
        read = await page(database, replace(query, after=place))
        found += names(read.lines)
        assert query.limit >= len(read.lines) > 0
        if read.next is None:
            return found
        place = read.next


async def test_page_by_page_the_whole_ledger_is_walked(database: Database) -> None:
    """Every entry comes once, by the moment of the reservation, an attempt's own in a row, whatever a page holds."""
    for limit in (1, 3, 8):
        assert WALK == await walked(database, LedgerQuery(limit=limit, newest_first=False))
        assert WALK[::-1] == await walked(database, LedgerQuery(limit=limit))


async def test_what_is_written_meanwhile_moves_no_page(database: Database) -> None:
    """Entries before and behind the end of a page change nothing in what follows but their own coming."""
    first = await page(database, replace(OLDEST, limit=3))

    def write(connection: Connection) -> None:
        writer = Writer("w_2")
        writer.write(connection, opening("early", at=NOON - 1))
        writer.write(connection, opening("later", at=NOON + 2))

    await database.write(write)
    second = await page(database, replace(OLDEST, after=first.next))
    assert [*WALK[3:6], ("later", 0), *WALK[6:]] == names(second.lines)


CASES = [
    (LedgerQuery(UsageQuery(tenant="acme"), newest_first=False), WALK[:6]),
    (LedgerQuery(UsageQuery(key_id="k2")), [("b", 0)]),
    (LedgerQuery(UsageQuery(deployment="us"), newest_first=False), WALK[6:]),
    (LedgerQuery(UsageQuery(tags=(("team", "red"), ("ümläut", "ja"))), newest_first=False), WALK[:2]),
    (LedgerQuery(UsageQuery(tags=(("team", "green"),))), []),
    (LedgerQuery(UsageQuery(since=datetime(2026, 3, 2, tzinfo=UTC)), newest_first=False), WALK[6:]),
    (LedgerQuery(UsageQuery(until=datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC)), newest_first=False), WALK[:3]),
    (LedgerQuery(kind="settle", newest_first=False), [("a", 1), ("c", 2)]),
    (LedgerQuery(kind="hold"), [("c", 1)]),
    (LedgerQuery(attempt_id="c", newest_first=False), WALK[3:6]),
    (LedgerQuery(request_id="seg_9"), WALK[7:5:-1]),
    (LedgerQuery(UsageQuery(tenant="zoo"), attempt_id="c"), []),
]


async def test_the_entries_that_are_asked_for_come(database: Database) -> None:
    """Time, tenant, key, deployment and tags are the attempt's; the kind is the entry's."""
    for query, expected in CASES:
        assert expected == names((await page(database, query)).lines), query


async def test_an_ending_shows_whose_it_is(database: Database) -> None:
    """The identity stands on the opening alone, and comes with every entry; all else is the entry's own."""
    (line,) = (await page(database, LedgerQuery(UsageQuery(tenant="acme"), kind="settle", attempt_id="a"))).lines
    assert ("acme", "k1", "eu", "seg_1", 0) == (
        line.tenant,
        line.key_id,
        line.deployment,
        line.request_id,
        line.prompt_index,
    )
    assert (4000, 3000, 1000, -5000, 0, 3000, 1000) == (
        line.amount_microusd,
        line.cost_microusd,
        line.available_microusd,
        line.reserved_microusd,
        line.held_microusd,
        line.payable_microusd,
        line.margin_microusd,
    )
    assert (NOON + 3 * DAY, "w_1", 4) == (line.at, line.writer, line.sequence)


async def test_the_next_place_is_the_last_line_s(database: Database) -> None:
    """A page leads on where it ends."""
    assert Place(NOON, "b", 0) == (await page(database, replace(OLDEST, limit=3))).next
