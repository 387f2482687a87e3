"""`GET /v1/usage`: what is asked, and how the report is written."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from gateway.accounting import By, Tally, UsageLine, UsageQuery, UsageReport
from gateway.api.paging import pages_of, write_cursor
from gateway.api.schema import UsageShape
from gateway.api.usage import KNOWN, LINES, read_usage_query, usage_body, usage_csv, wants_csv
from gateway.problems import Forbidden, InvalidRequest
from gateway.request import Caller, Scope

ACME = Caller("acme", "key_1")
ADMIN = Caller("acme", "key_2", scopes=frozenset({Scope.ADMIN}))
TALLY = Tally(
    attempts=4,
    settled=1,
    released=1,
    held=1,
    open=1,
    charged_microusd=5000,
    cost_microusd=4000,
    held_microusd=300,
    open_microusd=20,
)


def asked(query: str, caller: Caller = ACME) -> UsageQuery:
    """Read a query string, of the tenant acme where nothing else is said; one page has a thousand lines then."""
    read = read_usage_query(QueryParams(query), caller)
    return replace(read, limit=None) if read.limit == LINES else read


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", UsageQuery(tenant="acme")),
        ("by=deployment", UsageQuery(by=(By.DEPLOYMENT,), tenant="acme")),
        ("by=day,%20tag:team%20,key,day", UsageQuery(by=(By.DAY, By.KEY), by_tag="team", tenant="acme")),
        (
            "by=tenant,provider,model,region",
            UsageQuery(by=(By.TENANT, By.PROVIDER, By.MODEL, By.REGION), tenant="acme"),
        ),
        ("by=,,", UsageQuery(tenant="acme")),
        ("by=tag:a:b", UsageQuery(by_tag="a:b", tenant="acme")),
        ("deployment=prodia", UsageQuery(tenant="acme", deployment="prodia")),
        ("tag=team:a&tag=order:7:8", UsageQuery(tenant="acme", tags=(("team", "a"), ("order", "7:8")))),
        ("tag=team:", UsageQuery(tenant="acme", tags=(("team", ""),))),
        (
            "since=2026-11-01&until=2026-11-02T12:30:00%2B02:00",
            UsageQuery(
                tenant="acme",
                since=datetime(2026, 11, 1, tzinfo=UTC),
                until=datetime(2026, 11, 2, 12, 30, tzinfo=timezone(timedelta(hours=2))),
            ),
        ),
        ("since=2026-11-01T10:00:00Z", UsageQuery(tenant="acme", since=datetime(2026, 11, 1, 10, tzinfo=UTC))),
        ("since=2026-11-01T10:00:00", UsageQuery(tenant="acme", since=datetime(2026, 11, 1, 10, tzinfo=UTC))),
        ("format=csv", UsageQuery(tenant="acme")),
        ("tenant=acme&key_id=key_9", UsageQuery(tenant="acme", key_id="key_9")),
        ("limit=1", UsageQuery(tenant="acme", limit=1)),
        ("limit=10000", UsageQuery(tenant="acme", limit=10_000)),
    ],
)
def test_a_query_string_is_read(query: str, expected: UsageQuery) -> None:
    """Divisions, filters and moments; without a time zone a moment is UTC."""
    assert expected == asked(query)


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("shop=globex", "shop", "unknown parameter; there are by, tenant, key_id"),
        ("limit=0", "limit", "'0' is no number of lines; write 1 to 10000"),
        ("limit=10001", "limit", "write 1 to 10000"),
        ("limit=-1", "limit", "write 1 to 10000"),
        ("limit=%D9%A3", "limit", "write 1 to 10000"),
        ("limit=99999999999999999999", "limit", "write 1 to 10000"),
        ("by=day&cursor=x", "cursor", "no cursor of the same question"),
        ("by=day&cursor=", "cursor", "no cursor"),
        ("by=day&cursor=W10", "cursor", "no cursor"),
        ("by=day&cursor=e30", "cursor", "no cursor"),
        ("group_by=day", "group_by", "unknown parameter"),
        ("by=month", "by", "cannot divide by 'month'; there are tenant, key"),
        ("by=day;key", "by", "cannot divide by 'day;key'"),
        ("by=DAY", "by", "cannot divide by 'DAY'"),
        ("by=tag:", "by", "by one tag at most; write tag:NAME"),
        ("by=tag:a,tag:b", "by", "by one tag at most"),
        ("tag=team", "tag", "'team' is no tag; write tag=NAME:VALUE"),
        ("tag=:a", "tag", "is no tag"),
        ("tag=a:b&tag=", "tag", "is no tag"),
        ("since=yesterday", "since", "'yesterday' is no date; write 2026-01-31"),
        ("since=2026-02-30", "since", "is no date"),
        ("until=", "until", "'' is no date"),
        ("until=2026-01-01T25:00:00", "until", "is no date"),
        ("until=1700000000", "until", "is no date"),
        ("deployment=a%00", "deployment", "cannot be printed"),
        ("tag=a:%0A", "tag", "cannot be printed"),
        ("tag=a:b&tag=%00:b", "tag", "cannot be printed"),
        ("by=tag:%07", "by", "cannot be printed"),
    ],
)
def test_what_cannot_be_asked_is_named_with_what_can(query: str, field: str, words: str) -> None:
    """The problem's field is the parameter."""
    with pytest.raises(InvalidRequest, match=words) as refused:
        asked(query)
    assert field == refused.value.field


@given(st.lists(st.tuples(st.sampled_from(KNOWN) | st.text(max_size=4), st.text(max_size=12)), max_size=5))
def test_whatever_is_asked_is_asked_about_the_caller_s_own_tenant(pairs: list[tuple[str, str]]) -> None:
    """No parameter leads to another tenant's spending, and none breaks anything."""
    try:
        query = read_usage_query(QueryParams(pairs), ACME)
    except (InvalidRequest, Forbidden) as problem:
        assert problem.field in {name for name, _ in pairs}  # noqa: PT017 - read or refused, both are right
    else:
        assert "acme" == query.tenant
        assert all(moment is None or moment.tzinfo is not None for moment in (query.since, query.until))


def test_an_administrator_may_ask_for_any_tenant_and_for_all() -> None:
    """Without the parameter it is its own tenant; `*` is every one."""
    assert ["acme", "globex", None] == [asked(query, ADMIN).tenant for query in ("", "tenant=globex", "tenant=*")]


@pytest.mark.parametrize("query", ["tenant=globex", "tenant=*", "tenant="])
def test_another_tenant_s_spending_is_an_administrator_s_to_see(query: str) -> None:
    """Whether there is such a tenant is not told."""
    with pytest.raises(Forbidden, match="own tenant alone") as refused:
        asked(query)
    assert "tenant" == refused.value.field


def test_usage_is_read_with_a_key_for_it() -> None:
    """A key that may spend and nothing else sees no figures."""
    with pytest.raises(Forbidden, match="scope usage"):
        asked("", Caller("acme", "key_3", scopes=frozenset({Scope.SEGMENT})))


@pytest.mark.parametrize(
    "group", [(("day", "2026-11-01"), ("tag:team", None)), (("day", "2026-11-01"), ("tag:team", "=ü"))]
)
def test_a_page_s_cursor_leads_behind_its_last_line(group: tuple[tuple[str, str | None], ...]) -> None:
    """What it holds comes back as it was, a tag that is not there included."""
    values = tuple(value for _, value in group)
    cursor = usage_body(UsageReport((UsageLine(group, TALLY),), TALLY, values))["next_cursor"]
    assert values == asked(f"by=day,tag:team&cursor={cursor}").after


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("by=day", ("usage", "2026-13-01")),
        ("by=day", ("usage", "2026-11-01", "x")),
        ("by=day", ("newest", "2026-11-01")),
        ("by=day", ("usage", None)),
        ("by=key", ("usage", "k\0")),
        ("by=key", ("usage", 7)),
        ("", ("usage",)),
    ],
)
def test_a_cursor_of_another_question_is_refused(query: str, place: tuple[object, ...]) -> None:
    """It fits the divisions of its report, or none."""
    with pytest.raises(InvalidRequest, match="no cursor of the same question") as refused:
        asked(f"{query}&cursor={write_cursor(*place)}")
    assert "cursor" == refused.value.field


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [
        ("", "", False),
        ("", "*/*", False),
        ("", "text/csv", True),
        ("", "text/csv;q=0.9, */*", True),
        ("format=json", "text/csv", False),
        ("format=csv", "application/json", True),
    ],
)
def test_the_format_is_asked_for_by_parameter_or_by_accept(query: str, accept: str, *, expected: bool) -> None:
    """The parameter decides where both speak."""
    assert expected is wants_csv(QueryParams(query), accept)


@pytest.mark.parametrize("wanted", ["xml", "CSV", ""])
def test_another_format_is_refused(wanted: str) -> None:
    """There are two."""
    with pytest.raises(InvalidRequest, match="there are json and csv") as refused:
        wants_csv(QueryParams({"format": wanted}), "")
    assert "format" == refused.value.field


REPORT = UsageReport(
    (
        UsageLine((("day", "2026-11-01"), ("tag:team", 'a,"b"')), TALLY),
        UsageLine((("day", "2026-11-02"), ("tag:team", None)), Tally(attempts=1, released=1)),
    ),
    TALLY + Tally(attempts=1, released=1),
)


def test_a_report_is_written_as_its_shape_says() -> None:
    """Each line has what it is divided by and its figures; dollars stand beside micro-dollars."""
    body = usage_body(REPORT)
    UsageShape.model_validate(body)
    figures = {
        "attempts": 4,
        "settled": 1,
        "released": 1,
        "held": 1,
        "open": 1,
        "charged_microusd": 5000,
        "charged_usd": "0.005000",
        "cost_microusd": 4000,
        "held_microusd": 300,
        "open_microusd": 20,
    }
    assert {"group": {"day": "2026-11-01", "tag:team": 'a,"b"'}, **figures} == body["lines"][0]
    assert {"day": "2026-11-02", "tag:team": None} == body["lines"][1]["group"]
    assert {**figures, "attempts": 5, "released": 2} == body["total"]


ASKED = UsageQuery(by=(By.DAY,), by_tag="team")


async def csv_of(first: UsageReport, *following: UsageReport, asked: str = "") -> str:
    """Return a report's CSV, whose pages are these."""
    pages = list(following)
    wanted: list[object] = []

    async def read(place: object) -> UsageReport:
        wanted.append(place)
        return pages.pop(0)

    text = "".join([part async for part in usage_csv(pages_of(QueryParams(asked), first, read), ASKED)])
    assert [page.next for page in (first, *following)][:-1] == wanted
    return text


async def test_a_csv_report_can_be_read_back() -> None:
    """A header, then a line for each group; a tag that is not there is empty."""
    rows = list(csv.DictReader(io.StringIO(await csv_of(REPORT))))
    assert ["day", "tag:team", "attempts"] == list(rows[0])[:3]
    assert ["2026-11-01", 'a,"b"', "4", "0.005000"] == [
        rows[0][name] for name in ("day", "tag:team", "attempts", "charged_usd")
    ]
    assert ["2026-11-02", "", "1"] == [rows[1][name] for name in ("day", "tag:team", "attempts")]
    assert 2 == len(rows)


async def test_a_csv_report_has_the_lines_of_every_page() -> None:
    """Page after page is read behind the one before, under one header."""
    first = replace(REPORT, next=("2026-11-02", None))
    text = await csv_of(first, first, REPORT)
    assert (6, 1) == (len(list(csv.DictReader(io.StringIO(text)))), text.count("attempts"))


async def test_a_csv_report_stops_at_a_limit() -> None:
    """A caller who says how many lines it wants gets as many, and no other page is read."""
    first = replace(REPORT, next=("2026-11-02", None))
    assert await csv_of(REPORT) == await csv_of(first, asked="limit=2")


async def test_no_cell_of_a_csv_report_is_a_formula() -> None:
    """Tags are callers' text, which a spreadsheet would run; an amount below zero stays a number."""
    tags = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\uff1d1", "a=1"]
    lines = tuple(UsageLine((("day", "2026-11-01"), ("tag:team", tag)), Tally(held=-1)) for tag in tags)
    rows = list(csv.DictReader(io.StringIO(await csv_of(UsageReport(lines, Tally())))))
    assert ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\t=1", "'\uff1d1", "a=1"] == [row["tag:team"] for row in rows]
    assert {"-1"} == {row["held"] for row in rows}


async def test_an_empty_report_has_its_header_and_zeros() -> None:
    """Nothing was spent, which is an answer."""
    empty = UsageReport((), Tally())
    assert (1, []) == ((await csv_of(empty)).count("\r\n"), usage_body(empty)["lines"])
    UsageShape.model_validate(usage_body(empty))
    assert "0.000000" == usage_body(empty)["total"]["charged_usd"]
