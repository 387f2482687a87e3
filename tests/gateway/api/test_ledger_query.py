"""`GET /v1/ledger`: what is asked, and how the entries are written."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection
from starlette.datastructures import QueryParams
from starlette.responses import Response, StreamingResponse

from gateway.accounting import UsageQuery
from gateway.accounting.listing import LedgerQuery, Place
from gateway.api.ledger import MOST_ENTRIES, LedgerEntryShape, LedgerShape, answer, read_ledger_query
from gateway.api.paging import write_cursor
from gateway.ids import new_ids
from gateway.problems import Forbidden, InvalidRequest
from gateway.request import Caller, Scope
from gateway.store import Database, Kind, open_database
from tests.gateway.accounting.ledger_rows import DAY, FIRST_DAY, Writer, ended, imported, opening

ACME = Caller("acme", "key_1")
ADMIN = Caller("acme", "key_2", scopes=frozenset({Scope.ADMIN}))
OWN = UsageQuery(tenant="acme")
MARCH_FIRST, MARCH_SECOND = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)


def asked(query: str, caller: Caller = ACME) -> LedgerQuery:
    """Read a query string."""
    return read_ledger_query(QueryParams(query), caller)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", LedgerQuery(OWN)),
        ("order=newest&format=json", LedgerQuery(OWN)),
        ("order=oldest&limit=1000", LedgerQuery(OWN, newest_first=False, limit=1000)),
        ("kind=import", LedgerQuery(OWN, kind="import")),
        ("attempt_id=att_1&request_id=seg_1", LedgerQuery(OWN, attempt_id="att_1", request_id="seg_1")),
        (
            "tenant=acme&key_id=k&deployment=d&tag=team:red",
            LedgerQuery(UsageQuery(tenant="acme", key_id="k", deployment="d", tags=(("team", "red"),))),
        ),
        ("day=2026-03-01", LedgerQuery(UsageQuery(tenant="acme", since=MARCH_FIRST, until=MARCH_SECOND))),
        (
            "since=2026-03-01&until=2026-03-02T00:00:00Z",
            LedgerQuery(UsageQuery(tenant="acme", since=MARCH_FIRST, until=MARCH_SECOND)),
        ),
        (
            f"cursor={write_cursor('newest', 7, 'att_1', 2)}",
            LedgerQuery(OWN, after=Place(7, "att_1", 2)),
        ),
    ],
)
def test_a_query_string_is_read(query: str, expected: LedgerQuery) -> None:
    """Filters, order and page; the newest entries come first where nothing else is said."""
    assert expected == asked(query)


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("by=day", "by", "unknown parameter; there are tenant, key_id"),
        ("order=up", "order", "no order 'up'; there are newest and oldest"),
        ("kind=refund", "kind", "no kind 'refund'; there are reserve, settle"),
        ("day=2026-02-30", "day", "'2026-02-30' is no day; write 2026-01-31"),
        ("day=9999-12-31", "day", "is no day"),
        ("day=2026-03-01&since=2026-03-01", "day", "in place of since and until"),
        ("limit=1001", "limit", "write 1 to 1000"),
        ("format=xml", "format", "there are json and csv"),
        ("attempt_id=%00", "attempt_id", "cannot be printed"),
        (f"cursor={write_cursor('newest', 7, 'a', 2)}&order=oldest", "cursor", "no cursor of the same question"),
        (f"cursor={write_cursor('newest', '7', 'a', 2)}", "cursor", "no cursor"),
        (f"cursor={write_cursor('newest', 2**63, 'a', 2)}", "cursor", "no cursor"),
        (f"cursor={write_cursor('newest', 7, 'a', 2**31)}", "cursor", "no cursor"),
        (f"cursor={write_cursor('newest', 7, chr(0), 2)}", "cursor", "no cursor"),
        (f"cursor={write_cursor('newest', 7)}", "cursor", "no cursor"),
    ],
)
async def test_what_cannot_be_asked_is_named_with_what_can(
    query: str, field: str, words: str, database: Database
) -> None:
    """The problem's field is the parameter."""
    with pytest.raises(InvalidRequest, match=words) as refused:
        await answer(QueryParams(query), "", caller=ACME, database=database)
    assert field == refused.value.field


def test_a_request_is_looked_for_around_the_moment_in_its_id() -> None:
    """An id of ours begins with its moment; any other id, and a moment that was asked for, leave the time as it is."""
    made = new_ids(MARCH_FIRST.timestamp)("seg")
    day = timedelta(days=1)
    found = asked(f"request_id={made}").attempts
    assert (MARCH_FIRST - day, MARCH_FIRST + day) == (found.since, found.until)
    assert MARCH_SECOND == asked(f"request_id={made}&until=2026-03-02").attempts.until
    assert [None] * 3 == [
        asked(f"request_id={other}").attempts.since for other in ("seg_1", "Z" * 26, "seg_" + "u" * 26)
    ]


def test_another_tenant_s_entries_are_an_administrator_s_to_see() -> None:
    """A key of the tenant sees the tenant's own; one that may only spend sees none."""
    assert ["zoo", None, "acme"] == [asked(q, ADMIN).attempts.tenant for q in ("tenant=zoo", "tenant=*", "")]
    with pytest.raises(Forbidden, match="own tenant alone"):
        asked("tenant=zoo")
    with pytest.raises(Forbidden, match="scope usage"):
        asked("", Caller("acme", "key_3", scopes=frozenset({Scope.SEGMENT})))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A ledger of two tenants."""
    opened = await open_database(f"sqlite:///{tmp_path}/ledger.db")

    def fill(connection: Connection) -> None:
        writer = Writer("w_1")
        first = opening("a", tags='{"team":"=1+1"}')
        writer.write(connection, first, ended(first, Kind.SETTLE, amount=4000, cost=3000))
        writer.write(connection, first, ended(first, Kind.CORRECT, amount=-1000, cost=-500, phase=3), opens=False)
        writer.write(connection, imported("z", at=(FIRST_DAY + 1) * DAY))

    await opened.write(fill)
    yield opened
    await opened.close()


async def body_of(response: Response) -> str:
    """Return what a response sends."""
    if isinstance(response, StreamingResponse):
        return "".join([str(part) async for part in response.body_iterator])
    return bytes(response.body).decode()


async def listed(database: Database, query: str, caller: Caller = ACME) -> dict[str, Any]:
    """Return an answer's JSON, which has the shape that is promised."""
    document: dict[str, Any] = orjson.loads(
        await body_of(await answer(QueryParams(query), "", caller=caller, database=database))
    )
    LedgerShape.model_validate(document)
    return document


async def test_an_entry_is_written_whole(database: Database) -> None:
    """Every column, dollars beside micro-dollars, moments to the microsecond, and whose attempt it is."""
    (entry,) = (await listed(database, "kind=correct"))["entries"]
    assert 64 == len(entry.pop("chain"))
    assert {
        "id": 3,
        "attempt_id": "a",
        "phase": 3,
        "kind": "correct",
        "amount_microusd": -1000,
        "amount_usd": "-0.001000",
        "cost_microusd": -500,
        "cost_usd": "-0.000500",
        "reported_microusd": None,
        "upstream_ref": None,
        "reason": "why",
        "at": "2026-03-01T00:00:00.000001Z",
        "available_microusd": 1000,
        "reserved_microusd": 0,
        "held_microusd": 0,
        "payable_microusd": -500,
        "margin_microusd": -500,
        "request_id": "seg_1",
        "prompt_index": 0,
        "tenant": "acme",
        "key_id": "k1",
        "deployment": "eu",
        "provider": "runflow",
        "model": "sam-3",
        "region": "eu",
        "price_id": "p1",
        "expires_at": "2026-03-01T00:01:00.000000Z",
        "tags": {"team": "=1+1"},
        "writer": "w_1",
        "sequence": 3,
    } == entry


async def test_a_page_leads_to_the_next(database: Database) -> None:
    """The cursor of the last page is null; a tenant's pages hold the tenant's entries alone."""
    first = await listed(database, "limit=2")
    second = await listed(database, f"limit=2&cursor={first['next_cursor']}")
    assert [3, 1, 0] == [entry["phase"] for page in (first, second) for entry in page["entries"]]
    assert second["next_cursor"] is None
    assert ["z", "a"] == [
        entry["attempt_id"] for entry in (await listed(database, "tenant=*&limit=2", ADMIN))["entries"]
    ]


async def test_csv_has_every_entry(database: Database) -> None:
    """Its columns are those of an entry in JSON; tags are an object in one cell, numbers below zero stay numbers."""
    response = await answer(QueryParams("order=oldest"), "text/csv", caller=ACME, database=database)
    rows = list(csv.DictReader(io.StringIO(await body_of(response))))
    assert list(LedgerEntryShape.model_fields) == list(rows[0])
    assert [("reserve", "5000"), ("settle", "4000"), ("correct", "-1000")] == [
        (row["kind"], row["amount_microusd"]) for row in rows
    ]
    assert {'{"team":"=1+1"}'} == {row["tags"] for row in rows}
    assert ["0.005000", "0.004000", "-0.001000"] == [row["amount_usd"] for row in rows]


async def test_csv_stops_at_a_limit(database: Database) -> None:
    """A caller who says how many entries it wants gets as many, which are the first ones of the whole list."""
    whole = await body_of(await answer(QueryParams("format=csv&order=oldest"), "", caller=ACME, database=database))
    some = await body_of(
        await answer(QueryParams("format=csv&order=oldest&limit=2"), "", caller=ACME, database=database)
    )
    assert (2, True) == (len(list(csv.DictReader(io.StringIO(some)))), whole.startswith(some))


async def test_csv_goes_on_beyond_one_page(database: Database) -> None:
    """A page's worth of entries and one more come under one header."""

    def write(connection: Connection) -> None:
        writer = Writer("w_2")
        for number in range(MOST_ENTRIES):
            writer.write(connection, opening(f"b{number}", at=(FIRST_DAY + 2) * DAY))

    await database.write(write)
    text = await body_of(await answer(QueryParams("format=csv"), "", caller=ACME, database=database))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert MOST_ENTRIES + 3 == len({row["id"] for row in rows}) == len(rows)
