"""
A database that answers or fails within a time of ours.

Why not the drivers' own timeouts: a server that is stopped in the middle accepts connections and cancellations and
answers neither, and then the clean-up waits as long as the call did. What takes too long is left to end by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from gateway.store.database import Database, LedgerUnavailable, Work

T = TypeVar("T")


class BoundedDatabase:
    """A database whose every call ends within `seconds`. See `Database`."""

    def __init__(self, database: Database, *, seconds: float) -> None:
        """Bound the calls to a database."""
        self._database = database
        self._seconds = seconds
        self._left: set[asyncio.Task[Any]] = set()

    async def write(self, work: Work[T]) -> T:
        """Do the work in one transaction; out of time, nobody knows whether it is committed."""
        return await self._within(self._database.write(work), certain=False)

    async def read(self, work: Work[T]) -> T:
        """Do work that changes nothing."""
        return await self._within(self._database.read(work), certain=True)

    async def close(self) -> None:
        """Leave nothing behind: what is still under way gets one more time span, then the connections end."""
        if self._left:
            await asyncio.wait(self._left, timeout=self._seconds)
        await self._database.close()

    async def _within(self, call: Coroutine[Any, Any, T], *, certain: bool) -> T:
        task = asyncio.ensure_future(call)
        self._left.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait({task}, timeout=self._seconds)
        if task.done():
            return task.result()
        task.cancel()
        raise LedgerUnavailable(f"the database gave no answer within {self._seconds} s", certain=certain)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever still waited; the event loop need not report it again
