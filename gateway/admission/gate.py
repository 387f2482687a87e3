"""
How many requests are worked on at once, in the whole process: those whose sender is known and whose body is there.

While there are places, coming in costs about a microsecond. When there are none, a request waits a moment for one, its
sender taking turns with the others who wait; there is room for a quarter as many as there are places. Whoever is still
outside then is told to come back: nobody learns later than `PATIENCE_SECONDS` that there is no place.

The number of places is the operator's, and fewer while the event loop is late (see `shedding.py`).
"""

from __future__ import annotations

import asyncio

from gateway.admission.shedding import DrainRate, Shedding
from gateway.fair_queue import FairQueue
from gateway.problems import Overloaded
from providers.contract import Clock, Sleep

#: How long a request may wait for a place: a refusal has to be out within 50 ms.
PATIENCE_SECONDS = 0.03
#: How often the loop is asked whether it is in time.
TICK_SECONDS = 0.05
#: One may wait for so many places.
PLACES_A_WAITER = 4
#: The shortest and the longest wait that a sender is advised of, in seconds.
SHORTEST_WAIT = 1.0
LONGEST_WAIT = 60.0


class Gate:
    """A bounded number of places. Belongs to one event loop."""

    def __init__(self, places: int) -> None:
        """Open with that many places."""
        self.taken = 0
        self._shedding = Shedding(places)
        self._rate = DrainRate()
        self._left = 0
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue(places // PLACES_A_WAITER)

    @property
    def limit(self) -> int:
        """How many requests are worked on at once at present."""
        return self._shedding.limit

    @property
    def waiting(self) -> int:
        """How many requests wait for a place."""
        return len(self._queue)

    async def enter(self, sender: str) -> None:
        """
        Come in; `leave` has to follow.

        Args:
            sender: whose turn it is, where there is no place.

        Raises:
            Overloaded: there is none in time.
        """
        if not self.try_enter():
            await self.wait(sender)

    def resize(self, places: int) -> None:
        """Have another number of places from now on; who is inside stays."""
        self._shedding.resize(places)
        self._hand_on()
        for out in self._queue.resize(places // PLACES_A_WAITER):
            self._refuse(out)

    async def watch(self, clock: Clock, sleep: Sleep) -> None:
        """Keep the limit by how late the loop is, until cancelled."""
        while True:
            before, left = clock(), self._left
            await sleep(TICK_SECONDS)
            seconds = max(clock() - before, TICK_SECONDS)
            if self.taken >= self._shedding.limit:  # how fast they end when few come says nothing of how fast they can
                self._rate.tick(self._left - left, seconds)
            self._shedding.tick(seconds - TICK_SECONDS)
            self._hand_on()

    def try_enter(self) -> bool:
        """Come in, where that needs no waiting; each time it is True, `leave` has to follow."""
        if self.taken >= self._shedding.limit or self._queue:
            return False
        self.taken += 1
        return True

    async def wait(self, sender: str) -> None:
        """
        Wait for a place where `try_enter` has found none, and take it; `leave` has to follow.

        Raises:
            Overloaded: there was none in time, or no room to wait.
        """
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        out = self._queue.push(sender, place)
        if out is not None:
            if out is place:
                raise self._overloaded()
            self._refuse(out)
        late = loop.call_later(PATIENCE_SECONDS, self._refuse, place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave()
            raise
        finally:
            self._queue.discard(sender, place)
            late.cancel()

    def leave(self) -> None:
        """Go out, and hand the place to who is next."""
        self.taken -= 1
        self._left += 1
        if self._queue:
            self._hand_on()

    def _hand_on(self) -> None:
        while self.taken < self._shedding.limit and self._queue:
            place = self._queue.pop()
            if not place.done():  # else its request has left, or was refused, and is still to leave the queue
                self.taken += 1
                place.set_result(None)

    def _refuse(self, place: asyncio.Future[None]) -> None:
        if not place.done():
            place.set_exception(self._overloaded())

    def _overloaded(self) -> Overloaded:
        """Return the problem, with how long it takes until those who are inside or wait have ended."""
        ahead = max(0, self.taken - self._shedding.limit) + len(self._queue) + 1
        seconds = self._rate.seconds_for(ahead) or 0.0
        return Overloaded(
            f"{self.taken} requests are being worked on, which is all that this gateway takes at once",
            retry_after_seconds=min(LONGEST_WAIT, max(SHORTEST_WAIT, seconds)),
        )
