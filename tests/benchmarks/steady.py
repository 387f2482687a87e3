"""
Ask at a steady rate, whether answers come or not (open loop).

Why not as many at once as wrk has connections (closed loop): where answers are late such a client asks less, and the
requests that would have waited longest are never sent, so that they are missing in its figures ("coordinated
omission"). Here each request has a moment at which it is due, and its latency counts from that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """One request's answer, and its moments in monotonic seconds: on Linux one clock for all processes."""

    due: float
    """When it had to be asked."""
    asked: float
    """When it was: later than *due* where this process was late."""
    ended: float
    answer: T

    @property
    def latency(self) -> float:
        """Seconds from the moment it was due."""
        return self.ended - self.due


async def steadily(
    ask: Callable[[int], Awaitable[T]],
    per_second: float,
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> list[Told[T]]:
    """
    Ask as often as is due within so many seconds; return all answers in the order in which they were due.

    Args:
        ask: is told which request it is, from 0 on; tells a failure by what it returns, since the first exception of
            one ends all the others.
        per_second: how many fall due within one.
        seconds: for how long; this returns once the last answer is there.
        clock: monotonic seconds.
        sleep: waits so many seconds.
    """
    start = clock()

    async def asked(number: int, due: float) -> Told[T]:
        at = clock()
        answer = await ask(number)
        return Told(due, at, clock(), answer)

    tasks = []
    async with asyncio.TaskGroup() as group:
        for number, offset in enumerate(offsets(per_second, seconds)):
            await sleep(max(0.0, start + offset - clock()))
            tasks.append(group.create_task(asked(number, start + offset)))
    return [task.result() for task in tasks]


def offsets(per_second: float, seconds: float) -> list[float]:
    """Return after how many seconds each request is due, the first at once."""
    return [number / per_second for number in range(ceil(per_second * seconds))]


def percentile(figures: Sequence[float], per_cent: float) -> float:
    """
    Return the smallest of the figures that so many per cent of them do not exceed (nearest rank).

    Raises:
        ValueError: there is no figure.
    """
    if not figures:
        raise ValueError("a percentile of no figures at all; find out why nothing was measured")
    return sorted(figures)[max(0, ceil(per_cent / 100 * len(figures)) - 1)]
