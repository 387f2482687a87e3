"""
What candidates are ordered by under each strategy: smaller is asked earlier. Pure.

    cheapest   what a call is likely to cost: its price; by the second, times what its calls took lately
    fastest    expected seconds x (calls in flight + 1) / (1 - error rate): the time until one of its calls answers,
               where each call in flight slows the next one down by as much as it takes itself; where questions are
               worked on together, none does
    balanced   (what a call is likely to cost + $0.001) x expected seconds x crowding / (1 - error rate): half the time
               is worth twice the money. The tenth of a cent is what a second is worth where the call itself is free.
               Crowding is the calls in flight + 1, divided by those of the least busy that costs about the same: of
               like regions the less busy one is asked, and a busy deployment that stays fast is no reason to pay more
    priority   the operator's number
    weighted   what it is owed, its weight for this round included: see `fairness`. Weight 0 comes last

The scores of `fastest` and `balanced` are rounded to powers of 1.25: less of a difference is the weather's, and neither
worth more money nor a reason to leave one of two like deployments without traffic.

Ties go to the cheaper, then to the one that takes the picture as it is, then to the lower priority, then to chance.

The expected seconds of one that nobody knows are those of the fastest that is known, or one second: whoever is new is
tried soon, and the calls in flight keep it from being flooded. A rate of errors counts as 0.9 at most.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from gateway.request import Strategy
from gateway.routing.candidates import HOPED_SECONDS, Candidate
from gateway.routing.health import HealthView
from gateway.routing.latency import UNKNOWN, Pace

#: The strategies that ask how fast a deployment is, and so explore.
TIMED = frozenset({Strategy.FASTEST, Strategy.BALANCED})

#: What a call counts as in `balanced` beside what it costs, in micro-dollars.
BESIDE_MICROUSD = 1000

MOST_ERRORS = 0.9

#: Scores of `fastest` and `balanced` are rounded to powers of this.
STEP = 1.25
_LOG_STEP = math.log(STEP)
LEAST_SCORE = 1e-6

#: As many good answers as these are taken for granted, so that a first failure is no rate of one.
GRANTED_ANSWERS = 5

Able = tuple[Candidate, str, HealthView, int]
"""Who may be asked now: the candidate, its name, its health, and what a call is likely to cost in micro-dollars."""


def scores(strategy: Strategy, able: Sequence[Able], paces: Mapping[str, Pace], owed: Mapping[str, int]) -> list[float]:
    """
    Return what *strategy* weighs first of each, in the strategy's own unit; smaller is asked earlier.

    Args:
        strategy: how to weigh.
        able: whom.
        paces: how fast they were lately, by name; nothing is known of who is not in it.
        owed: whose turn it is under `weighted`, by name; who is not in it is owed nothing.
    """
    match strategy:
        case Strategy.CHEAPEST:
            return [cost for _, _, _, cost in able]
        case Strategy.PRIORITY:
            return [candidate.offer.priority for candidate, _, _, _ in able]
        case Strategy.WEIGHTED:
            return [_last_or(-owed.get(name, 0), candidate.offer.weight) for candidate, name, _, _ in able]
        case Strategy.FASTEST:
            seconds = _seconds(able, paces)
            return [
                _rounded(taken * (_in_the_way(each) + 1) / soundness(each[2]))
                for each, taken in zip(able, seconds, strict=True)
            ]
        case Strategy.BALANCED:
            seconds = _seconds(able, paces)
            return [
                _rounded((cost + BESIDE_MICROUSD) * taken * crowding / soundness(view))
                for (_, _, view, cost), taken, crowding in zip(able, seconds, _crowding(able), strict=True)
            ]


def best_seconds(able: Sequence[Able], paces: Mapping[str, Pace]) -> float:
    """Return what an answer of the fastest takes that is known; where all are slow, what one may be hoped to take."""
    return _best(_known(able, paces))


def soundness(view: HealthView) -> float:
    """Return the part of its calls that are expected to answer, in [0.1, 1]."""
    errors = view.error_rate * view.calls / (view.calls + GRANTED_ANSWERS)
    return 1 - min(errors, MOST_ERRORS)


def _in_the_way(able: Able) -> int:
    """Return how many calls under way slow the next one down."""
    return 0 if able[0].offer.model.batches else able[2].in_flight


def _crowding(able: Sequence[Able]) -> list[float]:
    """Return how much busier each is than the least busy one that costs the same within a step."""
    least: dict[int, int] = {}
    for each in able:
        busy_with, cost = _in_the_way(each), each[3]
        least[cost] = min(busy_with, least.get(cost, busy_with))
    costs = sorted(least)
    busy = [least[cost] for cost in costs]
    like: dict[int, int] = {}
    for cost in costs:
        weighed = cost + BESIDE_MICROUSD
        first = bisect_left(costs, weighed / STEP - BESIDE_MICROUSD)
        like[cost] = min(busy[first : bisect_right(costs, weighed * STEP - BESIDE_MICROUSD)])
    return [(_in_the_way(each) + 1) / (like[each[3]] + 1) for each in able]


def _seconds(able: Sequence[Able], paces: Mapping[str, Pace]) -> list[float]:
    """Return the expected seconds of each; the best that are known for who is not."""
    known = _known(able, paces)
    best = _best(known)
    return [best if seconds is None else seconds for seconds in known]


def _known(able: Sequence[Able], paces: Mapping[str, Pace]) -> list[float | None]:
    return [paces.get(name, UNKNOWN).expected_seconds for _, name, _, _ in able]


def _best(known: Sequence[float | None]) -> float:
    return min(seconds for seconds in (*known, HOPED_SECONDS) if seconds is not None)


def _rounded(score: float) -> float:
    """Return the power of `STEP` that is nearest."""
    return STEP ** round(math.log(max(score, LEAST_SCORE)) / _LOG_STEP)


def _last_or(score: int, weight: int) -> float:
    return score - weight if weight else math.inf
