"""How many calls a deployment bears at once: what the limit learns from how they end."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway.routing.adaptive_limit import FEW_CALLS, LONGEST_ROUND_CALLS, ROUND_CALLS, SLOW_FACTOR, AdaptiveLimit
from tests.tiers import by_tier


def rounds(limit: AdaptiveLimit, count: int, seconds: float, *, in_flight: int) -> None:
    """End so many rounds of good calls."""
    for _ in range(count * min(max(limit.limit, ROUND_CALLS), LONGEST_ROUND_CALLS)):
        limit.succeeded(limit.began(in_flight), in_flight, seconds)


def test_grows_by_one_a_limit_worth_of_successes_that_reached_it() -> None:
    """Four good calls at a limit of four make it five; five that did not reach it change nothing."""
    limit = AdaptiveLimit(10)
    limit.turned_away(limit.began(6), 6)
    assert 4 == limit.limit
    for expected in (4, 4, 4, 5):
        limit.succeeded(limit.began(4), 4, 1.0)
        assert expected == limit.limit
    for _ in range(10):
        limit.succeeded(limit.began(3), 3, 1.0)
    assert 5 == limit.limit


def test_shrinks_once_a_round_trip() -> None:
    """Eight calls that are all turned away shrink the limit once; one that began afterwards shrinks it again."""
    limit = AdaptiveLimit(8)
    epochs = [limit.began(number + 1) for number in range(8)]
    for epoch in epochs:
        limit.turned_away(epoch, 8)
    assert (6, 1) == (limit.limit, limit.epoch)
    limit.turned_away(limit.began(6), 6)
    assert 4 == limit.limit


def test_shrinks_from_what_was_under_way() -> None:
    """A limit of a thousand that nobody came near shrinks to three quarters of the calls that were one too many."""
    limit = AdaptiveLimit(1000, 2)
    limit.turned_away(limit.began(20), 20)
    assert 15 == limit.limit
    limit.turned_away(limit.began(1), 1)
    assert 2 == limit.limit


def test_silence_counts_when_there_was_time_for_an_answer() -> None:
    """A call that its caller cut short says nothing; one that was given twice the usual time does."""
    limit = AdaptiveLimit(8)
    limit.unanswered(limit.began(8), 8, 60.0)
    assert 8 == limit.limit
    rounds(limit, 1, 1.0, in_flight=8)
    limit.unanswered(limit.began(8), 8, SLOW_FACTOR - 0.1)
    assert 8 == limit.limit
    limit.unanswered(limit.began(8), 8, SLOW_FACTOR)
    assert 6 == limit.limit


def test_holding_a_place_is_not_taking_long() -> None:
    """How long places are held says when the next is free, and nothing about the limit."""
    limit = AdaptiveLimit(8)
    for seconds in (3.0, 3.0, 13.0):
        limit.held(seconds)
    assert (8, 4.0, None) == (limit.limit, limit.mean_seconds, limit.usual_seconds)


def test_slow_rounds_shrink_it_until_they_are_the_usual() -> None:
    """Ten times slower for good: it shrinks, learns that this is how it is now, and grows again."""
    limit = AdaptiveLimit(40)
    rounds(limit, 3, 1.0, in_flight=40)
    limits = []
    for _ in range(30):
        rounds(limit, 1, 10.0, in_flight=limit.limit)
        limits.append(limit.limit)
    assert 30 == limits[0]
    assert limits[-1] > min(limits)
    assert limit.usual_seconds is not None
    assert limit.usual_seconds * SLOW_FACTOR >= 10.0


def test_slowness_of_few_calls_is_not_concurrency() -> None:
    """With hardly a call beside others, slow ones do not shrink it: they become the usual."""
    limit = AdaptiveLimit(40)
    rounds(limit, 1, 1.0, in_flight=FEW_CALLS)
    rounds(limit, 30, 10.0, in_flight=FEW_CALLS)
    assert 40 == limit.limit
    assert limit.usual_seconds is not None
    assert limit.usual_seconds > 9.0


@pytest.mark.parametrize(("limit", "maximum", "expected"), [(None, 20, 20), (None, 4, 4), (6, 20, 6), (6, 4, 4)])
def test_new_bounds_hold_at_once(limit: int | None, maximum: int, expected: int) -> None:
    """A limit that was not in force follows the maximum; one that was is only cut."""
    adaptive = AdaptiveLimit(10)
    if limit is not None:
        adaptive.turned_away(adaptive.began(8), 8)
        assert limit == adaptive.limit
    adaptive.bound(maximum)
    assert (expected, maximum) == (adaptive.limit, adaptive.maximum)


@dataclass(frozen=True, slots=True)
class Server:
    """Bears so many calls at once; of more it turns some away, or they take longer each."""

    slots: int
    seconds: float
    queues: bool

    def taken_for(self, busy: int, chance: random.Random) -> float | None:
        """Return how long a call takes that makes it so many; None when it is turned away."""
        if busy > self.slots and not self.queues:
            return None
        return self.seconds * chance.uniform(0.6, 1.4) * max(1.0, busy / self.slots)


def goodput(limit: AdaptiveLimit, server: Server, chance: random.Random, calls: int) -> tuple[float, float, int]:
    """
    Have more to ask than it bears, for so many calls.

    Returns:
        The successes a second and the mean limit over the second half, and the most calls that were under way.
    """
    now, in_flight, most, busy, good, limits = 0.0, 0, 0, 0, 0, 0
    ends: list[tuple[float, int, int, int, float | None]] = []
    half = 0.0
    for number in range(calls):
        while in_flight < limit.limit:
            in_flight += 1
            epoch, taken = limit.began(in_flight), server.taken_for(busy + 1, chance)
            busy += taken is not None
            heapq.heappush(
                ends, (now + (0.05 * server.seconds if taken is None else taken), number, epoch, in_flight, taken)
            )
        assert 1 <= limit.limit <= limit.maximum
        most = max(most, in_flight)
        now, _, epoch, beside, taken = heapq.heappop(ends)
        in_flight -= 1
        if taken is None:
            limit.turned_away(epoch, beside)
        else:
            busy -= 1
            limit.succeeded(epoch, beside, taken)
        if number == calls // 2:
            half = now
        if number > calls // 2:
            good += taken is not None
            limits += limit.limit
    return good / (now - half), limits / (calls - calls // 2), most


@by_tier(fast=50, slow=450)
@pytest.mark.parametrize("queues", [False, True])
def test_finds_what_a_server_bears(seeds: Iterator[int], *, queues: bool) -> None:
    """Whatever it bears: at least 80 % of what the server can do is done, with a limit near what it bears."""
    for seed in seeds:
        chance = random.Random(seed)
        server = Server(chance.randint(5, 40), chance.uniform(0.05, 5.0), queues)
        limit = AdaptiveLimit(chance.randint(server.slots, 10 * server.slots))
        done, mean_limit, most = goodput(limit, server, chance, 2000)
        possible = server.slots / server.seconds
        assert done >= 0.8 * possible, f"seed {seed}: {done:.2f} of {possible:.2f} a second"
        # One that turns calls away shows where its end is; one that queues, at twice the usual time, which is noisy.
        high = 1.2 if not queues else SLOW_FACTOR * 1.5
        assert 0.7 * server.slots <= mean_limit <= high * server.slots, f"seed {seed}: {mean_limit} for {server}"
        assert most <= limit.maximum, f"seed {seed}"
