"""The bounded pool of threads for what would block the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class WorkersBusy(Exception):
    """As many jobs wait for a thread as may: whoever asked may come back soon."""


class Workers(Protocol):
    """A bounded pool of threads for what would block the event loop: hashing, inflating, encoding, parsing."""

    async def run(self, work: Callable[[], T], *, pixels: int) -> T:
        """
        Run *work* off the event loop, or at once where it is too small to be worth a thread.

        Args:
            work: a call without arguments.
            pixels: how many pixels it touches: what decides between here and a thread.

        Raises:
            WorkersBusy: the queue for a thread is full.
        """
        ...
