"""
What refused callers still send is read a little at a time.

It is thrown away, so that they come to read their answer. Read as fast as it comes, a few hundred uploads that were
refused together would keep the event loop from everybody else, and from the next refusals.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

#: So many connections are read from at a time, once each: at a quarter of a megabyte, some 400 MB a second in all.
AT_ONCE = 8
PAUSE_SECONDS = 0.005


class Draining:
    """Whose turn it is to be read from. Belongs to one event loop."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._waiting: deque[Callable[[], None]] = deque()

    def wait(self, turn: Callable[[], None]) -> None:
        """Have *turn* called when it is this one's."""
        if not self._waiting:
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._next)
        self._waiting.append(turn)

    def _next(self) -> None:
        for _ in range(min(AT_ONCE, len(self._waiting))):
            self._waiting.popleft()()
        if self._waiting:
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._next)
