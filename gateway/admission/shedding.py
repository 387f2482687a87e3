"""
How many requests a process takes at once while its event loop is late, and how fast they end (pure).

Each tick says how late the loop was. Where even the least late of some ticks in a row was too late, it is no burst but
a standing backlog, and the limit shrinks by a quarter; where the latest of them was in time, it grows by a sixth. A
burst of seconds is thus taken whole, and an overload that lasts is turned away while it is cheap to.

The limit never shrinks below a sixteenth of its maximum: the loop may be late for reasons that are not the requests'
(a neighbour on the same machine), and those that wait for a provider cost it nothing.

Source of the idea that a standing delay is what counts, not a peak: CoDel, RFC 8289, section 3 (minimum over an
interval), read 2026-11.
"""

from __future__ import annotations

#: Later than that is too late: a refusal passes through the loop twice and has to be out within 50 ms.
LATE_SECONDS = 0.02
#: Ticks that have to agree.
TICKS = 4
LEAST_PART = 16
LEAST_PLACES = 16
#: The weight of the newest tick in the rate at which requests end.
RATE_SHARE = 0.02


class Shedding:
    """The limit of one process."""

    def __init__(self, most: int) -> None:
        """Begin with as many as ever."""
        self.most = most
        self.limit = most
        self._ticks = 0
        self._least_late = float("inf")
        self._most_late = 0.0

    @property
    def least(self) -> int:
        """Below that it does not shrink."""
        return min(self.most, max(LEAST_PLACES, self.most // LEAST_PART))

    def resize(self, most: int) -> None:
        """Go up to another maximum from now on."""
        self.limit = most if self.limit == self.most else min(self.limit, most)
        self.most = most
        self.limit = max(self.limit, self.least)

    def tick(self, late_seconds: float) -> None:
        """Note how late the loop was."""
        self._ticks += 1
        self._least_late = min(self._least_late, late_seconds)
        self._most_late = max(self._most_late, late_seconds)
        if self._ticks < TICKS:
            return
        if self._least_late > LATE_SECONDS:
            self.limit = max(self.least, self.limit * 3 // 4)
        elif self._most_late <= LATE_SECONDS:
            self.limit = min(self.most, self.limit + max(1, self.limit // 6))
        self._ticks, self._least_late, self._most_late = 0, float("inf"), 0.0


class DrainRate:
    """How many requests end in a second while all places are taken, lately."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._sum = 0.0
        self._weight = 0.0

    def tick(self, ended: int, seconds: float) -> None:
        """Note how many ended in that time."""
        self._sum += RATE_SHARE * (ended / seconds - self._sum)
        self._weight += RATE_SHARE * (1 - self._weight)

    def seconds_for(self, count: int) -> float | None:
        """Return how long it takes until so many have ended; None while none have."""
        return count * self._weight / self._sum if self._sum else None
