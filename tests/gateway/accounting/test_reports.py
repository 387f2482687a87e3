"""Usage reports, in both databases."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Connection

from gateway.accounting import Attempt, By, Ledger, Tally, UsageLine, UsageQuery
from gateway.accounting.reports import DAY_MICROS, read_usage
from gateway.accounting.sweeping import open_since
from gateway.store import Kind, open_database
from providers.contract import Money
from tests.gateway.accounting.ledger_rows import FIRST_DAY, Writer, ended, imported, opening

DAY = 86_400.0
NOON = datetime(2026, 2, 28, 12, tzinfo=UTC).timestamp()

#: Tenant, key, deployment, seconds since noon, tags, charge.
SPENT = [
    ("acme", "k1", "eu", 0.0, (("team", "a"),), 100),
    ("acme", "k2", "eu", 0.0, (("team", "b"), ("ümläut '\"", "ja")), 20),
    ("acme", "k1", "us", DAY, (), 3),
    ("zoo", "k3", "us", DAY, (("team", "a"),), 4000),
    ("zoo", "k3", "us", DAY / 2 - 0.000001, (), 50000),
]

Charged = dict[tuple[str | None, ...], int]
"""Charges in micro-dollars, by the values of the groups."""

MIDDAY = datetime(2026, 2, 28, 12, tzinfo=UTC)
DAY_ONE_ACME, DAY_ONE_ZOO = ("2026-02-28", "acme"), ("2026-02-28", "zoo")
DAY_ONE: Charged = {DAY_ONE_ACME: 120, DAY_ONE_ZOO: 50000}
DAY_TWO: Charged = {("2026-03-01", "acme"): 3, ("2026-03-01", "zoo"): 4000}
TAIL = ("2026-02-28",)


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    """A ledger of five settled attempts and one open one."""
    now = [NOON]
    opened = await Ledger.open(database_url, wall=lambda: now[0], clock=time.monotonic, answer_seconds=10)
    for number, (tenant, key, deployment, later, tags, charge) in enumerate(SPENT):
        now[0] = NOON + later
        attempt = Attempt(f"a{number}", "seg", 0, tenant, key, deployment, "runflow", "sam-3", deployment, "p", tags)
        reservation = await opened.reserve(attempt, Money(10**6), expires_in=60)
        now[0] += DAY
        await reservation.settle(charge=Money(charge), cost=Money(charge), reported=None, upstream_ref=None)
    now[0] = NOON
    await opened.reserve(
        Attempt("open", "seg", 1, "zoo", "k3", "eu", "prodia", "sam-3", "eu", "p"), Money(7), expires_in=9
    )
    yield opened
    await opened.close()


async def charged(ledger: Ledger, query: UsageQuery) -> dict[tuple[str | None, ...], int]:
    """Return the charges by the values of the groups."""
    report = await ledger.usage(query)
    assert sum((line.tally for line in report.lines), Tally()) == report.total
    return {tuple(value for _, value in line.group): line.tally.charged_microusd for line in report.lines}


async def test_without_a_division_there_is_one_line(ledger: Ledger) -> None:
    """The whole ledger is one line, which is its own total."""
    whole = Tally(attempts=6, settled=5, open=1, charged_microusd=54123, cost_microusd=54123, open_microusd=7)
    report = await ledger.usage(UsageQuery())
    assert (report.lines, report.total) == ((UsageLine((), whole),), whole)


async def test_nothing_spent_is_no_line(ledger: Ledger) -> None:
    """A tenant that is not there has an empty report."""
    report = await ledger.usage(UsageQuery(tenant="nobody"))
    assert (report.lines, report.total) == ((), Tally())


CASES: list[tuple[UsageQuery, Charged]] = [
    (UsageQuery(by=(By.TENANT,)), {("acme",): 123, ("zoo",): 54000}),
    (UsageQuery(by=(By.KEY,)), {("k1",): 103, ("k2",): 20, ("k3",): 54000}),
    (UsageQuery(by=(By.PROVIDER,)), {("prodia",): 0, ("runflow",): 54123}),
    (UsageQuery(by=(By.DAY,)), {("2026-02-28",): 50120, ("2026-03-01",): 4003}),
    (
        UsageQuery(by=(By.DEPLOYMENT, By.TENANT), until=datetime(2026, 3, 1, tzinfo=UTC)),
        {("eu", "acme"): 120, ("eu", "zoo"): 0, ("us", "zoo"): 50000},
    ),
    (UsageQuery(by=(By.TENANT,), since=datetime(2026, 3, 1, tzinfo=UTC)), {("acme",): 3, ("zoo",): 4000}),
    (UsageQuery(by_tag="team"), {("a",): 4100, ("b",): 20, (None,): 50003}),
    (UsageQuery(by=(By.TENANT,), tags=(("team", "a"),)), {("acme",): 100, ("zoo",): 4000}),
    (UsageQuery(tags=(("ümläut '\"", "ja"),)), {(): 20}),
    (UsageQuery(tenant="acme", key_id="k1", deployment="us"), {(): 3}),
    (UsageQuery(by=(By.DAY, By.TENANT), since=MIDDAY), {DAY_ONE_ACME: 120, DAY_ONE_ZOO: 50000, **DAY_TWO}),
    (UsageQuery(by=(By.DAY, By.TENANT), until=MIDDAY + timedelta(days=1, microseconds=1)), {**DAY_ONE, **DAY_TWO}),
    (UsageQuery(by=(By.DAY, By.TENANT), until=MIDDAY + timedelta(days=1)), DAY_ONE),
    (
        UsageQuery(by=(By.DAY,), since=MIDDAY + timedelta(hours=1), until=MIDDAY + timedelta(hours=13)),
        {TAIL: 50000},
    ),
    (UsageQuery(since=MIDDAY + timedelta(hours=1), until=MIDDAY + timedelta(hours=2)), {}),
    (
        UsageQuery(by_tag="team", since=MIDDAY, until=MIDDAY + timedelta(seconds=1)),
        {("a",): 100, ("b",): 20, (None,): 0},
    ),
    (UsageQuery(since=MIDDAY, until=MIDDAY), {}),
    (UsageQuery(tenant=""), {}),
]


async def test_a_report_is_divided_and_bounded(ledger: Ledger) -> None:
    """An attempt counts on the UTC day of its reservation, whenever it was settled; parts of days count as well."""
    for query, expected in CASES:
        assert expected == await charged(ledger, query), query


@pytest.mark.parametrize(
    "query",
    [
        UsageQuery(by=(By.DAY, By.KEY, By.DEPLOYMENT)),
        UsageQuery(by=(By.TENANT,), by_tag="team"),
        UsageQuery(by=(By.TENANT, By.DAY), since=MIDDAY, until=MIDDAY + timedelta(hours=30)),
    ],
    ids=["days", "tags", "parts_of_days"],
)
async def test_the_pages_of_a_report_are_the_report(ledger: Ledger, query: UsageQuery) -> None:
    """Line by line, each page begins behind the one before, tells the whole sum, and the last one leads nowhere."""
    whole = await ledger.usage(query)
    lines: list[UsageLine] = []
    page = await ledger.usage(replace(query, limit=1))
    lines += page.lines
    while page.next is not None:
        page = await ledger.usage(replace(query, limit=1, after=page.next))
        lines += page.lines
        assert (1, whole.total) == (len(page.lines), page.total)
    assert len(lines) > 2
    assert (whole.lines, None) == (tuple(lines), whole.next)


async def test_a_page_is_gone_on_with_by_as_many_values_as_it_has_divisions(ledger: Ledger) -> None:
    """A place of another report is refused."""
    with pytest.raises(ValueError, match="give 1 values to go on after, one for each of tenant"):
        await ledger.usage(UsageQuery(by=(By.TENANT,), after=("acme", "2026-02-28")))


async def test_corrections_and_imports_count_where_their_attempt_does(database_url: str) -> None:
    """A correction changes what its attempt cost on the day of the reservation; an import is an attempt that costs."""
    database = await open_database(database_url)

    def fill(connection: Connection) -> None:
        writer, opened = Writer("w_1"), opening("a1", at=FIRST_DAY * DAY_MICROS + 5)
        correction = ended(opened, Kind.CORRECT, amount=-1000, cost=-500, phase=3, after=DAY_MICROS)
        writer.write(connection, opened, ended(opened, Kind.SETTLE, amount=4000, cost=3000), correction)
        writer.write(connection, imported("a2"))
        writer.add_up(connection)

    await database.write(fill)
    expected = Tally(attempts=2, settled=2, charged_microusd=3000, cost_microusd=3200)
    reports = [
        await database.read(partial(read_usage, query=query))
        for query in (UsageQuery(), UsageQuery(since=datetime(2026, 2, 28, 1, tzinfo=UTC)))
    ]
    parts = UsageQuery(since=datetime(2026, 3, 1, tzinfo=UTC), until=datetime(2026, 3, 1, 1, tzinfo=UTC))
    part = await database.read(partial(read_usage, query=parts))
    await database.close()
    assert [expected, expected, expected] == [report.total for report in (*reports, part)]


async def test_a_moment_needs_its_time_zone(ledger: Ledger) -> None:
    """A bound without a time zone is refused, with one that would do."""
    with pytest.raises(ValueError, match=r"2026-03-01T00:00:00\+00:00"):
        await ledger.usage(UsageQuery(since=datetime(2026, 3, 1)))  # noqa: DTZ001 - what is refused


async def test_the_sweep_pages_through_the_ledger(ledger: Ledger) -> None:
    """Page by page, of any size, each open reservation is found once."""
    for size in (1, 2, 5, 100):
        since: int | None = 0
        found = []
        while since is not None:
            page = await ledger.database.read(partial(open_since, since=since, reservations=size))
            found += [attempt.attempt_id for attempt in page.open]
            since = page.next_since
        assert found == ["open"]
