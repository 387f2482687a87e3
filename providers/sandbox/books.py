"""
The sandbox's own books: every call that the provider would bill, written at the moment of success.

They are the oracle for "nothing lost": the gateway never reads them, tests compare its ledger with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Call:
    """One billed call."""

    upstream: str
    id: str
    """The provider's name for it: run id or job id."""
    client_ref: str | None
    """The caller's own name for it; None where none was sent or the provider has no place for one."""
    at: str
    """The moment of success, ISO 8601 in UTC."""
    microusd: int
    answered: bool = False
    """
    Whether a whole and unspoilt answer that shows the success was written to the caller: for Runflow a reading of the
    succeeded run, for Prodia the reply to the job.
    """


class Books:
    """All billed calls, oldest first. Nothing is ever forgotten but by `clear`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Start empty; *clock* tells seconds since the epoch."""
        self._clock = clock
        self._calls: dict[tuple[str, str], Call] = {}

    def write(self, upstream: str, call_id: str, *, client_ref: str | None, microusd: int) -> None:
        """Bill one call of *upstream* at *microusd* micro-dollars."""
        at = datetime.fromtimestamp(self._clock(), UTC).isoformat()
        self._calls[upstream, call_id] = Call(upstream, call_id, client_ref, at, microusd)

    def answered(self, upstream: str, call_id: str) -> None:
        """Note that the caller got the answer of a call; unbilled and cleared calls are passed over."""
        call = self._calls.get((upstream, call_id))
        if call is not None and not call.answered:
            self._calls[upstream, call_id] = replace(call, answered=True)

    def calls(
        self, *, upstream: str | None = None, client_ref: str | None = None, answered: bool | None = None
    ) -> tuple[Call, ...]:
        """Return the billed calls, oldest first, of one upstream, one reference or one outcome where that is given."""
        return tuple(
            call
            for call in self._calls.values()
            if upstream in (None, call.upstream)
            and client_ref in (None, call.client_ref)
            and answered in (None, call.answered)
        )

    def charged(self, upstream: str) -> int:
        """Return the micro-dollars that one upstream has billed."""
        return sum(call.microusd for call in self._calls.values() if call.upstream == upstream)

    def clear(self) -> None:
        """Forget every call."""
        self._calls.clear()
