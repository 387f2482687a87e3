"""
Whether the running sums are what the entries add up to: `usage_lines`, and the windows of the budgets.

Day by day (UTC, of the reservation), so that no more than one day's lines are in memory; of the budgets' windows all
are, since one may reach over every day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson
from sqlalchemy import Connection, func, select

from gateway.accounting.reports import DAY_MICROS, FIGURES, Tally, entry_figures
from gateway.accounting.verification import Break, Verification
from gateway.store.budgeting import accounts_of, period_start
from gateway.store.tables import budget_windows, budgets, entries, usage_lines

DIVISIONS = ("tenant", "key_id", "deployment", "provider", "model", "region", "tags")

#: How often the progress is told.
_DAYS_TOLD = 30

Sums = dict[tuple[str, ...], Tally]


def broken_sums(connection: Connection, seen: Verification, *, tell: Callable[[str], None]) -> Iterator[Break]:
    """Find running sums that are not the sum of their entries, and hard budgets that were passed."""
    windows = _Windows(connection)
    for day in _days(connection):
        if seen.days % _DAYS_TOLD == 0:
            tell(f"sums: {seen.days} days")
        expected, found = _of_entries(connection, day), _of_lines(connection, day)
        windows.add(day, expected)
        seen.days += 1
        yield from _differences(day, expected, found)
    for problem in windows.differences(connection):
        seen.windows += 1
        if problem is not None:
            yield problem


class _Windows:
    """What the entries add up to in each window of each budget."""

    def __init__(self, connection: Connection) -> None:
        self._of_account: defaultdict[str, list[Any]] = defaultdict(list)
        for budget in connection.execute(select(budgets.c.id, budgets.c.account, budgets.c.period)):
            self._of_account[budget.account].append(budget)
        self._used: defaultdict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])

    def add(self, day: int, sums: Sums) -> None:
        """Count one day's attempts in the windows of the budgets that they come under."""
        for (tenant, key_id, *_, tags), tally in sums.items():
            for account in accounts_of(tenant, key_id, orjson.loads(tags).items()):
                for budget in self._of_account.get(account, ()):
                    used = self._used[budget.id, period_start(budget.period, day * DAY_MICROS)]
                    used[0] += tally.charged_microusd
                    used[1] += tally.open_microusd + tally.held_microusd

    def differences(self, connection: Connection) -> Iterator[Break | None]:
        """Compare with the windows that are there: for each of them what is broken, or None."""
        for row in connection.execute(select(budget_windows)).all():
            place = f"budget {row.budget_id} from {row.starts_at}"
            spent, reserved = self._used.pop((row.budget_id, row.starts_at), (0, 0))
            used = f"spent {spent} reserved {reserved}"
            stands = f"spent {row.spent_microusd} reserved {row.reserved_microusd}"
            if used != stands:
                yield Break("budget_window", used, stands, place=place)
            elif row.hard and spent + reserved > row.allowed_microusd:
                yield Break("hard_budget_passed", f"at most {row.allowed_microusd}", str(spent + reserved), place=place)
            else:
                yield None
        yield from self._missing()

    def _missing(self) -> Iterator[Break]:
        """Find windows that are not there although something was spent in them."""
        for (budget_id, starts_at), (spent, reserved) in sorted(self._used.items()):
            if spent or reserved:
                used = f"spent {spent} reserved {reserved}"
                yield Break("budget_window", used, "no window", place=f"budget {budget_id} from {starts_at}")


def _days(connection: Connection) -> Iterator[int]:
    """Return every day that has reservations or usage lines."""
    day = None
    while True:
        opened = select(func.min(entries.c.at)).where(entries.c.phase == 0)
        summed = select(func.min(usage_lines.c.day))
        if day is not None:
            opened = opened.where(entries.c.at >= (day + 1) * DAY_MICROS)
            summed = summed.where(usage_lines.c.day > day)
        at, line = connection.scalar(opened), connection.scalar(summed)
        following = [found for found in (None if at is None else at // DAY_MICROS, line) if found is not None]
        if not following:
            return
        day = min(following)
        yield day


def _of_entries(connection: Connection, day: int) -> Sums:
    """Add up the entries of the attempts that were reserved on a day."""
    opened, entry = entries.alias("opened"), entries.alias("entry")
    divisions = [opened.c[name] for name in DIVISIONS]
    statement = (
        select(*divisions, *(func.sum(figure) for figure in entry_figures(entry)))
        .select_from(opened.join(entry, entry.c.attempt_id == opened.c.attempt_id))
        .where(opened.c.phase == 0, opened.c.at >= day * DAY_MICROS, opened.c.at < (day + 1) * DAY_MICROS)
        .group_by(*divisions)
    )
    return _sums(connection.execute(statement))


def _of_lines(connection: Connection, day: int) -> Sums:
    """Add up a day's usage lines over their writers."""
    divisions = [usage_lines.c[name] for name in DIVISIONS]
    statement = select(*divisions, *(func.sum(usage_lines.c[name]) for name in FIGURES))
    return _sums(connection.execute(statement.where(usage_lines.c.day == day).group_by(*divisions)))


def _sums(rows: Iterable[Any]) -> Sums:
    """Return rows as sums; those that came to nothing are as good as none."""
    sums = {tuple(row[: len(DIVISIONS)]): Tally(*map(int, row[len(DIVISIONS) :])) for row in rows}
    return {divisions: tally for divisions, tally in sums.items() if tally != Tally()}


def _differences(day: int, expected: Sums, found: Sums) -> Iterator[Break]:
    """Compare a day's sums."""
    for divisions in sorted(expected.keys() | found.keys()):
        ours, theirs = expected.get(divisions, Tally()), found.get(divisions, Tally())
        differing = [name for name in FIGURES if getattr(ours, name) != getattr(theirs, name)]
        if differing:
            yield Break(
                "usage_line",
                " ".join(f"{name} {getattr(ours, name)}" for name in differing),
                " ".join(f"{name} {getattr(theirs, name)}" for name in differing),
                place=f"usage of day {day}, {' '.join(divisions)}",
            )
