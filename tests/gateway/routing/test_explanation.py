"""What is said of an order: every deployment, its place or why it has none, and what it was weighed by."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from gateway.request import Route, Strategy
from gateway.routing.explanation import Explained, explanation, explanation_body
from gateway.routing.latency import Pace
from gateway.routing.ranking import rank
from gateway.routing.scoring import STEP
from providers.contract import Money
from tests.gateway.routing.offers import CLOSED, TEXT_ONLY, limited, offer, opened, question, screen

OFFERS = [
    offer("eu", 5000, weight=3),
    offer("us", 6000, region="us", priority=4),
    offer("fitted", 6000, capabilities=limited(max_side=500)),
    offer("dear", 120_000),
    offer("down", 1000),
    offer("elsewhere", 1000, provider="prodia"),
    offer("unpriced", None, capabilities=TEXT_ONLY),
]
VIEWS = dict.fromkeys((each.name for each in OFFERS), CLOSED) | {
    "eu": replace(CLOSED, in_flight=2, error_rate=0.5, calls=95),
    "us": replace(CLOSED, hinted=True),
    "down": opened(12.5, "503 from the provider"),
}
PACES = {"eu": Pace(0.8, 1.0), "us": Pace(2.0, 30.0)}
ROUTE = Route(providers=frozenset({"runflow"}), max_charge=Money(100_000))


def explain(strategy: Strategy = Strategy.CHEAPEST, owed: dict[str, int] | None = None) -> dict[str, Explained]:
    """Rank, and explain that by name, in the order of the explanation."""
    route = replace(ROUTE, strategy=strategy)
    screening = screen(question(), route, OFFERS)
    candidates, out = rank(screening, route, VIEWS, seconds=60, paces=PACES, owed=owed or {})
    explained = explanation(screening, candidates, out, strategy, VIEWS, seconds=60, paces=PACES, owed=owed or {})
    return {each.deployment: each for each in explained}


@pytest.mark.parametrize("strategy", list(Strategy))
def test_everybody_is_in_it_once(strategy: Strategy) -> None:
    """Who is asked, in that order; then who cannot be now, then who could not at all; each with a place or a reason."""
    explained = explain(strategy)
    assert {each.name for each in OFFERS} == explained.keys()
    assert [1, 2, 3, None, None, None, None] == [each.rank for each in explained.values()]
    assert all((each.rank is None) == (each.exclusion is not None) for each in explained.values())
    reasons = {name: each.exclusion.reason.value for name, each in explained.items() if each.exclusion}
    assert reasons == {
        "dear": "above_max_charge",
        "down": "unavailable",
        "elsewhere": "not_wanted",
        "unpriced": "no_price",
    }


def test_the_terms_are_those_that_it_was_weighed_by() -> None:
    """Cost, seconds, errors, load, the operator's numbers, and whether the picture is changed or a hint is out."""
    eu, us, fitted = (explain(owed={"eu": -2})[name].weighed for name in ("eu", "us", "fitted"))
    assert eu is not None
    assert us is not None
    assert fitted is not None
    assert (5000.0, Money(5000), 0.8, 2, 1, 3, 1) == (
        eu.score,
        eu.cost,
        eu.expected_seconds,
        eu.in_flight,
        eu.priority,
        eu.weight,
        eu.owed,
    )
    assert pytest.approx(0.475) == eu.error_rate
    assert (True, False, 4) == (us.hinted, us.fitted, us.priority)
    assert (False, True, None) == (fitted.hinted, fitted.fitted, fitted.expected_seconds)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_the_score_is_what_they_are_sorted_by(strategy: Strategy) -> None:
    """Among those whom no hint puts last, no score is below the one before it."""
    explained = explain(strategy, owed={"eu": -2, "fitted": 2})
    scores = [each.weighed.score for each in explained.values() if each.rank and each.weighed and each.weighed.hinted]
    plain = [
        each.weighed.score for each in explained.values() if each.rank and each.weighed and not each.weighed.hinted
    ]
    assert (1, 2) == (len(scores), len(plain))
    assert sorted(plain) == plain


def test_who_is_out_for_now_is_weighed_too_and_who_could_not_answer_is_not() -> None:
    """The reader sees that the one that is down would have been the cheapest."""
    explained = explain()
    down, elsewhere = explained["down"], explained["elsewhere"]
    assert down.weighed is not None
    assert 1000.0 == down.weighed.score
    assert elsewhere.weighed is None


def test_those_who_are_in_are_weighed_as_they_were_ranked() -> None:
    """The speed of one that is out lends nothing to one that nobody knows."""
    offers = [offer("new"), offer("down")]
    route, views = Route(Strategy.FASTEST), {"new": CLOSED, "down": opened(3.0)}
    screening, paces = screen(question(), route, offers), {"down": Pace(0.01, 1.0)}
    candidates, out = rank(screening, route, views, seconds=60, paces=paces)
    new, _ = explanation(screening, candidates, out, route.strategy, views, seconds=60, paces=paces, owed={})
    assert new.weighed is not None
    assert pytest.approx(1.0, rel=STEP - 1) == new.weighed.score


def test_exploration_is_said() -> None:
    """Whoever is first to find out how it does is named as such, since its score does not say it."""
    offers, route = [offer("quick"), offer("slow")], Route(Strategy.FASTEST)
    screening, paces = screen(question(), route, offers), {"quick": Pace(0.1, 0.0), "slow": Pace(9.0, 50.0)}
    views, chance = dict.fromkeys(("quick", "slow"), CLOSED), random.Random(4)
    said = set()
    for _ in range(200):
        candidates, out = rank(screening, route, views, seconds=60, paces=paces, chance=chance)
        first, second = explanation(screening, candidates, out, route.strategy, views, seconds=60, paces=paces, owed={})
        said.add((first.deployment, first.explored, second.explored))
    assert {("quick", False, False), ("slow", True, False)} == said


def test_its_json_is_json() -> None:
    """Money as whole micro-dollars and as dollars, seconds to the microsecond, and nothing infinite."""
    offers, route = [offer("a", weight=0), offer("b")], Route(Strategy.WEIGHTED)
    screening, views = screen(question(), route, offers), {"a": CLOSED, "b": opened(2.5, "no connection")}
    candidates, out = rank(screening, route, views, seconds=60)
    paces = {"a": Pace(1.23456789, 0.0)}
    explained = explanation(screening, candidates, out, route.strategy, views, seconds=60, paces=paces, owed={"b": 2})
    body: list[dict[str, Any]] = json.loads(json.dumps(explanation_body(explained), allow_nan=False))
    weighed = {
        "cost_microusd": 5000,
        "cost_usd": "0.005000",
        "likely_microusd": 5000,
        "error_rate": 0.0,
        "in_flight": 0,
        "priority": 1,
        "fitted": False,
        "hinted": False,
    }
    assert body == [
        {
            "deployment": "a",
            "rank": 1,
            "state": "closed",
            "explored": False,
            "reason": None,
            "detail": None,
            "retry_after_seconds": None,
            "weighed": weighed | {"score": None, "expected_seconds": 1.234568, "weight": 0, "owed": 0},
        },
        {
            "deployment": "b",
            "rank": None,
            "state": "open",
            "explored": False,
            "reason": "unavailable",
            "detail": "no connection",
            "retry_after_seconds": 2.5,
            "weighed": weighed | {"score": -3, "expected_seconds": None, "weight": 1, "owed": 3},
        },
    ]
