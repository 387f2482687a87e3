"""`GET /v1/usage`: what is asked, and how the report is written."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from gateway.accounting import By, Tally, UsageLine, UsageQuery, UsageReport
from gateway.api.schema import UsageShape
from gateway.api.usage import KNOWN, read_usage_query, usage_body, usage_csv, wants_csv
from gateway.problems import InvalidRequest
from gateway.request import Caller

ACME = Caller("acme", "key_1")
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


def asked(query: str) -> UsageQuery:
    """Read a query string of the tenant acme."""
    return read_usage_query(QueryParams(query), ACME)


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
    ],
)
def test_a_query_string_is_read(query: str, expected: UsageQuery) -> None:
    """Divisions, filters and moments; without a time zone a moment is UTC."""
    assert expected == asked(query)


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("tenant=globex", "tenant", "unknown parameter; there are by, deployment"),
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
    except InvalidRequest as problem:
        assert problem.field in {name for name, _ in pairs}  # noqa: PT017 - read or refused, both are right
    else:
        assert "acme" == query.tenant
        assert all(moment is None or moment.tzinfo is not None for moment in (query.since, query.until))


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


def test_a_csv_report_can_be_read_back() -> None:
    """A header, then a line for each group; a tag that is not there is empty."""
    rows = list(csv.DictReader(io.StringIO(usage_csv(REPORT))))
    assert ["day", "tag:team", "attempts"] == list(rows[0])[:3]
    assert ["2026-11-01", 'a,"b"', "4", "0.005000"] == [
        rows[0][name] for name in ("day", "tag:team", "attempts", "charged_usd")
    ]
    assert ["2026-11-02", "", "1"] == [rows[1][name] for name in ("day", "tag:team", "attempts")]
    assert 2 == len(rows)


def test_an_empty_report_has_its_header_and_zeros() -> None:
    """Nothing was spent, which is an answer."""
    empty = UsageReport((), Tally())
    assert (1, []) == (usage_csv(empty).count("\r\n"), usage_body(empty)["lines"])
    UsageShape.model_validate(usage_body(empty))
    assert "0.000000" == usage_body(empty)["total"]["charged_usd"]
