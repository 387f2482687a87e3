"""What was spent: by tenant, key, deployment, provider, model, region, day or tag."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, ColumnElement, Connection, FromClause, case, cast, func, select

from gateway.store import Kind, entries

_DAY = 86_400_000_000
_MICROS = 1_000_000


class By(StrEnum):
    """What a usage report can be divided by."""

    TENANT = "tenant"
    KEY = "key"
    DEPLOYMENT = "deployment"
    PROVIDER = "provider"
    MODEL = "model"
    REGION = "region"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Which attempts to add up, and into which lines. An attempt belongs to the moment of its reservation."""

    by: tuple[By, ...] = ()
    by_tag: str | None = None
    """Divide by the values of this tag as well."""
    tenant: str | None = None
    key_id: str | None = None
    deployment: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    """Only attempts that carry all of these."""
    since: datetime | None = None
    """With its time zone; inclusive."""
    until: datetime | None = None
    """With its time zone; exclusive."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Numbers of attempts, and micro-dollars."""

    attempts: int = 0
    settled: int = 0
    released: int = 0
    held: int = 0
    open: int = 0
    charged_microusd: int = 0
    """Owed by tenants, for what is settled."""
    cost_microusd: int = 0
    """Owed to providers, for what is settled."""
    held_microusd: int = 0
    """The most that may still be owed for what is held."""
    open_microusd: int = 0
    """Reserved for attempts that have not ended."""

    def __add__(self, other: Tally) -> Tally:
        """Add two tallies."""
        return Tally(*(getattr(self, name) + getattr(other, name) for name in FIGURES))


FIGURES: tuple[str, ...] = tuple(Tally.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class UsageLine:
    """One line of a report."""

    group: tuple[tuple[str, str | None], ...]
    """What it is divided by and the value here, in the order of the query; a day is an ISO date, in UTC."""
    tally: Tally


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The lines, sorted by what they are divided by, and their sum."""

    lines: tuple[UsageLine, ...]
    total: Tally


def read_usage(connection: Connection, query: UsageQuery) -> UsageReport:
    """Add up in the database."""
    opened, first, second = (entries.alias(name) for name in ("opened", "first", "second"))
    source = opened.outerjoin(first, (first.c.attempt_id == opened.c.attempt_id) & (first.c.phase == 1)).outerjoin(
        second, (second.c.attempt_id == opened.c.attempt_id) & (second.c.phase == 2)
    )
    groups = _groups(opened, query, connection.dialect.name)
    statement = select(*groups.values(), *_figures(opened, first, second)).select_from(source)
    statement = statement.where(opened.c.phase == 0, *_conditions(opened, query, connection.dialect.name))
    if groups:
        statement = statement.group_by(*groups.values()).order_by(*groups.values())
    lines = []
    for row in connection.execute(statement):
        keys, figures = row[: len(groups)], row[len(groups) :]
        tally = Tally(*(int(figure or 0) for figure in figures))
        if tally.attempts:
            lines.append(UsageLine(tuple(zip(groups, map(_written, groups, keys), strict=True)), tally))
    return UsageReport(tuple(lines), sum((line.tally for line in lines), Tally()))


def _figures(opened: FromClause, first: FromClause, second: FromClause) -> list[ColumnElement[Any]]:
    """Return the sums of `Tally`, in its order, over each attempt's last entry."""
    kind = func.coalesce(second.c.kind, first.c.kind, opened.c.kind)
    amount = func.coalesce(second.c.amount_microusd, first.c.amount_microusd, opened.c.amount_microusd)
    cost = func.coalesce(second.c.cost_microusd, first.c.cost_microusd, opened.c.cost_microusd)

    def add(what: Kind, value: Any) -> ColumnElement[Any]:
        return func.sum(case((kind == what.value, value), else_=0))

    return [
        func.count(),
        add(Kind.SETTLE, 1),
        add(Kind.RELEASE, 1),
        add(Kind.HOLD, 1),
        add(Kind.RESERVE, 1),
        add(Kind.SETTLE, amount),
        add(Kind.SETTLE, cost),
        add(Kind.HOLD, amount),
        add(Kind.RESERVE, amount),
    ]


def _groups(opened: FromClause, query: UsageQuery, dialect: str) -> dict[str, ColumnElement[Any]]:
    """Return what the report is divided by: name in the report, expression in the database."""
    names = {By.KEY: "key_id"}
    groups: dict[str, ColumnElement[Any]] = {}
    for by in query.by:
        groups[by.value] = opened.c.at // _DAY if by is By.DAY else opened.c[names.get(by, by.value)]
    if query.by_tag is not None:
        groups[f"tag:{query.by_tag}"] = _tag(opened, query.by_tag, dialect)
    return groups


def _conditions(opened: FromClause, query: UsageQuery, dialect: str) -> list[ColumnElement[bool]]:
    """Return what an attempt has to fulfil to be counted."""
    wanted = {"tenant": query.tenant, "key_id": query.key_id, "deployment": query.deployment}
    conditions: list[ColumnElement[bool]] = [opened.c[name] == value for name, value in wanted.items() if value]
    conditions += [_tag(opened, name, dialect) == value for name, value in query.tags]
    if query.since is not None:
        conditions.append(opened.c.at >= _micros(query.since))
    if query.until is not None:
        conditions.append(opened.c.at < _micros(query.until))
    return conditions


def _tag(opened: FromClause, name: str, dialect: str) -> ColumnElement[Any]:
    """Return the value of a tag, NULL where the attempt has none of that name."""
    if dialect == "sqlite":  # a path of SQLite's cannot name every key
        member = func.json_each(opened.c.tags).table_valued("key", "value")
        return select(member.c.value).where(member.c.key == name).scalar_subquery()
    tags: ColumnElement[Any] = cast(opened.c.tags, JSON)
    value: ColumnElement[Any] = tags[name].as_string()
    return value


def _written(name: str, value: Any) -> str | None:
    """Return a group's value as the report has it."""
    if name == By.DAY:
        return (date(1970, 1, 1) + timedelta(days=int(value))).isoformat()
    return None if value is None else str(value)


def _micros(moment: datetime) -> int:
    """Return microseconds since 1970, UTC, exactly."""
    if moment.tzinfo is None:
        raise ValueError(f"give the moment with its time zone, as {moment.replace(tzinfo=UTC).isoformat()}")
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (elapsed.days * 86_400 + elapsed.seconds) * _MICROS + elapsed.microseconds
