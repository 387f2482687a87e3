"""
A transport that is closed gently: what is written arrives, even at a caller who is still sending.

To close a socket with unread bytes resets the connection, and many a client then never looks at the answer. So the
sending half is closed, and what comes is thrown away until the caller has closed, too, or for so long: in turns with
others, and the time between two turns does not count.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Any

from gateway.serving.draining import Draining
from gateway.serving.limits import EdgeLimits


class GentleTransport:
    """
    Stands in front of the loop's transport.

    Attributes:
        closing: whether it was told to close.
        lingers: whether the caller may still be sending, so that closing waits.
    """

    def __init__(self, transport: asyncio.Transport, clock: Callable[[], float], draining: Draining) -> None:
        """Stand in front of *transport*; *clock* gives monotonic seconds, *draining* turns to be read from."""
        self._transport = transport
        self._clock = clock
        self._draining = draining
        self._waits_since: float | None = None  # for its turn
        self.closing = False
        self.lingers = False
        self._closed_at = 0.0
        self._heard_at = 0.0
        self._thrown_away = 0
        self._unsent = 0
        self._stuck_since = 0.0
        # What is called for every request goes straight through.
        self.write = transport.write
        self.pause_reading = transport.pause_reading

    def __getattr__(self, name: str) -> Any:
        """Return whatever else a transport has."""
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more can be written."""
        return self.closing or self._transport.is_closing()

    def close(self) -> None:
        """Close, once what was written is sent and, where the caller may still be sending, has been read."""
        if self.closing:
            return
        self.closing = True
        self._closed_at = self._heard_at = self._clock()
        if self.lingers and not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()
            self._wait_for_turn()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.closing = True
        self._transport.abort()

    def throw_away(self, size: int) -> int:
        """Note that so many bytes came that nobody reads, and wait for a turn to read more; return how many in all."""
        self._heard_at = self._clock()
        self._thrown_away += size
        self._wait_for_turn()
        return self._thrown_away

    def has_unread(self) -> bool:
        """Whether something has come that was not read yet: this process was busy, or had no turn on a processor."""
        descriptor = self._transport.get_extra_info("socket").fileno()
        if descriptor < 0 or not hasattr(select, "poll"):
            return False
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def stalled(self, now: float, limits: EdgeLimits) -> bool:
        """Whether the caller has not read, or not stopped sending, for too long."""
        unsent = self._transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._stuck_since = unsent, now
        elif now - self._stuck_since > limits.stall_seconds:
            return True
        if not (self.closing and self.lingers):
            return False
        if self._waits_since is not None or self.has_unread():
            return False
        return now - self._closed_at > limits.linger_seconds or now - self._heard_at > limits.linger_silence_seconds

    def resume_reading(self) -> None:
        """Read again, unless that waits for its turn."""
        if self._waits_since is None:
            self._transport.resume_reading()

    def _wait_for_turn(self) -> None:
        if self._waits_since is None and not self._transport.is_closing():
            self._waits_since = self._clock()
            self._transport.pause_reading()
            self._draining.wait(self._read_on)

    def _read_on(self) -> None:
        """Read what has come: it is this one's turn."""
        assert self._waits_since is not None
        now = self._clock()
        self._closed_at += now - self._waits_since
        self._heard_at, self._waits_since = now, None
        if not self._transport.is_closing():
            self._transport.resume_reading()
