"""A sum over the last so many seconds, in a bounded number of parts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from providers.contract import Clock


@dataclass(slots=True)
class Part:
    """What was added within one part of the span."""

    number: int
    """Which part of all time it is."""
    amount: int = 0


class RecentSum:
    """
    What was added lately.

    An amount counts for the whole span at least, and for one part of it longer at most: whoever limits a sum by it
    never lets through more than the limit.
    """

    __slots__ = ("_clock", "_count", "_parts", "_seconds", "_total")

    def __init__(self, clock: Clock, *, seconds: float, parts: int = 12) -> None:
        """
        Start at nothing.

        Args:
            clock: monotonic seconds.
            seconds: the span.
            parts: how finely it is divided.
        """
        self._clock = clock
        self._seconds = seconds / parts
        self._count = parts
        self._parts: deque[Part] = deque()
        self._total = 0

    def add(self, amount: int) -> None:
        """Add to the part that is now."""
        self._now().amount += amount
        self._total += amount

    @property
    def total(self) -> int:
        """What was added within the span."""
        self._now()
        return self._total

    def _now(self) -> Part:
        """Return the part that is now, and forget those that are out of the span."""
        number = int(self._clock() / self._seconds)
        parts = self._parts
        if parts and parts[-1].number == number:
            return parts[-1]
        while parts and parts[0].number < number - self._count:
            self._total -= parts.popleft().amount
        part = Part(number)
        parts.append(part)
        return part
