"""Decoder processes that the tests of one process share: starting some for each test would take most of its time."""

from __future__ import annotations

import asyncio
import atexit
import functools
import time
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from providers.contract import Deadline
from providers.decoders import DecoderProcesses

T = TypeVar("T")
Args = TypeVarTuple("Args")


class SharedDecoders(DecoderProcesses):
    """Processes that outlive an event loop: a call ends when its process is free again, on its own loop."""

    _calls = 0

    async def run(
        self, function: Callable[[*Args], T], *args: *Args, pixels: int, deadline: Deadline, tenant: str
    ) -> T:
        """Call *function*."""
        self._calls += 1
        try:
            return await super().run(function, *args, pixels=pixels, deadline=deadline, tenant=tenant)
        finally:
            self._calls -= 1
            while self.busy > self._calls:  # noqa: ASYNC110 - nobody tells when a process is free
                await asyncio.sleep(0.002)


@functools.cache
def shared_decoders() -> DecoderProcesses:
    """Return the processes, started when a test first needs them; a tenant may have one of the two at a time."""
    decoders = SharedDecoders(processes=2, memory_bytes=1536 * 2**20, clock=time.monotonic)
    atexit.register(decoders.close)
    return decoders
