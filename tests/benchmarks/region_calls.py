"""What a region has noted of the calls that reached it, and how long the next one takes after one has failed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Call:
    """One call, in monotonic seconds: on Linux one clock for all processes."""

    region: str
    question: int
    """The caller's request that it is for."""
    arrived: float
    """When its last byte had come."""
    left: float | None
    """When the last byte of its answer had left; None where it got none."""
    status: int | None
    """Of its answer."""


def gaps(calls: Sequence[Call]) -> list[float]:
    """Return, for each failure that another call for the same question follows, the seconds from its leaving to it."""
    by_question: dict[int, list[Call]] = defaultdict(list)
    for call in calls:
        by_question[call.question].append(call)
    found = []
    for asked in by_question.values():
        asked.sort(key=lambda call: call.arrived)
        for failed, following in pairwise(asked):
            if failed.left is not None and failed.status != 200:
                found.append(following.arrived - failed.left)
    return found
