"""How long everything that is under way when the gateway is told to stop may take to end: one bound for all of it."""

from __future__ import annotations

from providers.contract import Clock

#: Requests, the calls that go on without them, and answers that are still to be written down share these seconds. What
#: has not ended by then is answered 503, and what it holds is put on hold. `deploy/compose.yaml` allows 35: the rest is
#: for closing the ledger, which gives up a database that does not answer after a few seconds.
STOP_SECONDS = 25


class Stop:
    """When the gateway was told to stop. Belongs to one app."""

    #: Its name in the state that the app's lifespan hands to the server.
    NAME = "stop"

    def __init__(self, clock: Clock) -> None:
        """Go on, by monotonic seconds."""
        self._clock = clock
        self._until: float | None = None

    def begin(self) -> None:
        """Note that it was told to; further calls change nothing."""
        if self._until is None:
            self._until = self._clock() + STOP_SECONDS

    def left(self) -> float:
        """Return the seconds that are left, 0 or more; it begins now where it has not begun."""
        self.begin()
        return max(0.0, (self._until or 0.0) - self._clock())
