"""How work waits for a thread: so much at once, and the same work once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from providers.contract import Workers

T = TypeVar("T")


class Bench:
    """A `Workers` that hands on at most so many pieces of work at once, the rest wait their turn."""

    def __init__(self, workers: Workers, *, at_once: int = 32) -> None:
        """Hand work on to *workers*, *at_once* pieces at a time."""
        self._workers = workers
        self._turn = asyncio.Semaphore(at_once)

    async def run(self, work: Callable[[], T], *, pixels: int) -> T:
        """Run *work*, which touches *pixels* pixels, when its turn has come."""
        async with self._turn:
            return await self._workers.run(work, pixels=pixels)


class Flights(Generic[T]):
    """Work by name: while one asks for it, the others who ask for the same wait for that one's."""

    def __init__(self) -> None:
        """Start with nothing under way."""
        self._under_way: dict[str, asyncio.Task[T]] = {}

    async def once(self, name: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what *work* returns; who is cancelled leaves it to the others."""
        task = self._under_way.get(name)
        if task is None:
            task = asyncio.get_running_loop().create_task(work())
            self._under_way[name] = task
            task.add_done_callback(lambda _: self._under_way.pop(name))
        return await asyncio.shield(task)

    async def stop(self) -> None:
        """End what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
