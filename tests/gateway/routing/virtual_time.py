"""An event loop whose time passes only while nobody has anything to do: hours of waiting take no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Still(selectors.DefaultSelector):
    """Winds the loop's clock on instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; with nothing to wait for but each other, those who wait would wait for ever."""
        if timeout is None:
            raise AssertionError("everybody waits, and for nothing that will come")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._still = _Still()
        super().__init__(self._still)

    def time(self) -> float:
        """Return the virtual seconds since the beginning."""
        return self._still.now


def run_virtually(scene: Coroutine[Any, Any, T]) -> T:
    """Run *scene* to its end; `asyncio.get_running_loop().time` is its clock."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scene)
