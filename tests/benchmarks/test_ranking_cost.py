"""Both sides of the ranking's benchmark order the same deployments."""

import pytest

from gateway.request import Strategy
from tests.benchmarks.ranking_cost import AIMS, DEPLOYMENTS, ours, plainly


@pytest.mark.parametrize("strategy", list(Strategy))
def test_nobody_is_lost(strategy: Strategy) -> None:
    """Each side names every deployment once, and there is an aim for each strategy."""
    assert strategy in AIMS
    assert sorted(plainly()()) == sorted(ours(strategy)())
    assert DEPLOYMENTS == len(set(plainly()()))


def test_cheapest_is_the_same_sort() -> None:
    """By price, both agree on who is first."""
    assert plainly()()[0] == ours(Strategy.CHEAPEST)()[0]
