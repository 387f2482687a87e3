"""
How much money may be in doubt before nobody is asked a second time.

A call that may have been billed although it brought nothing is money in doubt: its reservation is on hold. To ask
somebody else then can cost the same answer twice. That is worth it now and then; a provider that takes calls and
answers none would make it a habit. So a further call is made only while what is in doubt, that call included, stays
within a limit for the request and within one for the gateway's last minute.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.routing.recent import RecentSum
from providers.contract import Clock, Money

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class DoubtLimits:
    """The most that may be in doubt; None is no limit, and nothing means that nobody is asked again."""

    per_request: Money | None = Money(500_000)  # noqa: RUF009 - Money is frozen
    per_minute: Money | None = Money(10_000_000)  # noqa: RUF009 - Money is frozen
    """Of one process."""


class DoubtWatch:
    """What came to be in doubt within the last minute."""

    __slots__ = ("_last_minute", "_limits")

    def __init__(self, limits: DoubtLimits, clock: Clock) -> None:
        """Start with nothing in doubt."""
        self._limits = limits
        self._last_minute = RecentSum(clock, seconds=MINUTE)

    def note(self, amount: Money) -> None:
        """Count what a call has put on hold."""
        self._last_minute.add(amount.microusd)

    def objection(self, in_doubt: Money, amount: Money) -> str | None:
        """
        Say why a further call must not be made; None when it may.

        Args:
            in_doubt: what the request's calls have put on hold so far.
            amount: the most that the further call can cost.
        """
        per_request, per_minute = self._limits.per_request, self._limits.per_minute
        if per_request is not None and in_doubt + amount > per_request:
            return (
                f"{in_doubt.usd} dollars of this request may have been billed without an answer, and another call for "
                f"{amount.usd} would pass routing.doubt.per_request_usd ({per_request.usd})"
            )
        recent = Money(self._last_minute.total)
        if per_minute is not None and recent + amount > per_minute:
            return (
                f"{recent.usd} dollars of the last minute may have been billed without an answer, and another call for "
                f"{amount.usd} would pass routing.doubt.per_minute_usd ({per_minute.usd})"
            )
        return None
