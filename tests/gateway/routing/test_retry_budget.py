"""How many further calls a gateway may make."""

from __future__ import annotations

from gateway.routing.retry_budget import RetryBudget
from tests.gateway.routing.test_recent import Hand


def spend(budget: RetryBudget, most: int = 1000) -> int:
    """Make further calls in vain until none is allowed, and return how many those were."""
    for made in range(most):
        if not budget.allows():
            return made
        budget.in_vain()
    return most


def test_a_gateway_that_was_asked_nothing_has_three() -> None:
    """Those that a gateway with little to do needs."""
    assert 3 == spend(RetryBudget(Hand()))


def test_five_questions_bring_one_more() -> None:
    """A fifth of the questions, and three."""
    budget = RetryBudget(Hand())
    for _ in range(100):
        budget.asked()
    assert 23 == spend(budget)


def test_one_that_brings_the_answer_costs_nothing() -> None:
    """Going on from a dead deployment to one that answers never runs out."""
    budget = RetryBudget(Hand(), at_least=1)
    assert all(budget.allows() for _ in range(50))
    budget.in_vain()
    assert not budget.allows()


def test_they_are_forgotten_after_a_minute() -> None:
    """What was spent counts for its span, and so do the questions."""
    clock = Hand()
    budget = RetryBudget(clock)
    for _ in range(10):
        budget.asked()
    assert 5 == spend(budget)
    clock.now += 66
    assert 3 == spend(budget)


def test_none_at_all_can_be_asked_for() -> None:
    """No share and no floor: nobody is asked again in doubt."""
    budget = RetryBudget(Hand(), percent=0, at_least=0)
    budget.asked()
    assert not budget.allows()


def test_a_minute_in_which_nobody_answers_costs_a_fifth_more_and_three() -> None:
    """However many further calls are wanted, and however the questions come."""
    clock = Hand()
    budget = RetryBudget(clock)
    questions = calls = 0
    while clock.now < 1060:
        clock.now += 0.01
        budget.asked()
        questions += 1
        calls += 1 + spend(budget, 2)
        assert calls <= 1.2 * questions + 3
