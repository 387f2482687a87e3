"""
Who waits for a place, and who is next: first come, first served within a tenant, and the tenants take turns.

Law: a tenant that asks a thousand times as often as another waits longer, and the other one does not. It holds for the
room in the queue as well: when that is used up, whoever holds less than an equal part of it still comes in, and the
last to come of whoever holds most has to go.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """A bounded queue with one lane for each tenant that has somebody in it."""

    __slots__ = ("_lanes", "_length", "_room")

    def __init__(self, room: int) -> None:
        """Begin empty, with room for that many."""
        self._room = room
        self._length = 0
        self._lanes: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many wait."""
        return self._length

    def resize(self, room: int) -> list[T]:
        """Change how many may wait; return those that there is no room for any more."""
        self._room = room
        return [self._drop_last(self._longest()) for _ in range(self._length - room)]

    def ahead_of(self, whose: str) -> int:
        """Return how many at most would have their turn before a tenant's next one to come."""
        own = len(self._lanes.get(whose, ()))
        return min(self._length, (own + 1) * len(self._lanes))

    def push(self, whose: str, waiter: T) -> T | None:
        """
        Let *waiter* wait in its tenant's lane.

        Returns:
            Whom there is no room for: nobody, *waiter* itself, or one who had more than an equal part of the room.
        """
        out: T | None = None
        if self._length >= self._room:
            lanes = len(self._lanes) + (whose not in self._lanes)
            if len(self._lanes.get(whose, ())) >= self._room // lanes:
                return waiter
            out = self._drop_last(self._longest())
        self._lanes.setdefault(whose, OrderedDict())[waiter] = None
        self._length += 1
        return out

    def pop(self) -> T:
        """
        Take out who is next.

        Raises:
            KeyError: nobody waits.
        """
        whose, lane = self._lanes.popitem(last=False)
        waiter, _ = lane.popitem(last=False)
        self._length -= 1
        if lane:  # its turn is over: to the end of the row
            self._lanes[whose] = lane
        return waiter

    def discard(self, whose: str, waiter: T) -> None:
        """Take *waiter* out, if it is still in."""
        lane = self._lanes.get(whose)
        if lane is not None and waiter in lane:
            del lane[waiter]
            self._length -= 1
            if not lane:
                del self._lanes[whose]

    def _longest(self) -> str:
        return max(self._lanes, key=lambda whose: len(self._lanes[whose]))

    def _drop_last(self, whose: str) -> T:
        lane = self._lanes[whose]
        waiter, _ = lane.popitem()
        self._length -= 1
        if not lane:
            del self._lanes[whose]
        return waiter
