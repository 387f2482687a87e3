"""
Health, pace, ceiling and strategy → the candidates that may be asked now, in the order in which they are. Pure.

Whoever another replica has found bad lately comes last, whatever the strategy says: a hint is no proof.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from gateway.request import Route, Strategy
from gateway.routing.absence import explain
from gateway.routing.candidates import Candidate, Exclusion, Reason, Screening
from gateway.routing.health import BreakerState, Cause, HealthView
from gateway.routing.latency import UNKNOWN, Pace
from gateway.routing.scoring import TIMED, Able, best_seconds, scores
from gateway.routing.screening import covers, screen
from providers.contract import NOTHING, PriceUnit

__all__ = ["Candidate", "Exclusion", "Reason", "Screening", "covers", "explain", "rank", "screen"]

NOBODY: Mapping[str, Any] = MappingProxyType({})

#: The part of the requests that may find out how one does that was not asked for so many seconds.
EXPLORED_SHARE = 0.05
STALE_SECONDS = 2.0


def rank(
    screening: Screening,
    route: Route,
    health: Mapping[str, HealthView],
    *,
    seconds: float,
    order: Sequence[str] | None = None,
    paces: Mapping[str, Pace] = NOBODY,
    owed: Mapping[str, int] = NOBODY,
    chance: random.Random | None = None,
) -> tuple[list[Candidate], list[Exclusion]]:
    """
    Order the candidates that may be asked now.

    Args:
        screening: who could answer.
        route: the caller's strategy and ceiling.
        health: every deployment's view, by name.
        seconds: the longest that a call may take: bounds what a deployment priced by the second can cost.
        order: the names of all of them in the order that was promised; None: as the strategy says.
        paces: how fast deployments were lately, by name; nothing is known of who is not in it.
        owed: whose turn it is under `weighted`, by name; who is not in it is owed nothing.
        chance: breaks ties, and decides when to explore; None: ties go by name, and nobody explores.
    """
    able, exclusions = _able(screening, route, health, seconds, paces)
    if order is not None:
        return sorted((each[0] for each in able), key=lambda candidate: order.index(candidate.name)), exclusions
    if len(able) < 2:
        return [each[0] for each in able], exclusions
    lot = _zero if chance is None else chance.random
    ranked = sorted(
        (view.hinted, score, cost, candidate.plan is not None, candidate.offer.priority, lot(), name, candidate)
        for (candidate, name, view, cost), score in zip(able, scores(route.strategy, able, paces, owed), strict=True)
    )
    candidates = [each[-1] for each in ranked]
    if chance is not None and route.strategy in TIMED and chance.random() < EXPLORED_SHARE:
        stale = _stale(able, route.strategy, paces, lowest=ranked[0][1])
        if stale is not None and stale is not candidates[0]:
            candidates.remove(stale)
            candidates.insert(0, replace(stale, explored=True))
    return candidates, exclusions


def by_the_second(candidate: Candidate) -> bool:
    """Whether what a call is likely to cost depends on how long calls took lately."""
    price = candidate.terms.price
    return price.unit is PriceUnit.SECOND and price.usd > NOTHING


def _zero() -> float:
    return 0.0


def _able(
    screening: Screening, route: Route, health: Mapping[str, HealthView], seconds: float, paces: Mapping[str, Pace]
) -> tuple[list[Able], list[Exclusion]]:
    """Return who may be asked now, and who may not."""
    able: list[Able] = []
    exclusions: list[Exclusion] = []
    for candidate in screening.candidates:
        name = candidate.offer.deployment.name
        view, most = health[name], candidate.most(seconds)
        if view.state is BreakerState.OPEN:
            reason = Reason.DRAINED if view.cause is Cause.DRAINED else Reason.UNAVAILABLE
            exclusions.append(Exclusion(name, reason, view.reason or "it is open", view.retry_after_seconds))
        elif route.max_charge is not None and most > route.max_charge:
            exclusions.append(Exclusion(name, Reason.TOO_DEAR, f"a call can cost {most.usd} dollars"))
        else:
            likely = candidate.likely(seconds, paces.get(name, UNKNOWN).usual_seconds)
            able.append((candidate, name, view, likely.microusd))
    return able, exclusions


def _stale(able: Sequence[Able], strategy: Strategy, paces: Mapping[str, Pace], *, lowest: float) -> Candidate | None:
    """
    Return who has gone longest without a call and would be first by now, were it as fast as the fastest.

    Without this, one that was slow when it was last asked would never be asked again. It costs one call at a time:
    nobody is explored whom a call is under way to, or was to until a moment ago.
    """
    best = Pace(best_seconds(able, paces))
    hopes = scores(strategy, able, {name: best for _, name, _, _ in able}, NOBODY)
    stale = [
        (-idle, name, candidate)
        for (candidate, name, view, _), hope in zip(able, hopes, strict=True)
        if (idle := paces.get(name, UNKNOWN).idle_seconds) >= STALE_SECONDS
        and view.in_flight == 0
        and not view.hinted
        and hope <= lowest
    ]
    return min(stale)[-1] if stale else None
