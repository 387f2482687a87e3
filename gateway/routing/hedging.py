"""
How many questions are asked a second time before the first call has ended: few.

For a caller who would rather pay twice than wait. Off unless the request asks for it or the operator's policy says so.

Source: Dean and Barroso, "The Tail at Scale", CACM 56 (2), 2013: a hedge after the 95th percentile adds about 5 % load.
"""

from __future__ import annotations

PERCENT = 5
#: Hedges that a gateway may make at once after a long time without any.
BURST = 10


class HedgeBudget:
    """So many hedges for a hundred questions, and one at the start."""

    __slots__ = ("_burst", "_left", "_percent")

    def __init__(self, *, percent: int = PERCENT, burst: int = BURST) -> None:
        """
        Start with room for one.

        Args:
            percent: hedges for a hundred questions; 0 for none.
            burst: hedges that may be saved up.
        """
        self._percent = percent
        self._burst = 100 * burst
        self._left = 100 if percent else 0

    def asked(self) -> None:
        """Count a question."""
        self._left = min(self._burst, self._left + self._percent)

    def take(self) -> bool:
        """Take one; False when there is none left."""
        if self._left < 100:
            return False
        self._left -= 100
        return True

    def give_back(self) -> None:
        """Return one that came to no call."""
        self._left = min(self._burst, self._left + 100)
