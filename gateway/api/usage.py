"""
`GET /v1/usage`: query string in, report out, as JSON or CSV.

A caller sees its own tenant's spending; an administrator, any tenant's. JSON comes in pages; CSV is written page by
page as it is sent, so that a report of any length fits into memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

from starlette.datastructures import QueryParams

from gateway.accounting import By, Tally, UsageQuery, UsageReport
from gateway.api.csv_text import csv_text
from gateway.api.paging import limit_asked, read_cursor, strange_cursor, tenant_asked, write_cursor
from gateway.problems import InvalidRequest
from gateway.request import Caller
from providers.contract import Money

ATTEMPTS = {
    "tenant": "whose; an administrator may name any, and * for all; else the key's own",
    "key_id": "only attempts of this key",
    "deployment": "only this one",
    "tag": "only attempts with this tag, as NAME:VALUE; may be repeated",
    "since": "reserved from this ISO date or moment on; UTC where it names no time zone",
    "until": "reserved before this ISO date or moment",
}
"""The parameters that say of which attempts something is asked, with their meaning."""

PARAMETERS = {
    "by": "what to divide by: any of tenant, key, deployment, provider, model, region, day and tag:NAME, with commas",
    **ATTEMPTS,
    "format": "json or csv; csv has all lines at once, or the first ones, as many as limit says",
    "limit": "the most lines of one page, 1 to 10000; 1000 without it, and all in csv",
    "cursor": "next_cursor of the page before",
}
"""All there are."""

KNOWN = tuple(PARAMETERS)

LINES = 1000
"""Of one page, where the caller says nothing."""
MOST_LINES = 10_000


def read_usage_query(parameters: QueryParams, caller: Caller) -> UsageQuery:
    """
    Read which attempts to add up, and which page of it is asked for.

    Raises:
        Forbidden: the key may not read usage, or not that tenant's.
        InvalidRequest: an unknown parameter, or a value that it cannot have.
    """
    refuse_unknown(parameters, KNOWN)
    by, by_tag = _divisions(parameters.get("by", ""))
    query = replace(attempts_asked(parameters, caller), by=by, by_tag=by_tag)
    limit = limit_asked(parameters, default=LINES, most=MOST_LINES)
    return replace(query, limit=limit, after=_after(parameters, query))


def refuse_unknown(parameters: QueryParams, known: Iterable[str]) -> None:
    """
    Refuse what cannot be asked.

    Raises:
        InvalidRequest: a parameter that there is not, or characters in it that no value has.
    """
    for name in parameters:
        if name not in known:
            raise InvalidRequest(f"unknown parameter; there are {', '.join(known)}", field=name)
        if not all(text.isprintable() for text in parameters.getlist(name)):
            raise InvalidRequest("it holds a character that cannot be printed; take it out", field=name)


def attempts_asked(parameters: QueryParams, caller: Caller) -> UsageQuery:
    """
    Read of which attempts something is asked.

    Raises:
        Forbidden: the key may not read figures, or not that tenant's.
        InvalidRequest: a value that is none.
    """
    return UsageQuery(
        tenant=tenant_asked(parameters, caller),
        key_id=parameters.get("key_id"),
        deployment=parameters.get("deployment"),
        tags=tuple(_tag(text) for text in parameters.getlist("tag")),
        since=_moment(parameters, "since"),
        until=_moment(parameters, "until"),
    )


def wants_csv(parameters: QueryParams, accept: str) -> bool:
    """
    Return whether the report is to be CSV: by `format`, else by the Accept header.

    Raises:
        InvalidRequest: another format.
    """
    wanted = parameters.get("format")
    if wanted not in {None, "json", "csv"}:
        raise InvalidRequest(f"no format {wanted!r}; there are json and csv", field="format")
    return wanted == "csv" or (wanted is None and accept.startswith("text/csv"))


def usage_body(report: UsageReport) -> dict[str, Any]:
    """Return a report as JSON."""
    return {
        "object": "usage",
        "currency": "USD",
        "lines": [{"group": dict(line.group), **_tally_body(line.tally)} for line in report.lines],
        "total": _tally_body(report.total),
        "next_cursor": None if report.next is None else write_cursor("usage", *report.next),
    }


async def usage_csv(pages: AsyncIterator[UsageReport], query: UsageQuery) -> AsyncIterator[str]:
    """
    Write a report's lines as CSV with a header.

    Args:
        pages: of the report.
        query: what it answers.
    """
    yield csv_text([[*_heading(query), *_tally_body(Tally())]])
    async for page in pages:
        yield csv_text([*(value for _, value in line.group), *_tally_body(line.tally).values()] for line in page.lines)


def _heading(query: UsageQuery) -> list[str]:
    return [*query.by, *([] if query.by_tag is None else [f"tag:{query.by_tag}"])]


def _tally_body(tally: Tally) -> dict[str, Any]:
    return {
        "attempts": tally.attempts,
        "settled": tally.settled,
        "released": tally.released,
        "held": tally.held,
        "open": tally.open,
        "charged_microusd": tally.charged_microusd,
        "charged_usd": Money(tally.charged_microusd).usd,
        "cost_microusd": tally.cost_microusd,
        "held_microusd": tally.held_microusd,
        "open_microusd": tally.open_microusd,
    }


def _divisions(text: str) -> tuple[tuple[By, ...], str | None]:
    """Read `deployment,day,tag:team`."""
    by: list[By] = []
    by_tag: str | None = None
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word.startswith("tag:"):
            if by_tag is not None or word == "tag:":
                raise InvalidRequest("a report is divided by one tag at most; write tag:NAME", field="by")
            by_tag = word.removeprefix("tag:")
        elif word in set(By):
            by.append(By(word))
        else:
            raise InvalidRequest(f"cannot divide by {word!r}; there are {', '.join(By)} and tag:NAME", field="by")
    return tuple(dict.fromkeys(by)), by_tag


def _after(parameters: QueryParams, query: UsageQuery) -> tuple[str | None, ...] | None:
    """Read the end of the page before, and see whether it belongs to this question."""
    place = read_cursor(parameters)
    if place is None:
        return None
    kind, *values = place or [None]
    heading = _heading(query)
    fitting = all(
        isinstance(value, str) or (value is None and name not in set(By))
        for name, value in zip(heading, values, strict=False)
    )
    if kind != "usage" or not heading or len(values) != len(heading) or not fitting:
        raise strange_cursor()
    if By.DAY in query.by:
        try:
            date.fromisoformat(values[query.by.index(By.DAY)])
        except ValueError:
            raise strange_cursor() from None
    return tuple(values)


def _tag(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name:
        raise InvalidRequest(f"{text!r} is no tag; write tag=NAME:VALUE", field="tag")
    return name, value


def _moment(parameters: QueryParams, name: str) -> datetime | None:
    """Read an ISO date (its first moment, in UTC) or an ISO moment; without a time zone it is UTC."""
    text = parameters.get(name)
    if text is None:
        return None
    try:
        if len(text) == len("2026-01-31"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"{text!r} is no date; write 2026-01-31 or 2026-01-31T12:00:00Z", field=name) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
