"""
Who gets a decoder process next: tenants take turns, and one holds at most half of the processes.

Half, rounded down, and one at least: with one process there is nothing to halve, and the turns alone are fair.

Within a tenant short work goes before long work, for as long as it may take (twice over): a few pictures that use up
all of their time do not keep the tenant's others waiting behind them, and none waits for ever.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from itertools import count

from providers.contract import Deadline, DecodersBusy

#: How many times its longest time work stands back.
_STANDS_BACK = 2.0


@dataclass(frozen=True, slots=True, order=True)
class _Waiter:
    """Who waits, in the order of their turns."""

    due: float
    number: int
    place: asyncio.Future[None] = field(compare=False)


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
        self._numbers = count()
        self._lanes: OrderedDict[str, list[_Waiter]] = OrderedDict()

    async def take(self, tenant: str, deadline: Deadline, *, seconds: float) -> None:
        """
        Wait for a place, and take it; `give` gives it back.

        Args:
            tenant: who wants it.
            deadline: until when.
            seconds: how long it may be held.

        Raises:
            DecodersBusy: none was free until the deadline, or too many of the tenant's wait for one.
        """
        lane = self._lanes.get(tenant, ())
        if not lane and self._may_have(tenant):
            self._hand_out(tenant)
            return
        if len(lane) >= self._waiting:
            raise DecodersBusy(f"{len(lane)} files of this tenant wait for a decoder already")
        loop = asyncio.get_running_loop()
        place = loop.create_future()
        waiter = _Waiter(loop.time() + _STANDS_BACK * seconds, next(self._numbers), place)
        heapq.heappush(self._lanes.setdefault(tenant, []), waiter)
        taken = False
        try:
            await asyncio.wait((place,), timeout=deadline.remaining())
            taken = place.done()
        finally:
            if not taken:
                self._leave(tenant, waiter)
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
                place = heapq.heappop(lane).place
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

    def _leave(self, tenant: str, waiter: _Waiter) -> None:
        """Wait no longer; a place that was handed out all the same goes back."""
        if waiter.place.done():
            self.give(tenant)
            return
        lane = self._lanes[tenant]
        lane.remove(waiter)
        heapq.heapify(lane)
        if not lane:
            del self._lanes[tenant]
