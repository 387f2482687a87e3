"""
The generic cell rate algorithm (GCRA), in exact whole numbers.

A limit is one number: the theoretical arrival time (TAT), the moment at which the bucket is whole again. Each request
moves it on by one step (1 / rate); a request is admitted while it then lies no more than `burst` steps ahead. So in any
window of t seconds at most `burst + rate * t` requests are admitted.

Moments are nanoseconds; a TAT is counted in ticks of 1/p nanosecond, where p is the rate's numerator: then a step is a
whole number of ticks, and nothing is rounded but what a caller is told to wait (up).

Source: ITU-T I.371 (2004), annex A, the virtual scheduling algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

NANOSECONDS = 1_000_000_000
#: `burst` * the rate's denominator stays below it, so that Redis, which counts in doubles of 53 bits and in
#: microseconds, is exact as well.
MOST = 9_000_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """So many requests a second, so many at once after a pause."""

    rate: Fraction
    """
    Requests a second; brought to the nearest fraction that Redis' numbers hold exactly (see `MOST`). A bucket that
    takes more than 285 years to be whole takes so long.
    """
    burst: int
    ticks: int = field(init=False)
    """Ticks in a nanosecond."""
    step: int = field(init=False)
    """Ticks between two requests at the full rate."""
    depth: int = field(init=False)
    """Ticks in which an empty bucket is whole again."""

    def __post_init__(self) -> None:
        """
        Work out the ticks.

        Raises:
            ValueError: the rate is not above 0, or the burst below 1.
        """
        if self.burst < 1:
            raise ValueError(f"burst is {self.burst}; it must be at least 1")
        if self.rate <= 0:
            raise ValueError(f"requests_per_second is {self.rate}; it must be above 0, or absent for no limit")
        finest = max(1, MOST // self.burst)
        rate = max(self.rate.limit_denominator(finest), Fraction(1, finest))
        step = rate.denominator * NANOSECONDS
        for name, value in (
            ("rate", rate),
            ("ticks", rate.numerator),
            ("step", step),
            ("depth", step * self.burst),
        ):
            object.__setattr__(self, name, value)

    def take(self, tat: int, now: int, tokens: int = 1) -> int | None:
        """
        Return the TAT after that many requests at once, None when they are too many now.

        Args:
            tat: the TAT until now, in ticks; 0 for a bucket that nobody has used.
            now: nanoseconds.
            tokens: how many; at most `burst`, more are never admitted.
        """
        moment = now * self.ticks
        after = self._bounded(tat, moment) + tokens * self.step
        return after if after - moment <= self.depth else None

    def remaining(self, tat: int, now: int) -> int:
        """Return how many requests would be admitted at once now."""
        moment = now * self.ticks
        return (moment + self.depth - self._bounded(tat, moment)) // self.step

    def wait(self, tat: int, now: int, tokens: int = 1) -> int:
        """Return the nanoseconds until that many are admitted, rounded up; 0 when they are now."""
        moment = now * self.ticks
        late = self._bounded(tat, moment) + tokens * self.step - moment - self.depth
        return max(0, -(-late // self.ticks))

    def until_more(self, tat: int, now: int) -> int:
        """Return the nanoseconds until `remaining` is larger, rounded up; 0 for a bucket that is whole."""
        remaining = self.remaining(tat, now)
        return 0 if remaining >= self.burst else self.wait(tat, now, remaining + 1)

    def rescaled(self, tat: int, other: Rule) -> int:
        """Return a TAT of another rule in this one's ticks, rounded down by less than a nanosecond."""
        return tat * self.ticks // other.ticks

    def _bounded(self, tat: int, moment: int) -> int:
        """Return a TAT no earlier than now (unused time is not saved up) and no later than an empty bucket's."""
        return min(max(tat, moment), moment + self.depth)
