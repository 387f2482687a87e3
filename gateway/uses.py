"""Who is at work with something that may be replaced: it is closed once the last one has ended."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Uses:
    """
    A count of those at work. `with uses:` counts one in and out, in any number of tasks at once.

    It belongs to one event loop. A task that is created inside a counted block begins before that block can end, since
    the loop runs what is ready in order: whatever the task counts itself is counted without a gap.
    """

    __slots__ = ("_given_up", "_over", "count")

    def __init__(self) -> None:
        """Begin with nobody."""
        self.count = 0
        self._over: asyncio.Event | None = None
        self._given_up = False

    def __enter__(self) -> None:
        """Begin."""
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self.count -= 1
        if self._over is not None and not self.count:
            self._over.set()

    async def ended(self) -> None:
        """Wait until nobody is at work, or that is given up; at once where nobody is."""
        while self.count and not self._given_up:
            if self._over is None:
                self._over = asyncio.Event()
            self._over.clear()
            await self._over.wait()

    def give_up(self) -> None:
        """Have nobody wait any longer: whoever is still at work has had its time."""
        self._given_up = True
        if self._over is not None:
            self._over.set()
