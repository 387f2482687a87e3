"""What candidates are weighed by, against figures worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from gateway.accounting.pricing import Terms
from gateway.request import Strategy
from gateway.routing.candidates import Candidate
from gateway.routing.health import HealthView
from gateway.routing.latency import Pace
from gateway.routing.scoring import STEP, Able, best_seconds, scores, soundness
from tests.gateway.routing.offers import CLOSED, offer, price

#: Half a step: how far rounding may move a score.
NEAR = math.sqrt(STEP) - 1


def able(name: str, microusd: int = 5000, view: HealthView = CLOSED, *, priority: int = 1, weight: int = 1) -> Able:
    """Return one that may be asked."""
    candidate = Candidate(offer(name, microusd, priority=priority, weight=weight), Terms(price(name, microusd)))
    return candidate, name, view, microusd


def busy(calls: int) -> HealthView:
    """Return the view of one with that many calls under way."""
    return replace(CLOSED, in_flight=calls)


def faulty(rate: float, calls: int = 95) -> HealthView:
    """Return the view of one of whose calls that part failed."""
    return replace(CLOSED, error_rate=rate, calls=calls)


def score(strategy: Strategy, each: Able, seconds: float | None = None, owed: int = 0) -> float:
    """Return the score of one alone."""
    return scores(strategy, [each], {each[1]: Pace(seconds, 0.0)}, {each[1]: owed})[0]


def test_cheapest_is_the_cost_and_priority_the_operator_s_number() -> None:
    """Neither asks for anything else."""
    one = able("a", 1234, replace(faulty(1.0), in_flight=50), priority=7, weight=3)
    assert (1234, 7) == (score(Strategy.CHEAPEST, one, 9.0, 5), score(Strategy.PRIORITY, one, 9.0, 5))


def test_weighted_is_what_it_is_owed_with_its_weight() -> None:
    """Who is owed more is earlier, and weight 0 is last whatever it is owed."""
    assert -8 == score(Strategy.WEIGHTED, able("a", weight=3), owed=5)
    assert 4 == score(Strategy.WEIGHTED, able("a", weight=1), owed=-5)
    assert math.inf == score(Strategy.WEIGHTED, able("a", weight=0), owed=99)


@pytest.mark.parametrize(
    ("view", "seconds", "expected"),
    [
        (CLOSED, 2.0, 2.0),
        (busy(1), 2.0, 4.0),
        (busy(9), 2.0, 20.0),
        (faulty(0.5, 95), 2.0, 2 / (1 - 0.475)),
        (faulty(1.0, 95), 2.0, 20.0),
        (faulty(1.0, 1), 2.0, 2 / (1 - 1 / 6)),
        (replace(faulty(0.5, 95), in_flight=3), 0.25, 1 / (1 - 0.475)),
        (CLOSED, 0.0, 1e-6),
    ],
)
def test_fastest_is_the_time_until_an_answer(view: HealthView, seconds: float, expected: float) -> None:
    """Expected seconds, once more for each call in flight, divided by the part of its calls that answer."""
    assert pytest.approx(expected, rel=NEAR) == score(Strategy.FASTEST, able("a", 5000, view), seconds)


@pytest.mark.parametrize(
    ("microusd", "view", "seconds", "expected"),
    [
        (5000, CLOSED, 1.0, 6000.0),
        (0, CLOSED, 1.0, 1000.0),
        (0, CLOSED, 6.0, 6000.0),
        (120_000, CLOSED, 0.5, 60_500.0),
        (5000, busy(40), 1.0, 6000.0),
        (5000, faulty(0.5, 95), 1.0, 6000 / (1 - 0.475)),
    ],
)
def test_balanced_is_price_times_latency_by_soundness(
    microusd: int, view: HealthView, seconds: float, expected: float
) -> None:
    """A tenth of a cent beside the price, times the seconds, divided by the part that answers; load does not count."""
    assert pytest.approx(expected, rel=NEAR) == score(Strategy.BALANCED, able("a", microusd, view), seconds)


def test_balanced_asks_the_less_busy_one_of_those_that_cost_about_the_same() -> None:
    """Each call in flight beyond the least busy one's counts as once more; a dearer or cheaper one is no measure."""
    among = [able("a", 5000, busy(3)), able("b", 5200, busy(1)), able("c", 0, CLOSED), able("d", 0, busy(9))]
    expected = [12_000, 6_200, 1_000, 10_000]
    assert pytest.approx(expected, rel=NEAR) == scores(Strategy.BALANCED, among, {}, {})


@pytest.mark.parametrize("strategy", [Strategy.FASTEST, Strategy.BALANCED])
def test_small_differences_are_none(strategy: Strategy) -> None:
    """Two that are a hundredth apart score the same, and two that are half apart do not."""
    three = [able("a"), able("b"), able("c")]
    paces = {"a": Pace(1.0), "b": Pace(1.01), "c": Pace(1.5)}
    first, second, third = scores(strategy, three, paces, {})
    assert first == second < third


def test_calls_under_way_slow_nobody_down_who_works_on_them_together() -> None:
    """One that batches is as fast, and as good a bargain, with fifty calls under way as with none."""
    idle, full = able("a"), able("b", view=busy(50))
    offer_of = full[0].offer
    together = replace(full[0], offer=replace(offer_of, model=replace(offer_of.model, batches=True)))
    paces = {"a": Pace(1.0, 0.0), "b": Pace(1.0, 0.0)}
    for strategy in (Strategy.FASTEST, Strategy.BALANCED):
        one, other = scores(strategy, [idle, (together, *full[1:])], paces, {})
        assert one == other
        one, other = scores(strategy, [idle, full], paces, {})
        assert one < other


def test_who_is_not_known_is_expected_to_be_as_fast_as_the_fastest() -> None:
    """Or to take a second, where nobody is known or all who are known take longer."""
    three = [able("a"), able("b"), able("new")]
    for known, hoped in (({"a": 0.25, "b": 4.0}, 0.25), ({"a": 9.0, "b": 4.0}, 1.0), ({}, 1.0)):
        paces = {name: Pace(seconds) for name, seconds in known.items()}
        assert hoped == best_seconds(three, paces)
        assert pytest.approx(hoped, rel=NEAR) == scores(Strategy.FASTEST, three, paces, {})[2]


def test_soundness_grants_five_answers_and_never_despairs() -> None:
    """One failure of one call is a sixth; a thousand of a thousand are nine tenths."""
    assert 1.0 == soundness(CLOSED)
    assert pytest.approx(5 / 6) == soundness(faulty(1.0, 1))
    assert pytest.approx(0.1) == soundness(faulty(1.0, 1000))


def test_every_strategy_scores_everybody() -> None:
    """One score each, in the order given; nobody is nothing."""
    for strategy in Strategy:
        assert 3 == len(scores(strategy, [able("a"), able("b"), able("c")], {}, {}))
        assert [] == scores(strategy, [], {}, {})
