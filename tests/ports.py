"""Ports for servers that are told theirs before they start."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

#: Below those that the kernel gives to connections by itself, any of which may come in between.
#: Source: net.ipv4.ip_local_port_range, 32768 to 60999 unless it was changed.
PORTS = range(12_000, 32_000)


def free_row(count: int) -> int:
    """Return the first of *count* ports of 127.0.0.1 in a row that nobody has; which one is left to chance."""
    chance = random.SystemRandom()
    while True:
        first = chance.randrange(PORTS.start, PORTS.stop - count)
        with ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
