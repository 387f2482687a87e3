"""A sum over the last so many seconds."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from gateway.routing.recent import RecentSum


@dataclass
class Hand:
    """A clock that is wound by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return monotonic seconds."""
        return self.now


def test_what_was_added_counts_for_the_whole_span() -> None:
    """It is forgotten one part later at the latest."""
    clock = Hand()
    recent = RecentSum(clock, seconds=60, parts=12)
    recent.add(7)
    clock.now += 60
    assert 7 == recent.total
    clock.now += 5.001
    assert 0 == recent.total


@pytest.mark.parametrize("seed", range(20))
def test_it_is_never_less_than_what_was_added_within_the_span(seed: int) -> None:
    """Nor more than what was added within the span and one part."""
    chance, clock = random.Random(seed), Hand()
    recent = RecentSum(clock, seconds=60, parts=12)
    added: list[tuple[float, int]] = []
    for _ in range(300):
        clock.now += chance.expovariate(1.0)
        amount = chance.randrange(10)
        recent.add(amount)
        added.append((clock.now, amount))
        least = sum(amount for at, amount in added if at > clock.now - 60)
        most = sum(amount for at, amount in added if at >= clock.now - 66)
        assert least <= recent.total <= most
