"""Decoder processes that the tests of one process share: starting some for each test would take most of its time."""

from __future__ import annotations

import atexit
import functools
import time

from providers.decoders import DecoderProcesses


@functools.cache
def shared_decoders() -> DecoderProcesses:
    """Return the processes, started when a test first needs them; a tenant may have one of the two at a time."""
    decoders = DecoderProcesses(processes=2, memory_bytes=1536 * 2**20, clock=time.monotonic)
    atexit.register(decoders.close)
    return decoders
