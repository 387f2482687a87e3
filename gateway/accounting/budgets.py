"""
How much may be spent: setting, listing and removing budgets. What counts against them is the journal's business.

A budget that is set counts what was spent before it was there. So that nothing falls between the count and the first
entry that the journal counts, everybody who writes entries waits meanwhile: on PostgreSQL by a lock of `entries`, on
SQLite because there is one writer anyway. Whoever wrote before is in the sums; whoever writes after finds the budget.

Why a window for every period that has been spent in, and not for the running one alone: an attempt counts in the period
in which it was reserved, and it may end, or be corrected, long after that period.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Select, and_, case, delete, func, insert, select, update

from gateway.problems import InvalidRequest
from gateway.store import Database, accounts_of, period_start, resets_at
from gateway.store.tables import api_keys, budget_windows, budgets, usage_lines
from providers.contract import LARGEST_MICROUSD, MICROS_PER_USD, Money

MICROS = 1_000_000
_DAY = 86_400 * MICROS
_PAGE = 100

#: Spending stands still while a budget is counted; this is the longest that it waits for the count to begin. It is more
#: than the second after which PostgreSQL ends an automatic vacuum that is in the way.
_LOCK = ("SET LOCAL lock_timeout = '1500ms'", "LOCK TABLE entries IN SHARE ROW EXCLUSIVE MODE")


class BudgetScope(StrEnum):
    """Whose spending a budget bounds."""

    TENANT = "tenant"
    KEY = "key"
    TAG = "tag"
    """What one tenant spends under one tag, as `team=search`."""


class BudgetPeriod(StrEnum):
    """How long a budget lasts; days and months are those of UTC."""

    TOTAL = "total"
    """For ever."""
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class WantedBudget:
    """A budget to be set. It takes the place of the one with the same subject, period and hardness."""

    tenant: str
    scope: BudgetScope
    subject: str
    """The tenant; the key's id; or the tag, as `NAME=VALUE`."""
    period: BudgetPeriod
    limit: Money
    hard: bool

    @property
    def account(self) -> str:
        """What attempts are matched by."""
        if self.scope is BudgetScope.TAG:
            return f"tag:{self.tenant}:{self.subject}"
        return f"{self.scope}:{self.subject}"


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget, and how it stands in the running period."""

    id: str
    tenant: str
    scope: BudgetScope
    subject: str
    period: BudgetPeriod
    hard: bool
    """Whether it refuses; a soft one tells."""
    limit: Money
    created_at: int
    """Microseconds since 1970, UTC."""
    spent: Money
    """Charged, for what was reserved in this period."""
    reserved: Money
    """What open and held attempts of this period may still cost."""
    resets_at: int | None
    """Microseconds since 1970, UTC; None for a total, which never does."""

    @property
    def left(self) -> Money:
        """What may still be reserved; nothing where more is used than the limit."""
        return Money(max(0, self.limit.microusd - self.spent.microusd - self.reserved.microusd))


class Budgets:
    """The budgets in a database."""

    def __init__(self, database: Database, *, wall: Callable[[], float], new_id: Callable[[str], str]) -> None:
        """
        Keep budgets in a database.

        Args:
            database: with our tables in it.
            wall: seconds since 1970, UTC.
            new_id: makes an id from a prefix.
        """
        self._database = database
        self._wall = wall
        self._new_id = new_id

    async def set(self, wanted: WantedBudget) -> Budget:
        """
        Set a budget; from its commit on it holds on every replica. Setting it again changes nothing.

        Raises:
            InvalidRequest: there is no such key.
            LedgerUnavailable: it is not set, or nobody knows.
        """
        return await self._database.write(partial(set_budget, wanted=wanted, now=self._now(), new_id=self._new_id))

    async def remove(self, budget_id: str) -> Budget | None:
        """
        Remove a budget, and return how it stood; None where there is none of that id.

        Raises:
            LedgerUnavailable: it is not removed, or nobody knows.
        """
        return await self._database.write(partial(remove_budget, budget_id=budget_id, now=self._now()))

    async def page(self, *, tenant: str | None = None, after: str = "", most: int = _PAGE) -> list[Budget]:
        """
        Return budgets in the order of their ids, which is that of their making.

        Args:
            tenant: of this one alone.
            after: those alone whose id comes after this one.
            most: how many.

        Raises:
            LedgerUnavailable: the database is out of reach.
        """
        conditions = [budgets.c.id > after]
        if tenant is not None:
            conditions.append(budgets.c.tenant == tenant)
        return await self._database.read(partial(_find, conditions=conditions, now=self._now(), most=most))

    async def of_caller(self, tenant: str, key_id: str, tags: Iterable[tuple[str, str]] = ()) -> list[Budget]:
        """
        Return the budgets that bound what this key of this tenant spends under these tags.

        Raises:
            LedgerUnavailable: the database is out of reach.
        """
        conditions = [budgets.c.account.in_(accounts_of(tenant, key_id, tuple(tags)))]
        return await self._database.read(partial(_find, conditions=conditions, now=self._now(), most=_PAGE))

    def _now(self) -> int:
        return round(self._wall() * MICROS)


def wanted_budget(
    *,
    tenant: str,
    key_id: str | None = None,
    tag: str | None = None,
    period: str = BudgetPeriod.MONTH.value,
    limit_usd: str,
    hard: bool = True,
) -> WantedBudget:
    """
    Read a budget as operators write it.

    Args:
        tenant: who pays.
        key_id: one of the tenant's keys, where only that one is bounded.
        tag: `NAME=VALUE`, where only what carries that tag is bounded.
        period: `total`, `day` or `month`.
        limit_usd: decimal dollars, as text.
        hard: whether it refuses.

    Raises:
        InvalidRequest: naming the field, its value and the remedy.
    """
    _check_text(tenant, "tenant", 100)
    if ":" in tenant:
        raise InvalidRequest(f"{tenant!r} has a colon, and no tenant's name has", field="tenant")
    if key_id is not None and tag is not None:
        raise InvalidRequest("a budget is of a key or of a tag, not of both; set two budgets", field="tag")
    scope, subject = BudgetScope.TENANT, tenant
    if key_id is not None:
        _check_text(key_id, "key_id", 100)
        scope, subject = BudgetScope.KEY, key_id
    elif tag is not None:
        _check_tag(tag)
        scope, subject = BudgetScope.TAG, tag
    if period not in set(BudgetPeriod):
        raise InvalidRequest(f"no period {period!r}; there are {', '.join(BudgetPeriod)}", field="period")
    return WantedBudget(tenant, scope, subject, BudgetPeriod(period), _limit(limit_usd), hard)


def _limit(text: str) -> Money:
    try:
        limit = Money.from_usd(text)
    except ValueError as error:
        largest = LARGEST_MICROUSD // MICROS_PER_USD
        raise InvalidRequest(f"{error}; write dollars, up to {largest}, as 100.00", field="limit_usd") from None
    if limit.microusd < 0:
        raise InvalidRequest(f"a budget is above zero, got {text}", field="limit_usd")
    if not limit.microusd:
        raise InvalidRequest("a budget of 0 would let nothing through: revoke the key instead", field="limit_usd")
    return limit


def _check_text(text: str, field: str, longest: int) -> None:
    if not 0 < len(text) <= longest or not text.isprintable():
        raise InvalidRequest(f"{text[:longest]!r} is not 1 to {longest} printable characters", field=field)


def _check_tag(tag: str) -> None:
    """Refuse what no request's tag can be; see `intake.body.Tags`."""
    name, equals, value = tag.partition("=")
    if not equals or not 0 < len(name) <= 64 or len(value) > 256 or not tag.isprintable():
        raise InvalidRequest(
            f"{tag[:400]!r} is no tag; write NAME=VALUE, a name of 1 to 64 and a value of up to 256 printable "
            "characters, as team=search",
            field="tag",
        )


def set_budget(connection: Connection, *, wanted: WantedBudget, now: int, new_id: Callable[[str], str]) -> Budget:
    """
    Set a budget in the transaction that the caller has begun; what was spent in its periods before counts.

    Args:
        connection: in a transaction that writes.
        wanted: checked by `wanted_budget`.
        now: microseconds since 1970, UTC.
        new_id: makes an id from a prefix.

    Raises:
        InvalidRequest: there is no such key, or it is another tenant's.
    """
    _keep_writers_out(connection)
    if wanted.scope is BudgetScope.KEY:
        _check_key(connection, wanted)
    here = and_(
        budgets.c.account == wanted.account,
        budgets.c.period == wanted.period.value,
        budgets.c.hard == int(wanted.hard),
    )
    budget_id = connection.scalar(select(budgets.c.id).where(here))
    if budget_id is None:
        budget_id = new_id("bud")
        _insert(connection, budget_id, wanted, now)
    else:
        _change_limit(connection, budget_id, wanted.limit, since=period_start(wanted.period.value, now))
    (budget,) = _find(connection, conditions=[budgets.c.id == budget_id], now=now, most=1)
    return budget


def remove_budget(connection: Connection, *, budget_id: str, now: int) -> Budget | None:
    """Remove a budget in the transaction that the caller has begun; return how it stood, None where there is none."""
    _keep_writers_out(connection)
    found = _find(connection, conditions=[budgets.c.id == budget_id], now=now, most=1)
    connection.execute(delete(budget_windows).where(budget_windows.c.budget_id == budget_id))
    connection.execute(delete(budgets).where(budgets.c.id == budget_id))
    return found[0] if found else None


def _keep_writers_out(connection: Connection) -> None:
    """Wait for those who write entries, and let them wait until this transaction ends."""
    if connection.dialect.name == "postgresql":
        for statement in _LOCK:
            connection.exec_driver_sql(statement)


def _check_key(connection: Connection, wanted: WantedBudget) -> None:
    key = connection.execute(
        select(api_keys.c.tenant, api_keys.c.replaces).where(api_keys.c.id == wanted.subject)
    ).one_or_none()
    if key is not None and key.replaces is not None:
        raise InvalidRequest(
            f"{wanted.subject!r} is an earlier secret of the key {key.replaces!r}: set the budget of that one",
            field="key_id",
        )
    if key is None or key.tenant != wanted.tenant:
        raise InvalidRequest(
            f"the tenant {wanted.tenant!r} has no key {wanted.subject!r}; `maskgate keys list` has the ids",
            field="key_id",
        )


def _insert(connection: Connection, budget_id: str, wanted: WantedBudget, now: int) -> None:
    """Make the budget, with a window for each period that was spent in and for the running one."""
    connection.execute(
        insert(budgets).values(
            id=budget_id,
            account=wanted.account,
            tenant=wanted.tenant,
            scope=wanted.scope.value,
            subject=wanted.subject,
            period=wanted.period.value,
            limit_microusd=wanted.limit.microusd,
            hard=int(wanted.hard),
            created_at=now,
        )
    )
    used = _used(connection, wanted)
    used.setdefault(period_start(wanted.period.value, now), (0, 0))
    limit = wanted.limit.microusd
    connection.execute(
        insert(budget_windows),
        [
            {
                "budget_id": budget_id,
                "starts_at": starts_at,
                "hard": int(wanted.hard),
                "limit_microusd": limit,
                "allowed_microusd": max(limit, spent + reserved),
                "spent_microusd": spent,
                "reserved_microusd": reserved,
            }
            for starts_at, (spent, reserved) in used.items()
        ],
    )


def _used(connection: Connection, wanted: WantedBudget) -> dict[int, tuple[int, int]]:
    """Return what was spent and what is reserved, in micro-dollars, by the first moment of each period."""
    used: defaultdict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for row in connection.execute(_usage_of(wanted)):
        if wanted.scope is BudgetScope.TAG and not _carries(row.tags, wanted):
            continue
        starts_at = period_start(wanted.period.value, row.day * _DAY)
        spent, reserved = used[starts_at]
        used[starts_at] = (spent + int(row.spent), reserved + int(row.reserved))
    return {starts_at: figures for starts_at, figures in used.items() if figures != (0, 0)}


def _usage_of(wanted: WantedBudget) -> Select[Any]:
    """Return the query for the usage by day; that of a tag leaves in a few lines which only resemble it."""
    lines = usage_lines.c
    columns: list[ColumnElement[Any]] = [lines.day]
    if wanted.scope is BudgetScope.KEY:
        conditions = [lines.key_id == wanted.subject]
    else:
        conditions = [lines.tenant == wanted.tenant]
    if wanted.scope is BudgetScope.TAG:
        columns.append(lines.tags)
        # What orjson writes for the value stands in the text of the tags; the first = may belong to the name.
        written = orjson.dumps(wanted.subject.rpartition("=")[2]).decode()[1:]
        conditions.append(lines.tags.contains(written, autoescape=True))
    spent = func.sum(lines.charged_microusd).label("spent")
    reserved = func.sum(lines.open_microusd + lines.held_microusd).label("reserved")
    return select(*columns, spent, reserved).where(*conditions).group_by(*columns)


def _carries(tags: str, wanted: WantedBudget) -> bool:
    """Whether attempts with these tags count against the wanted budget."""
    return wanted.account in accounts_of(wanted.tenant, "", tuple(orjson.loads(tags).items()))


def _change_limit(connection: Connection, budget_id: str, limit: Money, *, since: int) -> None:
    """Change a budget's limit, for the running period and later ones: a replica's clock may be ahead of ours."""
    connection.execute(update(budgets).where(budgets.c.id == budget_id).values(limit_microusd=limit.microusd))
    used = budget_windows.c.spent_microusd + budget_windows.c.reserved_microusd
    allowed = case((used > limit.microusd, used), else_=limit.microusd)
    here = and_(budget_windows.c.budget_id == budget_id, budget_windows.c.starts_at >= since)
    connection.execute(
        update(budget_windows).where(here).values(limit_microusd=limit.microusd, allowed_microusd=allowed)
    )


def _find(connection: Connection, *, conditions: Sequence[ColumnElement[bool]], now: int, most: int) -> list[Budget]:
    """Return the budgets that fulfil the conditions, with what is used of them in the running period."""
    starts = {period.value: period_start(period.value, now) for period in BudgetPeriod}
    running = case(starts, value=budgets.c.period)
    window = and_(budget_windows.c.budget_id == budgets.c.id, budget_windows.c.starts_at == running)
    used = (budget_windows.c.spent_microusd, budget_windows.c.reserved_microusd)
    query = select(budgets, *used).outerjoin_from(budgets, budget_windows, window)
    return [
        Budget(
            id=row.id,
            tenant=row.tenant,
            scope=BudgetScope(row.scope),
            subject=row.subject,
            period=BudgetPeriod(row.period),
            hard=bool(row.hard),
            limit=Money(row.limit_microusd),
            created_at=row.created_at,
            spent=Money(row.spent_microusd or 0),
            reserved=Money(row.reserved_microusd or 0),
            resets_at=resets_at(row.period, starts[row.period]),
        )
        for row in connection.execute(query.where(*conditions).order_by(budgets.c.id).limit(most))
    ]
