"""
When a deployment that has failed may be asked once more for the same question (pure).

Only when nobody else is left to ask: another one costs no wait. Only after a failure that a moment may cure, which the
account's own are not. And never while the first call may have been worked on: that has to be looked up before.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from gateway.routing.candidates import Candidate
from gateway.routing.health_view import BreakerState, HealthView
from providers.contract import Outcome, ProviderError

#: Before the second call, about; twice as long before each further one. A connection that was cut or a worker that was
#: restarted is back within that, and a caller hardly notices it.
FIRST_PAUSE_SECONDS = 0.1
#: Pauses are spread by up to this share to either side, so that those who failed together do not come back together.
SPREAD = 0.5


@dataclass(frozen=True, slots=True)
class Failed:
    """A candidate whose last call has failed."""

    candidate: Candidate
    error: ProviderError
    calls: int
    """How often it was asked."""


def pause_seconds(failed: Failed, view: HealthView, *, seconds: float, chance: random.Random) -> float | None:
    """
    Return how long to wait before the candidate is asked again; None where it must not be.

    Args:
        failed: how its last call ended.
        view: its health now; a breaker that stays open for longer than the pause has the last word.
        seconds: what is left of the deadline: half of it is kept for the call.
        chance: spreads the pauses.
    """
    error = failed.error
    if not error.elsewhere or error.outcome is Outcome.DENIED:
        return None
    usual = FIRST_PAUSE_SECONDS * 2 ** (failed.calls - 1) * (1 + SPREAD * (2 * chance.random() - 1))
    asked = error.retry_after_seconds or (view.retry_after_seconds if error.outcome is Outcome.OVERLOADED else 0.0)
    pause = usual if asked <= usual else asked * (1 + SPREAD * chance.random())
    if view.state is BreakerState.OPEN and view.retry_after_seconds > pause:
        return None
    return pause if pause <= seconds / 2 else None
