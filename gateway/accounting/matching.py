"""
The provider's statement beside the ledger: which row belongs to which attempt. Pure.

The provider's name for a call decides wherever the ledger has it. What has none is given a row by time: the attempts on
hold before those that are settled, the nearest pair before the others, each attempt and each row once, and no row that
is dearer than its attempt can have been. Rows that an attempt still under way may turn out to own are left to wait.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from gateway.accounting.statement import Billed


class State(StrEnum):
    """Where an attempt stands in the ledger."""

    OPEN = "open"
    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"
    IMPORTED = "imported"
    """No attempt of ours: an earlier statement brought it."""


class Group(StrEnum):
    """How a row and an attempt stand to each other."""

    MATCHED = "matched"
    """Both are there, at one amount; or the attempt was on hold."""
    DIFFERENT = "different_amount"
    MISSING_HERE = "missing_here"
    """The provider has billed what the ledger does not know."""
    MISSING_THERE = "missing_there"
    """The ledger owes, or may owe, what the statement should show and does not."""
    WAITING = "waiting"
    """The row may belong to an attempt that has not ended."""


@dataclass(frozen=True, slots=True)
class Known:
    """An attempt as the ledger knows it."""

    attempt_id: str
    state: State
    refs: tuple[str, ...]
    """The provider's names for it, where it has told one."""
    opened_at: int
    """Microseconds since 1970, UTC."""
    ended_at: int
    """When it ended or was put on hold; for one that is open, without meaning."""
    cost_microusd: int
    """Owed to the provider as the ledger stands."""
    most_cost_microusd: int | None
    """What it can have cost at most; None where nobody can say."""
    asked: bool = True
    """Whether the statement should show it; if not, its name alone can match."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A row, an attempt, or both, and how they stand."""

    group: Group
    known: Known | None = None
    billed: Billed | None = None
    certain: bool = False
    """Missing there: whether its row has been found to be another attempt's."""


class Period(NamedTuple):
    """What a statement covers, in microseconds since 1970, UTC, both ends included."""

    since: int
    until: int


def match(known: Sequence[Known], billed: Sequence[Billed], *, period: Period, skew: int) -> list[Finding]:
    """
    Compare a statement with the ledger.

    Args:
        known: attempts of the provider, those that the statement should show among them.
        billed: the statement.
        period: what it covers: an attempt is missed only where its time lies in it, with the skew at both ends.
        skew: how far the provider's clock may be from ours, in microseconds.
    """
    findings, left, rows = _by_name(known, billed)
    under_way = min((each.opened_at for each in known if each.state is State.OPEN), default=None)
    waiting = [row for row in rows if under_way is not None and row.at >= under_way - skew]
    findings += [Finding(Group.WAITING, billed=row) for row in waiting]
    until = min([period.until, *(row.at - 1 for row in waiting)])
    set_apart = {row.ref for row in waiting}
    rows = [row for row in rows if row.ref not in set_apart]
    for state in (State.HELD, State.SETTLED):
        nameless = [each for each in left if each.state is state and each.asked and not each.refs]
        pairs = pair_by_time(nameless, rows, skew=skew)
        findings += [_together(nameless[attempt], rows[row]) for attempt, row in pairs.items()]
        paired, taken = {nameless[attempt].attempt_id for attempt in pairs}, set(pairs.values())
        left = [each for each in left if each.attempt_id not in paired]
        rows = [row for place, row in enumerate(rows) if place not in taken]
    findings += [Finding(Group.MISSING_HERE, billed=row) for row in rows]
    missed = [each for each in left if _is_missed(each, Period(period.since, until), skew)]
    return findings + [Finding(Group.MISSING_THERE, known=each) for each in missed]


def pair_by_time(attempts: Sequence[Known], rows: Sequence[Billed], *, skew: int) -> dict[int, int]:
    """
    Give attempts their rows: the nearest pair first, counted from the reservation, each attempt and each row once.

    A row fits from the reservation to the end, with the skew at both ends, where the attempt can have cost as much. Of
    pairs that are equally near, the attempt that comes first in its sequence is served first, and then the later row.

    Args:
        attempts: in the order in which they are served.
        rows: in any order.
        skew: how far the clocks may be apart, in microseconds.

    Returns:
        The places of the rows by those of the attempts.
    """
    by_time = sorted(range(len(rows)), key=lambda place: (rows[place].at, rows[place].ref))
    times = [rows[place].at for place in by_time]
    choices = []
    for number, attempt in enumerate(attempts):
        nearest = _nearest(attempt, times, skew)
        first = next(nearest, None)
        if first is not None:
            choices.append((first[0], number, first[1], nearest))
    heapify(choices)
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    while choices:
        _, number, place, others = choices[0]
        row, most = by_time[place], attempts[number].most_cost_microusd
        if row not in taken and (most is None or rows[row].cost.microusd <= most):
            taken.add(row)
            pairs[number] = row
            heappop(choices)
            continue
        following = next(others, None)
        if following is None:
            heappop(choices)
        else:
            heapreplace(choices, (following[0], number, following[1], others))
    return pairs


def _nearest(attempt: Known, times: Sequence[int], skew: int) -> Iterator[tuple[int, int]]:
    """Return how far the rows in an attempt's time are from its reservation, and which they are, nearest first."""
    middle = bisect_left(times, attempt.opened_at)
    later, earlier = middle, middle - 1
    while True:
        after = times[later] - attempt.opened_at if later < len(times) else None
        if after is not None and times[later] > attempt.ended_at + skew:
            after = None
        before = attempt.opened_at - times[earlier] if earlier >= 0 else None
        if before is not None and before > skew:
            before = None
        if after is not None and (before is None or after <= before):
            yield after, later
            later += 1
        elif before is not None:
            yield before, earlier
            earlier -= 1
        else:
            return


def _by_name(known: Sequence[Known], billed: Sequence[Billed]) -> tuple[list[Finding], list[Known], list[Billed]]:
    """Pair rows with attempts by the provider's name for them; return what is left of both as well."""
    named: defaultdict[str, list[Known]] = defaultdict(list)
    for each in sorted(known, key=lambda each: (each.state is State.IMPORTED, each.opened_at, each.attempt_id)):
        for ref in set(each.refs):
            named[ref].append(each)
    findings, rows = [], []
    paired: set[str] = set()
    for row in billed:
        free = [each for each in named.get(row.ref, ()) if each.attempt_id not in paired]
        if not free:
            rows.append(row)
            continue
        paired.add(free[0].attempt_id)
        findings.append(_together(free[0], row))
        for each in free[1:]:
            if each.state is State.IMPORTED:
                paired.add(each.attempt_id)
                if each.cost_microusd:
                    findings.append(Finding(Group.MISSING_THERE, known=each, certain=True))
    return findings, [each for each in known if each.attempt_id not in paired], rows


def _together(known: Known, billed: Billed) -> Finding:
    """Return the finding of a pair."""
    same = known.state is State.HELD or known.cost_microusd == billed.cost.microusd
    return Finding(Group.MATCHED if same else Group.DIFFERENT, known, billed)


def _is_missed(known: Known, period: Period, skew: int) -> bool:
    """Whether the statement should show an attempt that has no row."""
    owing = known.state is State.HELD or (known.state in {State.SETTLED, State.IMPORTED} and known.cost_microusd > 0)
    if known.state is State.IMPORTED:
        skew = 0  # its time is the provider's own
    return owing and known.asked and known.opened_at - skew >= period.since and known.ended_at + skew <= period.until
