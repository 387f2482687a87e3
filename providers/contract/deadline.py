"""
A moment by which everything has to be done.

Why not a timeout: a timeout starts anew at every step, a deadline shrinks through queue, attempts, polling and
downloads, so the caller's wait is bounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Monotonic seconds; `time.monotonic` in service, a hand-wound clock in tests.
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on a monotonic clock, in seconds."""

    at: float
    clock: Clock

    @classmethod
    def after(cls, seconds: float, clock: Clock) -> Deadline:
        """Return the deadline that many seconds from now."""
        return cls(clock() + seconds, clock)

    def remaining(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self.at - self.clock())

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self.clock() >= self.at

    def share(self, parts: int) -> Deadline:
        """Return an earlier deadline: a fair part of what is left when *parts* steps may still be needed."""
        return Deadline(self.clock() + self.remaining() / max(1, parts), self.clock)

    def sooner(self, seconds: float) -> Deadline:
        """Return the earlier of this deadline and *seconds* from now."""
        return Deadline(min(self.at, self.clock() + seconds), self.clock)
