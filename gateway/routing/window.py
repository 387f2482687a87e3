"""What the calls of the last minute were like, and which of them took unusually long."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_SECONDS = 60.0
#: The window moves in steps of a twelfth: that much memory, however many calls there are.
STEPS = 12

#: How many times as long as usual a call takes that is slow.
SLOW_TIMES = 5.0
#: Nothing shorter is called slow, unless the operator says so: a few milliseconds vary by much, and nobody cares.
LEAST_SLOW_SECONDS = 1.0
#: Of so many calls before, what is usual is known.
LEAST_USUAL_CALLS = 20
#: A call's weight in what is usual, once there were more than its inverse: so slow to learn that an hour of slowness
#: does not become usual before it is noticed.
USUAL_WEIGHT = 0.005


@dataclass(slots=True)
class _Step:
    """The calls that ended within one step of the window."""

    number: int
    calls: int = 0
    failures: int = 0
    slow: int = 0


class Window:
    """Counts of the calls that ended within the last `WINDOW_SECONDS`, to a step's precision."""

    def __init__(self) -> None:
        """Start empty."""
        self._steps: deque[_Step] = deque()
        self.calls = 0
        self.failures = 0
        self.slow = 0

    def add(self, now: float, *, failed: bool = False, slow: bool = False) -> None:
        """Count a call that ends *now* (monotonic seconds)."""
        self.move(now)
        number = _number(now)
        if not self._steps or self._steps[-1].number != number:
            self._steps.append(_Step(number))
        step = self._steps[-1]
        step.calls += 1
        step.failures += failed
        step.slow += slow
        self.calls += 1
        self.failures += failed
        self.slow += slow

    def move(self, now: float) -> None:
        """Forget what is too long ago."""
        oldest = _number(now) - STEPS + 1
        while self._steps and self._steps[0].number < oldest:
            step = self._steps.popleft()
            self.calls -= step.calls
            self.failures -= step.failures
            self.slow -= step.slow

    def clear(self) -> None:
        """Forget all."""
        self._steps.clear()
        self.calls = self.failures = self.slow = 0

    def changes_at(self, now: float) -> float:
        """Return when it will be another one although no call ends."""
        if not self._steps:
            return float("inf")
        return (_number(now) + 1) * WINDOW_SECONDS / STEPS


def _number(now: float) -> int:
    return int(now * STEPS // WINDOW_SECONDS)


class Slowness:
    """Tells slow calls: by the operator's figure, or else by what is usual for the deployment."""

    def __init__(self, seconds: float | None) -> None:
        """Call those slow that take longer than *seconds*; None: than `SLOW_TIMES` as long as usual."""
        self.given = seconds
        """The operator's figure, in seconds; None: what is usual decides."""
        self._usual = 0.0
        self._calls = 0

    @property
    def seconds(self) -> float | None:
        """What takes longer is slow; None while nobody knows."""
        if self.given is not None:
            return self.given
        if self._calls < LEAST_USUAL_CALLS:
            return None
        return max(LEAST_SLOW_SECONDS, SLOW_TIMES * self._usual)

    def note(self, seconds: float) -> bool:
        """Learn from a call that brought an answer in so many seconds, and say whether it was slow."""
        limit = self.seconds
        slow = limit is not None and seconds > limit
        self._calls += 1
        weight = max(1 / self._calls, USUAL_WEIGHT)
        # What is slow counts as just that, so that one call of an hour does not make a minute usual.
        self._usual += weight * (min(seconds, limit if limit is not None else seconds) - self._usual)
        return slow
