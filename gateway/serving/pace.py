"""Whether a body comes as fast as it has to."""

from __future__ import annotations

from gateway.problems import RequestTimeout
from gateway.serving.limits import EdgeLimits


class Pace:
    """How one body comes. Time in which it is we who keep it waiting does not count."""

    def __init__(self, limits: EdgeLimits) -> None:
        """Begin to wait for a body."""
        self._limits = limits
        self._patience = limits.body_grace_seconds
        self._seconds = 0.0
        self._seen = 0

    def problem(self, received: int, *, seconds: float, waits_for_us: bool) -> RequestTimeout | None:
        """
        Return why a body is dropped; None where it is fast enough.

        Args:
            received: bytes of it so far.
            seconds: since the last look.
            waits_for_us: whether nothing is read of it, or it was not asked for yet.
        """
        came, self._seen = received - self._seen, received
        if waits_for_us:
            return None
        limits = self._limits
        patience = self._patience + came / limits.body_bytes_per_second - seconds
        self._patience = min(patience, limits.body_most_patience_seconds)
        self._seconds += seconds
        if patience < 0:
            return RequestTimeout(f"the body came more slowly than {limits.body_bytes_per_second} bytes a second")
        if self._seconds > limits.body_seconds:
            return RequestTimeout(f"the body was not whole after {limits.body_seconds:g} s")
        return None
