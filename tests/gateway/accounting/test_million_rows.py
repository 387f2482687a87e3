"""A ledger of a million entries in PostgreSQL: reports and pages are read by index, and are right."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, UniqueConstraint, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.schema import AddConstraint, DropConstraint

from gateway.accounting import By, Tally, UsageQuery
from gateway.accounting.listing import LedgerQuery, Place, read_page
from gateway.accounting.reports import DAY_MICROS, micros, read_usage
from gateway.store.database import Database
from gateway.store.postgres import PostgresDatabase
from gateway.store.tables import entries, metadata
from tests.servers import Postgres

T = TypeVar("T")

pytestmark = pytest.mark.needs("postgres")

ATTEMPTS = 506_000
FIRST_DAY = 20_000

#: Every attempt's facts by its number: sixty days, twenty tenants with two keys each, three deployments, three teams.
FACTS = f"""
    CREATE TEMPORARY TABLE facts ON COMMIT DROP AS
    SELECT n, 'a' || n AS attempt_id, {FIRST_DAY} + n % 60 AS day,
           ({FIRST_DAY} + n % 60) * 86400000000 + n % 86400 * 1000000 AS at,
           't' || n / 60 % 20 AS tenant, 'k' || n / 60 % 40 AS key_id, 'd' || n % 3 AS deployment,
           CASE n % 3 WHEN 0 THEN 'runflow' ELSE 'prodia' END AS provider,
           CASE n / 7 % 3 WHEN 0 THEN '{{}}' WHEN 1 THEN '{{"team":"red"}}' ELSE '{{"team":"blue"}}' END AS tags,
           CASE WHEN n % 50 = 3 THEN 'open' WHEN n % 10 = 0 THEN 'hold' WHEN n % 10 = 1 THEN 'release'
                ELSE 'settle' END AS first,
           n % 100 = 0 AS resolved, 4000 + n % 1000 AS charge, 3000 + n % 1000 AS cost
    FROM generate_series(1::bigint, {ATTEMPTS}) AS n
"""

ENTRIES = """
    INSERT INTO entries (
        attempt_id, phase, kind, amount_microusd, cost_microusd, reason, at, available_microusd, reserved_microusd,
        held_microusd, payable_microusd, margin_microusd, request_id, prompt_index, tenant, key_id, deployment,
        provider, model, region, price_id, expires_at, tags, writer, sequence, chain
    )
    SELECT attempt_id, 0, 'reserve', 5000, 0, NULL, at, -5000, 5000, 0, 0, 0, 'seg_' || n, 0, tenant, key_id,
           deployment, provider, 'sam', 'eu', 'p', at + 60000000, tags, 'w0', n, md5(attempt_id)
    FROM facts
    UNION ALL
    SELECT attempt_id, 1, first, CASE first WHEN 'settle' THEN charge WHEN 'hold' THEN 5000 ELSE 0 END,
           CASE first WHEN 'settle' THEN cost WHEN 'hold' THEN 5000 ELSE 0 END,
           CASE first WHEN 'settle' THEN NULL ELSE 'why' END, at + 1,
           CASE first WHEN 'settle' THEN 5000 - charge WHEN 'hold' THEN 0 ELSE 5000 END, -5000,
           CASE first WHEN 'hold' THEN 5000 ELSE 0 END, CASE first WHEN 'settle' THEN cost ELSE 0 END,
           CASE first WHEN 'settle' THEN charge - cost ELSE 0 END, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           NULL, NULL, 'w1', n, md5(attempt_id)
    FROM facts WHERE first <> 'open'
    UNION ALL
    SELECT attempt_id, 2, 'settle', charge, cost, NULL, at + 2, 5000 - charge, 0, -5000, cost, charge - cost, NULL,
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'w2', n, md5(attempt_id)
    FROM facts WHERE resolved
"""

#: By two writers, as of two gateways: one that opened, one that ended.
LINES = """
    INSERT INTO usage_lines
    SELECT writer, md5(concat_ws(' ', day, tenant, key_id, deployment, provider, tags)), day, tenant, key_id,
           deployment, provider, 'sam', 'eu', tags, sum(attempts), sum(settled), sum(released), sum(held), sum(open),
           sum(charged), sum(paid), sum(held * 5000), sum(open * 5000)
    FROM (
        SELECT facts.*, 'w0' AS writer, 1 AS attempts, 0 AS settled, 0 AS released, 0 AS held, 1 AS open, 0 AS charged,
               0 AS paid
        FROM facts
        UNION ALL
        SELECT facts.*, 'w1', 0, (first = 'settle' OR resolved)::int, (first = 'release')::int,
               (first = 'hold' AND NOT resolved)::int, -1,
               CASE WHEN first = 'settle' OR resolved THEN charge ELSE 0 END,
               CASE WHEN first = 'settle' OR resolved THEN cost ELSE 0 END
        FROM facts WHERE first <> 'open'
    ) AS figures
    GROUP BY writer, day, tenant, key_id, deployment, provider, tags
"""

#: The same report from the entries themselves: each attempt stands as its last one says.
DIRECT = """
    SELECT last.tenant, last.day, count(*), count(*) FILTER (WHERE last.kind = 'settle'),
           count(*) FILTER (WHERE last.kind = 'release'), count(*) FILTER (WHERE last.kind = 'hold'),
           count(*) FILTER (WHERE last.kind = 'reserve'),
           coalesce(sum(last.amount) FILTER (WHERE last.kind = 'settle'), 0),
           coalesce(sum(last.cost) FILTER (WHERE last.kind = 'settle'), 0),
           coalesce(sum(last.amount) FILTER (WHERE last.kind = 'hold'), 0),
           coalesce(sum(last.amount) FILTER (WHERE last.kind = 'reserve'), 0)
    FROM (
        SELECT max(tenant) AS tenant, max(at) FILTER (WHERE phase = 0) / 86400000000 AS day,
               (array_agg(kind ORDER BY phase DESC))[1] AS kind,
               (array_agg(amount_microusd ORDER BY phase DESC))[1] AS amount,
               (array_agg(cost_microusd ORDER BY phase DESC))[1] AS cost
        FROM entries GROUP BY attempt_id
        HAVING max(at) FILTER (WHERE phase = 0) >= {since}
    ) AS last
    GROUP BY 1, 2
"""

NOON = datetime(2024, 11, 29, 12, tzinfo=UTC)
PAGES = [
    LedgerQuery(),
    LedgerQuery(newest_first=False),
    LedgerQuery(UsageQuery(tenant="t3")),
    LedgerQuery(UsageQuery(tenant="t3", since=NOON), newest_first=False),
    LedgerQuery(UsageQuery(tenant="t3"), after=Place((FIRST_DAY + 30) * DAY_MICROS, "a", 0)),
    LedgerQuery(UsageQuery(tenant="t3"), kind="hold"),
    LedgerQuery(attempt_id="a77"),
]


def fill(connection: Connection) -> None:
    """Write a million entries; what is indexed afterwards is indexed sooner."""
    metadata.create_all(connection)
    unique = [constraint for constraint in entries.constraints if isinstance(constraint, UniqueConstraint)]
    for constraint in unique:
        connection.execute(DropConstraint(constraint))
    for index in entries.indexes:
        index.drop(connection)
    connection.exec_driver_sql("ALTER TABLE entries SET UNLOGGED")  # it is thrown away, and written sooner so
    connection.exec_driver_sql("SET LOCAL work_mem = '256MB'")
    connection.exec_driver_sql("SET LOCAL maintenance_work_mem = '256MB'")
    for statement in (FACTS, "ANALYZE facts", ENTRIES, LINES):
        connection.exec_driver_sql(statement)
    for constraint in unique:
        connection.execute(AddConstraint(constraint, isolate_from_table=False))
    for index in entries.indexes:
        index.create(connection)
    connection.exec_driver_sql("ANALYZE entries")
    connection.exec_driver_sql("ANALYZE usage_lines")


@pytest.fixture
async def million(postgres_server: Postgres) -> AsyncIterator[Database]:
    """A million entries with their running sums, in a database that is gone afterwards."""
    name = f"million_{uuid.uuid4().hex}"
    database = PostgresDatabase(make_url(postgres_server.create(name)), connect_seconds=10)
    await database.write(fill)
    yield database
    await database.close()


def explained(connection: Connection, read: Callable[[Connection], T]) -> tuple[T, float, str]:
    """Do some reading; return what came of it, the milliseconds that it took, and the plans of its statements."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_others: object) -> None:
        asked.append((statement, parameters))

    started = time.perf_counter()
    result = read(connection)
    milliseconds = (time.perf_counter() - started) * 1000
    event.listen(connection, "before_cursor_execute", note)
    read(connection)
    event.remove(connection, "before_cursor_execute", note)
    plans = [
        line for statement, given in asked for (line,) in connection.exec_driver_sql(f"EXPLAIN {statement}", given)
    ]
    return result, milliseconds, "\n".join(plans)


@pytest.mark.slow
async def test_a_million_entries_are_reported_by_their_running_sums(million: Database) -> None:
    """Days and tenants are right to the micro-dollar, parts of days as well, and nothing reads all the entries."""

    def direct(connection: Connection, since: int = 0) -> dict[tuple[str, str], Tally]:
        rows = connection.exec_driver_sql(DIRECT.format(since=since)).all()
        return {
            (row[0], str(date(1970, 1, 1) + timedelta(days=row[1]))): Tally(*(int(figure) for figure in row[2:]))
            for row in rows
        }

    def look(connection: Connection) -> None:
        count = connection.execute(select(func.count()).select_from(entries)).scalar_one()
        assert count >= 1_000_000
        query = UsageQuery(by=(By.TENANT, By.DAY))
        for wanted, expected in (
            (query, direct(connection)),
            (replace(query, since=NOON), direct(connection, micros(NOON))),
        ):
            report, milliseconds, plan = explained(connection, partial(read_usage, query=wanted))
            tallies = {tuple(value for _, value in line.group): line.tally for line in report.lines}
            assert expected == tallies
            assert "Seq Scan on entries" not in plan
            print(f"{count} entries, {len(tallies)} lines of days and tenants: {milliseconds:.0f} ms")  # noqa: T201 - measured, and no law
        for page in PAGES:
            read, milliseconds, plan = explained(connection, partial(read_page, query=page))
            assert "Seq Scan on entries" not in plan, page
            print(f"{len(read.lines)} entries of a page: {milliseconds:.0f} ms")  # noqa: T201 - as above

    await million.read(look)
