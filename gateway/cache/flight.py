"""
One question in flight at a time: whoever asks the same meanwhile waits for that answer.

The work belongs to the gateway and not to a caller's connection: it runs in a task of its own, so that a caller who
hangs up cancels his waiting and not a call that is already paid for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """The work in flight, by name."""

    def __init__(self) -> None:
        """Start with nothing in flight."""
        self._named: dict[Hashable, tuple[asyncio.Task[T], Any]] = {}
        self._all: set[asyncio.Task[Any]] = set()

    def __contains__(self, name: Hashable) -> bool:
        """Whether work of that name is in flight."""
        return self._in_flight(name) is not None

    def leader(self, name: Hashable | None) -> Any:
        """Return what `join` was told of whoever has begun the work of that name; None where it is not in flight."""
        flight = self._in_flight(name)
        return None if flight is None else flight[1]

    async def join(
        self, name: Hashable | None, work: Callable[[], Coroutine[Any, Any, T]], *, leader: object = None
    ) -> T:
        """
        Wait for the work of that name, starting it where it is not in flight.

        Args:
            name: equal for equal work; None is never shared.
            work: started at most once for each flight.
            leader: whoever begins it, where it is not in flight.
        """
        flight = self._in_flight(name)
        if flight is not None:
            task = flight[0]
        else:
            task = asyncio.create_task(work())
            self._all.add(task)
            if name is not None:
                self._named[name] = task, leader
            task.add_done_callback(lambda done: self._landed(name, done))
        return await asyncio.shield(task)

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Have work that was begun elsewhere land with the rest."""
        self._all.add(task)
        task.add_done_callback(lambda done: self._landed(None, done))

    def __len__(self) -> int:
        """Count what is in flight."""
        return len(self._all)

    async def land(self, seconds: float) -> int:
        """Wait that long for all of it to end; cancel the rest, and return how many those were."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self._all and (left := until - loop.time()) > 0:  # one that ends may leave others behind
            await asyncio.wait(set(self._all), timeout=left)
        late = set(self._all)
        while self._all:
            for task in self._all:
                task.cancel()
            await asyncio.wait(set(self._all))
        return len(late)

    def _in_flight(self, name: Hashable | None) -> tuple[asyncio.Task[T], Any] | None:
        """
        Return the work of that name.

        Work that has ended is not in flight, though the loop may tell us of its end only after whoever asks now: to
        wait for it would not let the loop go on, so that whoever asks again upon its failure would do so for ever.
        """
        flight = self._named.get(name)
        return None if flight is None or flight[0].done() else flight

    def _landed(self, name: Hashable | None, task: asyncio.Task[Any]) -> None:
        self._all.discard(task)
        if name in self._named and self._named[name][0] is task:
            del self._named[name]
        if not task.cancelled():
            task.exception()  # whoever waits has it; when nobody waits any more, it is no surprise to the loop
