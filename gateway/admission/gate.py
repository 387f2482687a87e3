"""How many requests are worked on at once. The next one is told to come back, in microseconds and for free."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.problems import Overloaded


class Gate:
    """A bounded number of places."""

    def __init__(self, places: int) -> None:
        """Open with that many places."""
        self._places = places
        self.taken = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """
        Take a place for as long as the block runs.

        Raises:
            Overloaded: all of them are taken.
        """
        if self.taken >= self._places:
            raise Overloaded(
                f"{self.taken} requests are being worked on, which is all that this gateway takes at once",
                retry_after_seconds=1.0,
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
