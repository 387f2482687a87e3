"""
How many further calls a gateway may make when first calls end in doubt, or nobody else is left to ask.

A further call after one that certainly did nothing (no connection, a refusal for load, the provider's own error that it
does not bill) is free at another deployment: it gets no more calls than there are questions, and the breaker ends such
calls within moments. A further call after one that may have been worked on and billed makes the provider work twice,
and one at the same place may well meet the same end. Those that bring nothing are counted: while there were as many of
them as a fifth of the questions of the last minute, and three, none is made. One that brings the answer was worth it,
so that going on from a dead deployment to a good one never runs out, however many callers meet the dead one at the same
moment; and when nobody answers any more, no more are made in vain than that, but for those that were under way at once.

Source of the figures: Envoy's retry budget (20 %, never below 3), envoyproxy/envoy circuit_breaker.proto, and
Finagle's (20 % of requests in a sliding span), read 2026-11.
"""

from __future__ import annotations

from gateway.routing.recent import RecentSum
from providers.contract import Clock

PERCENT = 20
AT_LEAST = 3
IN_PLACE = 1
SPAN_SECONDS = 60.0


class RetryBudget:
    """What one gateway may spend on further calls."""

    __slots__ = ("_at_least", "_in_vain", "_percent", "_questions", "in_place")

    def __init__(
        self,
        clock: Clock,
        *,
        percent: int = PERCENT,
        at_least: int = AT_LEAST,
        in_place: int = IN_PLACE,
        seconds: float = SPAN_SECONDS,
    ) -> None:
        """
        Start with nothing asked and nothing spent.

        Args:
            clock: monotonic seconds.
            percent: further calls in vain for a hundred questions.
            at_least: further calls in vain beside those, so that a gateway with little to do has some.
            in_place: how often one deployment may be asked again for a question.
            seconds: the span in which both are counted.
        """
        self.in_place = in_place
        """How often one deployment may be asked again for a question."""
        self._percent = percent
        self._at_least = at_least
        self._questions = RecentSum(clock, seconds=seconds)
        self._in_vain = RecentSum(clock, seconds=seconds)

    def asked(self) -> None:
        """Count a question: its first call is free."""
        self._questions.add(1)

    def allows(self) -> bool:
        """Whether a further call may be made now."""
        return self._in_vain.total < self._questions.total * self._percent // 100 + self._at_least

    def in_vain(self) -> None:
        """Count a further call that brought nothing."""
        self._in_vain.add(1)
