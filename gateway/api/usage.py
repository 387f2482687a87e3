"""`GET /v1/usage`: query string in, report out, as JSON or CSV. A caller sees its own tenant's spending."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, time
from typing import Any

from starlette.datastructures import QueryParams

from gateway.accounting import By, Tally, UsageQuery, UsageReport
from gateway.problems import InvalidRequest
from gateway.request import Caller
from providers.contract import Money

KNOWN = ("by", "deployment", "format", "since", "tag", "until")


def read_usage_query(parameters: QueryParams, caller: Caller) -> UsageQuery:
    """
    Read which attempts to add up.

    Raises:
        InvalidRequest: an unknown parameter, or a value that it cannot have.
    """
    for name in parameters:
        if name not in KNOWN:
            raise InvalidRequest(f"unknown parameter; there are {', '.join(KNOWN)}", field=name)
        if not all(text.isprintable() for text in parameters.getlist(name)):
            raise InvalidRequest("it holds a character that cannot be printed; take it out", field=name)
    by, by_tag = _divisions(parameters.get("by", ""))
    return UsageQuery(
        by=by,
        by_tag=by_tag,
        tenant=caller.tenant,
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
    }


def usage_csv(report: UsageReport) -> str:
    """Return a report's lines as CSV with a header."""
    target = io.StringIO()
    writer = csv.writer(target)
    groups = [name for name, _ in report.lines[0].group] if report.lines else []
    figures = list(_tally_body(Tally()))
    writer.writerow([*groups, *figures])
    for line in report.lines:
        writer.writerow([*(value or "" for _, value in line.group), *_tally_body(line.tally).values()])
    return target.getvalue()


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
