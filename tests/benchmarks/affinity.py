"""Hold this process on one core for a while, so that it takes nothing from what runs on the others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_on(core: int) -> Iterator[None]:
    """Run this thread, and those that it starts meanwhile, on one core until the block ends."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
