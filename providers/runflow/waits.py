"""Runs that are waited for, and the word that ends a pause between two looks at one of them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from providers.contract import Sleep

RunKey = tuple[str, str]
"""Name of the deployment, id of the run."""

#: How many runs are remembered of which word came before anybody waited for them.
_MOST_EARLY = 1000


class Wait:
    """One wait for one run. Word of its end shortens one pause, and only one: polling stays the truth."""

    def __init__(self) -> None:
        """Begin without word."""
        self._ended = asyncio.Event()
        self._looked = False

    def end(self) -> bool:
        """Take word that the run has ended; False where it came before."""
        first = not self._ended.is_set()
        self._ended.set()
        return first

    async def pause(self, seconds: float, sleep: Sleep) -> None:
        """Wait that long, or until word comes."""
        if self._looked:
            await sleep(seconds)
            return
        if not self._ended.is_set():
            tasks: list[asyncio.Future[object]] = [
                asyncio.ensure_future(sleep(seconds)),
                asyncio.ensure_future(self._ended.wait()),
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        self._looked = self._ended.is_set()


class Waits:
    """Every run that this process waits for. Belongs to one event loop."""

    def __init__(self) -> None:
        """Wait for nothing."""
        self._waiting: dict[RunKey, Wait] = {}
        self._early: OrderedDict[RunKey, None] = OrderedDict()

    @contextmanager
    def wait(self, key: RunKey) -> Iterator[Wait]:
        """Give the wait for a run, which word can end while the block lasts, or has ended already."""
        wait = self._waiting[key] = Wait()
        if key in self._early:
            del self._early[key]
            wait.end()
        try:
            yield wait
        finally:
            if self._waiting.get(key) is wait:
                del self._waiting[key]

    def ended(self, key: RunKey) -> bool:
        """Take word that a run has ended; False where nobody needs it (any more, or yet, or again)."""
        wait = self._waiting.get(key)
        if wait is not None:
            return wait.end()
        self._early[key] = None
        while len(self._early) > _MOST_EARLY:
            self._early.popitem(last=False)
        return False
