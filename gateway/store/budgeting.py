"""
What counts against which budget, and whether there is room. Pure.

An attempt counts in the period in which it was reserved, however late it ends. What it reserves or holds counts until
it is settled or released, because it may still be spent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

import orjson

from gateway.store.entry import Entry, Kind

_MICROS = 1_000_000
_DAY = 86_400 * _MICROS

#: Longer than one period and shorter than two, counted from its first moment.
_INTO_THE_NEXT = {"day": _DAY, "month": 32 * _DAY}


class BudgetRow(NamedTuple):
    """A budget as it is stored; its limit is that of each window."""

    id: str
    account: str
    scope: str
    subject: str
    period: str
    hard: int
    limit_microusd: int


class WindowKey(NamedTuple):
    """A budget and one of its periods."""

    budget_id: str
    starts_at: int
    """The period's first moment, in microseconds since 1970, UTC; 0 for `total`."""


@dataclass(slots=True)
class Window:
    """What is used of a budget in one period; changes while a batch is judged."""

    budget: BudgetRow
    starts_at: int
    limit: int
    allowed: int
    """The limit, or what was used already when the limit was lowered below it."""
    spent: int = 0
    reserved: int = 0

    @property
    def key(self) -> WindowKey:
        """What the window is stored under."""
        return WindowKey(self.budget.id, self.starts_at)

    def has_room(self, amount: int) -> bool:
        """Whether so many micro-dollars more may be reserved; nothing more always may."""
        return not self.budget.hard or not amount or self.spent + self.reserved + amount <= self.limit

    def count(self, entry: Entry) -> None:
        """Count an entry that is written."""
        self.reserved += entry.reserved_microusd + entry.held_microusd
        self.spent += entry.payable_microusd + entry.margin_microusd
        if entry.kind == Kind.CORRECT:  # the money is gone, whether there was room for it or not
            self.allowed = max(self.allowed, self.spent + self.reserved)

    def standing(self) -> BudgetStanding:
        """Return how the budget stands now."""
        budget = self.budget
        return BudgetStanding(
            budget_id=budget.id,
            scope=budget.scope,
            subject=budget.subject,
            period=budget.period,
            hard=bool(budget.hard),
            limit_microusd=self.limit,
            spent_microusd=self.spent,
            reserved_microusd=self.reserved,
            resets_at=resets_at(budget.period, self.starts_at),
        )


@dataclass(frozen=True, slots=True)
class BudgetStanding:
    """How a budget stood when an attempt was reserved, or refused, in the attempt's period."""

    budget_id: str
    scope: str
    """`tenant`, `key` or `tag`."""
    subject: str
    """The tenant; the key's id; or the tag, as `NAME=VALUE`."""
    period: str
    """`total`, `day` or `month`."""
    hard: bool
    limit_microusd: int
    spent_microusd: int
    reserved_microusd: int
    """What open and held attempts may still cost."""
    resets_at: int | None
    """Microseconds since 1970, UTC; None for a total, which never does."""


def accounts_of(tenant: str, key_id: str, tags: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the accounts that an attempt counts against, in the order in which their budgets are asked."""
    return (f"tenant:{tenant}", f"key:{key_id}", *(f"tag:{tenant}:{name}={value}" for name, value in tags))


def accounts_of_opening(opening: Entry) -> tuple[str, ...]:
    """Return the accounts of the attempt that an entry has opened."""
    return _stored_accounts(opening.tenant or "", opening.key_id or "", opening.tags or "{}")


@lru_cache(maxsize=4096)
def _stored_accounts(tenant: str, key_id: str, tags: str) -> tuple[str, ...]:
    return accounts_of(tenant, key_id, orjson.loads(tags).items())


def period_start(period: str, at: int) -> int:
    """
    Return the first moment of the period that a moment is in.

    Args:
        period: `total`, `day` or `month`; days and months are those of UTC.
        at: microseconds since 1970, UTC.

    Raises:
        ValueError: there is no such period.
    """
    if period == "total":
        return 0
    if period == "day":
        return at - at % _DAY
    if period == "month":
        moment = datetime.fromtimestamp(at // _MICROS, UTC)
        return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()) * _MICROS
    raise ValueError(f"no period {period!r}; there are total, day and month")


def resets_at(period: str, starts_at: int) -> int | None:
    """Return the first moment of the period after the one that starts then; None where there is none."""
    into_the_next = _INTO_THE_NEXT.get(period)
    return None if into_the_next is None else period_start(period, starts_at + into_the_next)


class BudgetBook:
    """The budgets of a batch and their windows, which no other writer changes meanwhile."""

    def __init__(self, budgets: Sequence[BudgetRow]) -> None:
        """Know the budgets of all accounts of the batch; their windows come with `windows`."""
        self._by_account: dict[str, list[BudgetRow]] = {}
        for budget in sorted(budgets):
            self._by_account.setdefault(budget.account, []).append(budget)
        self.windows: dict[WindowKey, Window] = {}
        """Those that entries of the batch count in."""
        self.changed: set[WindowKey] = set()
        """Those that were counted in."""

    def needed(self, openings: Iterable[Entry]) -> dict[WindowKey, BudgetRow]:
        """Return the windows in which attempts count, by the entries that opened them."""
        return {
            WindowKey(budget.id, period_start(budget.period, opening.at)): budget
            for opening in openings
            for budget in self._budgets(opening)
        }

    def refusing(self, entry: Entry) -> BudgetStanding | None:
        """Return the first budget that has no room for a reserve; None where all have."""
        for window in self._windows(entry):
            if not window.has_room(entry.amount_microusd):
                return window.standing()
        return None

    def count(self, entry: Entry, opening: Entry) -> tuple[BudgetStanding, ...]:
        """
        Count an entry that is written.

        Returns:
            For a reserve, the soft budgets that stand above their limit after it.
        """
        windows = self._windows(opening)
        for window in windows:
            window.count(entry)
            self.changed.add(window.key)
        if entry.kind != Kind.RESERVE:
            return ()
        return tuple(
            window.standing()
            for window in windows
            if not window.budget.hard and window.spent + window.reserved > window.limit
        )

    def _budgets(self, opening: Entry) -> list[BudgetRow]:
        if not self._by_account:
            return []
        return [budget for account in accounts_of_opening(opening) for budget in self._by_account.get(account, ())]

    def _windows(self, opening: Entry) -> list[Window]:
        return [
            self.windows[WindowKey(budget.id, period_start(budget.period, opening.at))]
            for budget in self._budgets(opening)
        ]


def fresh_windows(needed: Mapping[WindowKey, BudgetRow]) -> list[Window]:
    """Return windows in which nothing is used, sorted by what they are stored under."""
    return [
        Window(needed[key], key.starts_at, needed[key].limit_microusd, needed[key].limit_microusd)
        for key in sorted(needed)
    ]
