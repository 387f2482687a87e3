"""
Who gets a decoder process next: tenants take turns, and one holds at most half of the processes.

Half, rounded down, and one at least: with one process there is nothing to halve, and the turns alone are fair.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque

from providers.contract import Deadline, DecodersBusy


class Turns:
    """Counts who has a place, and queues who waits for one. Used on one event loop."""

    def __init__(self, *, places: int, waiting: int) -> None:
        """
        Begin with every place free.

        Args:
            places: how many there are.
            waiting: how many of one tenant may wait for one.
        """
        self._free = places
        self._most = max(1, places // 2)
        self._waiting = waiting
        self._held: Counter[str] = Counter()
        self._lanes: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, tenant: str, deadline: Deadline) -> None:
        """
        Wait for a place, and take it; `give` gives it back.

        Raises:
            DecodersBusy: none was free until the deadline, or too many of the tenant's wait for one.
        """
        lane = self._lanes.get(tenant, ())
        if not lane and self._may_have(tenant):
            self._hand_out(tenant)
            return
        if len(lane) >= self._waiting:
            raise DecodersBusy(f"{len(lane)} files of this tenant wait for a decoder already")
        place = asyncio.get_running_loop().create_future()
        self._lanes.setdefault(tenant, deque()).append(place)
        taken = False
        try:
            await asyncio.wait((place,), timeout=deadline.remaining())
            taken = place.done()
        finally:
            if not taken:
                self._leave(tenant, place)
        if not taken:
            raise DecodersBusy("no decoder was free until the deadline")

    def give(self, tenant: str) -> None:
        """Give a place back, and hand it to whoever is next."""
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        for whose, lane in list(self._lanes.items()):
            if self._may_have(whose):
                place = lane.popleft()
                self._lanes.move_to_end(whose)
                if not lane:
                    del self._lanes[whose]
                self._hand_out(whose)
                place.set_result(None)
                return

    def _may_have(self, tenant: str) -> bool:
        return self._free > 0 and self._held[tenant] < self._most

    def _hand_out(self, tenant: str) -> None:
        self._free -= 1
        self._held[tenant] += 1

    def _leave(self, tenant: str, place: asyncio.Future[None]) -> None:
        """Wait no longer; a place that was handed out all the same goes back."""
        if place.done():
            self.give(tenant)
            return
        lane = self._lanes[tenant]
        lane.remove(place)
        if not lane:
            del self._lanes[tenant]
