"""
`GET /v1/ledger`: the entries that the caller's money moved by, as JSON in pages or as CSV in one stream.

A caller sees its own tenant's entries; an administrator, any tenant's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal

import orjson
from fastapi import APIRouter
from pydantic import Field
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.accounting import UsageQuery
from gateway.accounting.listing import LedgerPage, LedgerQuery, Line, Place, read_page
from gateway.api.csv_text import csv_text
from gateway.api.documents import describe
from gateway.api.paging import limit_asked, pages_of, read_cursor, strange_cursor, write_cursor
from gateway.api.routes import PRIVATE, PlainRoute, caller_of, house_of
from gateway.api.schema import Shape
from gateway.api.usage import ATTEMPTS, attempts_asked, refuse_unknown, wants_csv
from gateway.ids import ALPHABET
from gateway.problems import InvalidRequest
from gateway.request import Caller
from gateway.store import Database, Kind
from providers.contract import Money

ENTRIES = 100
"""Of one page, where the caller says nothing; CSV is read in the largest pages."""
MOST_ENTRIES = 1000

ORDERS = ("newest", "oldest")
KINDS = tuple(kind.value for kind in Kind)

#: Digits of a ULID, and those of them that are its moment. Source: https://github.com/ulid/spec
ULID_DIGITS, TIME_DIGITS = 26, 10
#: Far more than a request lasts, and than a clock is set back.
AROUND = timedelta(days=1)

PARAMETERS = {
    **ATTEMPTS,
    "day": "only attempts reserved on this day, in UTC, as 2026-01-31; in place of since and until",
    "kind": f"only entries of this kind: {', '.join(KINDS)}",
    "attempt_id": "only this attempt's",
    "request_id": "only this request's: the id of its answer",
    "order": "newest or oldest first, by the moment of the reservation; newest without it",
    "format": "json or csv; csv has all entries at once, or the first ones, as many as limit says",
    "limit": "the most entries of one page, 1 to 1000; 100 without it, and all in csv",
    "cursor": "next_cursor of the page before",
}

router = APIRouter(route_class=PlainRoute)


class LedgerEntryShape(Shape):
    """One entry of the ledger, with the identity of its attempt."""

    id: int
    attempt_id: str
    phase: int = Field(description="0 opened, 1 ended, 2 resolved after a hold, 3 and on corrected")
    kind: str
    amount_microusd: int = Field(description="reserve, hold: set aside; settle: the charge; correct: what it adds")
    amount_usd: str
    cost_microusd: int = Field(description="owed to the provider; of a hold, at most")
    cost_usd: str
    reported_microusd: int | None = Field(description="the provider's own figure, where it gave one")
    upstream_ref: str | None
    reason: str | None
    at: str = Field(description="when it was written", examples=["2026-01-31T12:00:00.000001Z"])
    available_microusd: int = Field(description="the first of five accounts; what one gives, others take")
    reserved_microusd: int
    held_microusd: int
    payable_microusd: int
    margin_microusd: int
    request_id: str
    prompt_index: int
    tenant: str
    key_id: str
    deployment: str
    provider: str
    model: str
    region: str
    price_id: str
    expires_at: str
    tags: dict[str, str]
    writer: str = Field(description="whose hash chain it stands in")
    sequence: int
    chain: str


class LedgerShape(Shape):
    """A page of the ledger."""

    object: Literal["list"]
    entries: list[LedgerEntryShape]
    next_cursor: str | None


@router.get("/v1/ledger", **describe("List the ledger's entries", LedgerShape, query=PARAMETERS))
async def list_entries(request: Request) -> Response:
    """List every movement of the caller's money: reservations, charges, holds, releases and corrections."""
    caller = await caller_of(request)
    database = house_of(request).services.ledger.database
    return await answer(request.query_params, request.headers.get("accept", ""), caller=caller, database=database)


async def answer(parameters: QueryParams, accept: str, *, caller: Caller, database: Database) -> Response:
    """
    Return what the ledger says to a question.

    Raises:
        Forbidden: the key may not read the ledger, or not that tenant's.
        InvalidRequest: an unknown parameter, or a value that it cannot have.
        LedgerUnavailable: the database is out of reach.
    """
    query = read_ledger_query(parameters, caller)

    async def read(wanted: LedgerQuery) -> LedgerPage:
        return await database.read(partial(read_page, query=wanted))

    if wants_csv(parameters, accept):
        if "limit" not in parameters:
            query = replace(query, limit=MOST_ENTRIES)
        pages = pages_of(parameters, await read(query), lambda place: read(replace(query, after=place)))
        lines = ledger_csv(pages)
        return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=PRIVATE)
    body = ledger_body(await read(query), query)
    return Response(orjson.dumps(body), media_type="application/json", headers=PRIVATE)


def read_ledger_query(parameters: QueryParams, caller: Caller) -> LedgerQuery:
    """
    Read which entries to list.

    Raises:
        Forbidden: the key may not read the ledger, or not that tenant's.
        InvalidRequest: an unknown parameter, or a value that it cannot have.
    """
    refuse_unknown(parameters, PARAMETERS)
    order = parameters.get("order", ORDERS[0])
    if order not in ORDERS:
        raise InvalidRequest(f"no order {order!r}; there are {' and '.join(ORDERS)}", field="order")
    kind = parameters.get("kind")
    if kind is not None and kind not in KINDS:
        raise InvalidRequest(f"no kind {kind!r}; there are {', '.join(KINDS)}", field="kind")
    attempts = _near(parameters.get("request_id", ""), attempts_asked(parameters, caller))
    if "day" in parameters:
        if "since" in parameters or "until" in parameters:
            raise InvalidRequest("it stands in place of since and until; give the one or the others", field="day")
        since, until = _day(parameters["day"])
        attempts = replace(attempts, since=since, until=until)
    return LedgerQuery(
        attempts=attempts,
        kind=kind,
        attempt_id=parameters.get("attempt_id"),
        request_id=parameters.get("request_id"),
        newest_first=order == "newest",
        limit=limit_asked(parameters, default=ENTRIES, most=MOST_ENTRIES),
        after=_after(parameters, order),
    )


def _near(request_id: str, attempts: UsageQuery) -> UsageQuery:
    """
    Look for a request's attempts around the moment that its id begins with (a ULID), where no other is given.

    Why: the ledger is indexed by time, and an index of its own would slow every reservation down.
    """
    stamp = request_id.rpartition("_")[2]
    if len(stamp) != ULID_DIGITS or not set(stamp) <= set(ALPHABET) or attempts.since or attempts.until:
        return attempts
    milliseconds = 0
    for digit in stamp[:TIME_DIGITS]:
        milliseconds = milliseconds * len(ALPHABET) + ALPHABET.index(digit)
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
        return replace(attempts, since=moment - AROUND, until=moment + AROUND)
    except OverflowError:  # digits that no clock has written
        return attempts


def ledger_body(page: LedgerPage, query: LedgerQuery) -> dict[str, Any]:
    """Return a page as JSON."""
    order = "newest" if query.newest_first else "oldest"
    return {
        "object": "list",
        "entries": [entry_body(line) for line in page.lines],
        "next_cursor": None if page.next is None else write_cursor(order, *page.next),
    }


def entry_body(line: Line) -> dict[str, Any]:
    """Return one entry as JSON: every column, dollars beside micro-dollars, moments as ISO in UTC."""
    return {**_flat(line), "tags": orjson.loads(line.tags)}


async def ledger_csv(pages: AsyncIterator[LedgerPage]) -> AsyncIterator[str]:
    """Write entries as CSV with a header; `tags` is a JSON object."""
    yield csv_text([list(LedgerEntryShape.model_fields)])
    async for page in pages:
        yield csv_text(list(_flat(line).values()) for line in page.lines)


def _flat(line: Line) -> dict[str, Any]:
    """Return the entry's columns in the order of its shape, tags as they are stored."""
    given = line._asdict()
    given |= {
        "amount_usd": Money(line.amount_microusd).usd,
        "cost_usd": Money(line.cost_microusd).usd,
        "at": _moment(line.at),
        "expires_at": _moment(line.expires_at),
    }
    return {name: given[name] for name in LedgerEntryShape.model_fields}


def _moment(micros: int) -> str:
    """Write microseconds since 1970 as ISO in UTC, exactly."""
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros):%Y-%m-%dT%H:%M:%S.%fZ}"


def _day(text: str) -> tuple[datetime, datetime]:
    """Read an ISO date as its first moment and that of the next day, in UTC."""
    try:
        first = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        return first, first + timedelta(days=1)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{text!r} is no day; write 2026-01-31", field="day") from None


def _after(parameters: QueryParams, order: str) -> Place | None:
    """Read the place of the last entry of the page before, and see whether it belongs to this order."""
    place = read_cursor(parameters)
    match place:
        case None:
            return None
        case [wanted, int(at), str(attempt_id), int(phase)] if wanted == order and abs(at) < 2**63 and phase < 2**31:
            return Place(at, attempt_id, phase)
        case _:
            raise strange_cursor()
