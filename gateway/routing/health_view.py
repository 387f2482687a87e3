"""
A deployment's health at a moment, and the panic threshold: when health may be wrong about too many at once (pure).

When more than half of the deployments that could answer are out because calls failed, the fault may be ours: a network
that broke for a moment opens every breaker for half a minute and more. Then health is ignored, as far as that costs
nothing certain:

- one that answers, but slowly or not always, is asked as if it were well;
- one that failed again and again is tried before its time, by one call at a time, seconds apart. Not by all callers: a
  provider that is down would get a call for each request, and each caller would wait for what does not come.

What is certain is no question of health: a deployment that refuses our key, that has asked to be left alone or that is
drained stays out, and does not count among those that could answer.

Source of the threshold: Envoy's panic threshold, 50 %, envoyproxy.io, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

PANIC_THRESHOLD = 0.5


class BreakerState(StrEnum):
    """The three states."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Cause(StrEnum):
    """Why a deployment is not closed."""

    FAILING = "failing"
    """Calls failed, one after another."""
    UNSTEADY = "unsteady"
    """Too many of its calls failed, with successes between."""
    SLOW = "slow"
    """Too many of its calls took too long."""
    DENIED = "denied"
    """It refuses our key, permission or credit."""
    OVERLOADED = "overloaded"
    """It asks to be left alone for a while."""
    DRAINED = "drained"
    """The operator has taken it out."""


#: Those that still answer.
ANSWERING = frozenset({Cause.UNSTEADY, Cause.SLOW})
#: What health has concluded and could be wrong about.
CONCLUDED = ANSWERING | {Cause.FAILING}


@dataclass(frozen=True, slots=True)
class HealthView:
    """One deployment's health at a moment, for ranking and for `GET /v1/deployments`."""

    state: BreakerState
    reason: str | None
    """Why it is not closed, in words."""
    retry_after_seconds: float
    """Until it may be asked again; 0 when it may be asked now."""
    in_flight: int
    cause: Cause | None = None
    """Why it is not closed; None while it is."""
    open_seconds: float = 0.0
    """For how long it has not been closed."""
    openings: int = 0
    """How often it has opened since the start."""
    calls: int = 0
    """That ended within the last minute, since it was last closed."""
    error_rate: float = 0.0
    """The share of these that failed, in [0, 1]."""
    slow_rate: float = 0.0
    """The share of these that were slow, in [0, 1]."""
    hinted: bool = False
    """Whether another replica found it bad lately: reason to ask it last, no proof."""
    early_after_seconds: float | None = None
    """When it may be asked before its time, should most of them be out; None: not before its time."""


def early_views(
    views: Mapping[str, HealthView], names: Iterable[str], *, threshold: float = PANIC_THRESHOLD
) -> dict[str, HealthView]:
    """
    Return the views to go by instead, where more of the named deployments are out for failing than the threshold says.

    Args:
        views: every deployment's, by name.
        names: of those that could answer the question in the best of health.
        threshold: a share, in [0, 1].

    Returns:
        By name, those that are out for failing: half open where they may be asked now, and otherwise open until they
        may. `Health.begin` has to be told that the call is early. Empty below the threshold.
    """
    out: dict[str, HealthView] = {}
    usable = 0
    for name in names:
        view = views[name]
        if view.state is not BreakerState.OPEN:
            usable += 1
        elif view.early_after_seconds is not None:
            usable += 1
            out[name] = view
    if len(out) <= threshold * usable:
        return {}
    return {name: _early(view) for name, view in out.items()}


def _early(view: HealthView) -> HealthView:
    wait = min(view.retry_after_seconds, view.early_after_seconds or 0.0)
    state = BreakerState.OPEN if wait > 0 else BreakerState.HALF_OPEN
    return replace(view, state=state, retry_after_seconds=wait)
