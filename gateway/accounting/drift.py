"""
Whether providers bill what they publish: a running comparison for each deployment, and an alarm.

Only calls whose provider reported a figure are compared. The last hour counts, in buckets of a minute, so that memory
stays bounded at any traffic. The alarm changes only when a call is noted: without traffic it stays as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from providers.contract import Clock, Money

WINDOW_SECONDS = 3600.0
_BUCKET_SECONDS = 60.0
#: An alarm wants this many calls within the window: the figure of one call says little.
FEWEST_CALLS = 5


@dataclass(frozen=True, slots=True)
class Drift:
    """What a provider has reported for calls to a deployment, beside what the price book says."""

    deployment: str
    calls: int
    reported: Money
    listed: Money
    alarmed: bool
    """Whether the two differ by more than is tolerated."""

    @property
    def percent(self) -> float | None:
        """How much more, or less, is reported than listed, in percent; None where the list price is nothing."""
        if not self.listed.microusd:
            return None
        return round(100 * (self.reported - self.listed).microusd / self.listed.microusd, 3)


@dataclass(slots=True)
class _Bucket:
    """The calls of one minute."""

    number: int
    calls: int = 0
    reported: int = 0
    listed: int = 0


@dataclass(slots=True)
class _Watched:
    """One deployment's window, its sums, and whether the alarm is on."""

    buckets: deque[_Bucket] = field(default_factory=deque)
    calls: int = 0
    reported: int = 0
    listed: int = 0
    alarmed: bool = False

    def add(self, number: int, *, reported: int, listed: int) -> None:
        """Add a call to the bucket of that number."""
        if not self.buckets or self.buckets[-1].number != number:
            self.buckets.append(_Bucket(number))
        bucket = self.buckets[-1]
        for counted in (bucket, self):
            counted.calls += 1
            counted.reported += reported
            counted.listed += listed

    def forget_before(self, number: int) -> None:
        """Take out the buckets that are older."""
        while self.buckets and self.buckets[0].number < number:
            old = self.buckets.popleft()
            self.calls -= old.calls
            self.reported -= old.reported
            self.listed -= old.listed


class DriftWatch:
    """Compares, and tells of each change between well and alarmed once."""

    def __init__(self, alarm_percent: Fraction | None, *, clock: Clock, told: Callable[[Drift], None]) -> None:
        """
        Watch every deployment that is noted.

        Args:
            alarm_percent: how much reported and listed sums may differ, in percent of the listed; None: any much.
            clock: monotonic seconds.
            told: called when an alarm begins or ends, with what is known then.
        """
        self._alarm_percent = alarm_percent
        self._clock = clock
        self._told = told
        self._watched: dict[str, _Watched] = {}

    def note(self, deployment: str, *, reported: Money, listed: Money) -> None:
        """
        Count one call.

        Args:
            deployment: its name.
            reported: the provider's own figure for the call.
            listed: what the price book says of it.
        """
        if self._alarm_percent is None:
            return
        watched = self._watched.setdefault(deployment, _Watched())
        number = int(self._clock() // _BUCKET_SECONDS)
        watched.forget_before(number - int(WINDOW_SECONDS / _BUCKET_SECONDS) + 1)
        watched.add(number, reported=reported.microusd, listed=listed.microusd)
        if watched.calls < FEWEST_CALLS:
            return
        alarmed = abs(watched.reported - watched.listed) * 100 > self._alarm_percent * watched.listed
        if alarmed != watched.alarmed:
            watched.alarmed = alarmed
            self._told(
                Drift(deployment, watched.calls, Money(watched.reported), Money(watched.listed), alarmed=alarmed)
            )
