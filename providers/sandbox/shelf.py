"""A bounded store in memory that forgets the oldest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Shelf(Generic[T]):
    """Things by name; beyond a number of things or of bytes the oldest are forgotten."""

    def __init__(self, *, most: int, most_bytes: int) -> None:
        """Hold at most *most* things of together *most_bytes* bytes."""
        self._most = most
        self._most_bytes = most_bytes
        self._things: dict[str, tuple[T, int]] = {}
        self._order: deque[str] = deque()
        self._bytes = 0

    def put(self, name: str, thing: T, *, size: int) -> None:
        """Keep *thing* of *size* bytes; a thing of the same name is replaced and keeps its age."""
        known = self._things.get(name)
        if known is None:
            self._order.append(name)
        else:
            self._bytes -= known[1]
        self._things[name] = (thing, size)
        self._bytes += size
        while self._order and (len(self._things) > self._most or self._bytes > self._most_bytes):
            _, gone = self._things.pop(self._order.popleft())
            self._bytes -= gone

    def get(self, name: str) -> T | None:
        """Return the thing of that name; None when it never was or is forgotten."""
        known = self._things.get(name)
        return None if known is None else known[0]

    def newest_first(self) -> Iterator[T]:
        """Go through all things, the newest first."""
        for thing, _ in reversed(self._things.values()):
            yield thing

    def __len__(self) -> int:
        """How many things are kept."""
        return len(self._things)
