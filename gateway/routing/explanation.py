"""Why each deployment is asked when it is, or is not asked: what it was weighed by, for people to read. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.request import Strategy
from gateway.routing.candidates import Candidate, Exclusion, Screening
from gateway.routing.health import BreakerState, HealthView
from gateway.routing.latency import UNKNOWN, Pace
from gateway.routing.scoring import Able, scores, soundness
from providers.contract import Money


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a candidate was weighed by, term by term; every strategy looks at some of them."""

    score: float
    """What the strategy sorts by first, as `gateway.routing.scoring` says; smaller is asked earlier, infinite last."""
    cost: Money
    """The most that a call can cost."""
    likely: Money
    """What a call is likely to cost."""
    expected_seconds: float | None
    """What an answer takes, late peaks weighing most; None while nobody knows."""
    error_rate: float
    """The part of its calls that failed lately, with some good ones taken for granted."""
    in_flight: int
    """Calls under way."""
    priority: int
    weight: int
    owed: int
    """What it is owed under `weighted`, its weight for this round included."""
    fitted: bool
    """Whether the picture has to be changed for it first."""
    hinted: bool
    """Whether another replica has found it bad lately, which puts it last."""


@dataclass(frozen=True, slots=True)
class Explained:
    """One deployment: its place, or why it has none."""

    deployment: str
    state: BreakerState
    rank: int | None = None
    """1 is asked first; None where it is out."""
    explored: bool = False
    """Whether it is first only to find out how it does by now."""
    exclusion: Exclusion | None = None
    """Why it is out; None where it is not."""
    weighed: Weighed | None = None
    """None where it could not answer in the best of health, so that nobody weighed it."""


def explanation(
    screening: Screening,
    candidates: Sequence[Candidate],
    exclusions: Sequence[Exclusion],
    strategy: Strategy,
    health: Mapping[str, HealthView],
    *,
    seconds: float,
    paces: Mapping[str, Pace],
    owed: Mapping[str, int],
) -> tuple[Explained, ...]:
    """
    Explain an order: who is in it first, in that order, then who is out.

    Args:
        screening: who could answer.
        candidates: who may be asked now, in order: what `rank` made of it, from these figures.
        exclusions: who may not.
        strategy: by which they were ranked.
        health: every deployment's view, by name.
        seconds: the longest that a call may take.
        paces: how fast deployments were lately, by name.
        owed: whose turn it was under `weighted`, by name.
    """
    weighed: dict[str, Weighed] = {}
    # Who is in is weighed again without the others, as it was when it was ranked.
    for some in (screening.candidates, candidates):
        able: list[Able] = [
            (
                each,
                each.name,
                health[each.name],
                each.likely(seconds, paces.get(each.name, UNKNOWN).usual_seconds).microusd,
            )
            for each in some
        ]
        for each, score in zip(able, scores(strategy, able, paces, owed), strict=True):
            weighed[each[1]] = _weighed(each, score, seconds, paces.get(each[1], UNKNOWN), owed.get(each[1], 0))
    ranked = [
        Explained(each.name, health[each.name].state, place, each.explored, weighed=weighed[each.name])
        for place, each in enumerate(candidates, start=1)
    ]
    out = [
        Explained(each.deployment, health[each.deployment].state, exclusion=each, weighed=weighed.get(each.deployment))
        for each in (*exclusions, *screening.exclusions)
    ]
    return (*ranked, *out)


def explanation_body(explained: Sequence[Explained]) -> list[dict[str, Any]]:
    """Return an explanation as JSON has it; a deployment that is ranked has no reason, and one that is out no rank."""
    return [
        {
            "deployment": each.deployment,
            "rank": each.rank,
            "state": each.state.value,
            "explored": each.explored,
            "reason": None if each.exclusion is None else each.exclusion.reason.value,
            "detail": None if each.exclusion is None else each.exclusion.detail,
            "retry_after_seconds": (each.exclusion.retry_after_seconds or None) if each.exclusion else None,
            "weighed": None if each.weighed is None else _weighed_body(each.weighed),
        }
        for each in explained
    ]


def _weighed(able: Able, score: float, seconds: float, pace: Pace, owed: int) -> Weighed:
    candidate, _, view, likely = able
    return Weighed(
        score=score,
        cost=candidate.most(seconds),
        likely=Money(likely),
        expected_seconds=pace.expected_seconds,
        error_rate=1 - soundness(view),
        in_flight=view.in_flight,
        priority=candidate.offer.priority,
        weight=candidate.offer.weight,
        owed=owed + candidate.offer.weight,
        fitted=candidate.plan is not None,
        hinted=view.hinted,
    )


def _weighed_body(weighed: Weighed) -> dict[str, Any]:
    seconds = weighed.expected_seconds
    return {
        "score": round(weighed.score, 6) if math.isfinite(weighed.score) else None,
        "cost_microusd": weighed.cost.microusd,
        "cost_usd": weighed.cost.usd,
        "likely_microusd": weighed.likely.microusd,
        "expected_seconds": None if seconds is None else round(seconds, 6),
        "error_rate": round(weighed.error_rate, 6),
        "in_flight": weighed.in_flight,
        "priority": weighed.priority,
        "weight": weighed.weight,
        "owed": weighed.owed,
        "fitted": weighed.fitted,
        "hinted": weighed.hinted,
    }
