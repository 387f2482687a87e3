"""
A transport that is closed gently: what is written arrives, even at a caller who is still sending.

To close a socket with unread bytes resets the connection, and many a client then never looks at the answer. So the
sending half is closed, and what comes is thrown away until the caller has closed, too, or for so long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.serving.limits import EdgeLimits


class GentleTransport:
    """
    Stands in front of the loop's transport.

    Attributes:
        closing: whether it was told to close.
        lingers: whether the caller may still be sending, so that closing waits.
    """

    def __init__(self, transport: asyncio.Transport, clock: Callable[[], float]) -> None:
        """Stand in front of *transport*; *clock* gives monotonic seconds."""
        self._transport = transport
        self._clock = clock
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
        self.resume_reading = transport.resume_reading

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
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.closing = True
        self._transport.abort()

    def throw_away(self, size: int) -> int:
        """Note that so many bytes came that nobody reads; return how many they are by now."""
        self._heard_at = self._clock()
        self._thrown_away += size
        return self._thrown_away

    def stalled(self, now: float, limits: EdgeLimits) -> bool:
        """Whether the caller has not read, or not stopped sending, for too long."""
        unsent = self._transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._stuck_since = unsent, now
        elif now - self._stuck_since > limits.stall_seconds:
            return True
        if not (self.closing and self.lingers):
            return False
        return now - self._closed_at > limits.linger_seconds or now - self._heard_at > limits.linger_silence_seconds
