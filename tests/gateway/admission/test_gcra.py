"""The GCRA in whole numbers, against a bucket that is filled drop by drop in fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.admission.gcra import MOST, NANOSECONDS, Rule

RATES = st.fractions(min_value=Fraction(1, 5000), max_value=5000, max_denominator=10**6)
STEPS = st.lists(
    st.tuples(st.one_of(st.integers(0, 10), st.integers(0, 2 * NANOSECONDS)), st.integers(1, 5)), max_size=60
)


class Bucket:
    """A token bucket in exact fractions: what GCRA is known to equal."""

    def __init__(self, rate: Fraction, burst: int) -> None:
        """Begin full."""
        self.rate, self.burst, self.level, self.at = rate, burst, Fraction(burst), 0

    def fill(self, now: int) -> None:
        """Let what has come since the last time in."""
        self.level = min(Fraction(self.burst), self.level + self.rate * (now - self.at) / NANOSECONDS)
        self.at = now

    def take(self, tokens: int) -> bool:
        """Take tokens, all or none."""
        if tokens > self.level:
            return False
        self.level -= tokens
        return True


@settings(max_examples=300, deadline=None)
@given(rate=RATES, burst=st.integers(1, 8), start=st.integers(0, 10**18), steps=STEPS)
def test_it_decides_as_a_bucket_of_fractions(
    rate: Fraction, burst: int, start: int, steps: list[tuple[int, int]]
) -> None:
    """Whatever comes when, the same is admitted, the same is left, and the waits told are exact to the nanosecond."""
    rule, bucket, tat, now = Rule(rate, burst), Bucket(rate, burst), 0, start
    assert rate == rule.rate
    bucket.at = start
    for pause, wanted in steps:
        now += pause
        tokens = min(wanted, burst)
        bucket.fill(now)
        missing = max(Fraction(0), tokens - bucket.level) * NANOSECONDS / rate
        assert -(-missing.numerator // missing.denominator) == rule.wait(tat, now, tokens)
        after = rule.take(tat, now, tokens)
        assert bucket.take(tokens) == (after is not None)
        tat = tat if after is None else after
        assert bucket.level // 1 == rule.remaining(tat, now)
        more = rule.until_more(tat, now)
        assert (more == 0) == (bucket.level == burst)
        if more:
            assert rule.remaining(tat, now) == rule.remaining(tat, now + more - 1) < rule.remaining(tat, now + more)


@settings(max_examples=100, deadline=None)
@given(rate=st.integers(1, 200), burst=st.integers(1, 30), gaps=st.lists(st.integers(0, 10**8), max_size=300))
def test_no_window_holds_more_than_burst_and_rate(rate: int, burst: int, gaps: list[int]) -> None:
    """In every window of t seconds at most burst + rate * t requests are admitted."""
    rule, tat, now, admitted = Rule(Fraction(rate), burst), 0, 0, []
    for gap in gaps:
        now += gap
        after = rule.take(tat, now)
        if after is not None:
            tat = after
            admitted.append(now)
    for first, begin in enumerate(admitted):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= burst + Fraction(rate * (admitted[last] - begin), NANOSECONDS)


def test_at_the_full_rate_nothing_is_lost() -> None:
    """A third of a request a second: after the burst one every three seconds, to the nanosecond, a thousand times."""
    rule, tat, now = Rule(Fraction(1, 3), 2), 0, 7
    for _ in range(2):
        after = rule.take(tat, now)
        assert after is not None
        tat = after
    for _ in range(1000):
        assert rule.take(tat, now + 3 * NANOSECONDS - 1) is None
        now += 3 * NANOSECONDS
        after = rule.take(tat, now)
        assert after is not None
        tat = after


def test_a_clock_that_was_set_back_locks_nobody_out() -> None:
    """A TAT far ahead is as good as an empty bucket: the wait is one step, never the whole difference."""
    rule = Rule(Fraction(10), 5)
    assert NANOSECONDS // 10 == rule.wait(10**30, 1000)
    assert 0 == rule.remaining(10**30, 1000)


@given(rate=RATES, other=RATES, burst=st.integers(1, 50), ahead=st.integers(0, 10**12))
def test_what_is_used_up_stays_so_under_another_rule(rate: Fraction, other: Fraction, burst: int, ahead: int) -> None:
    """A TAT keeps its moment to less than a nanosecond when the limit is changed."""
    old, new = Rule(rate, burst), Rule(other, burst)
    moved = new.rescaled(ahead * old.ticks, old)
    assert ahead * new.ticks == moved


@given(rate=st.fractions(min_value=Fraction(1, 1000), max_value=10**6), burst=st.integers(1, 10**6))
def test_every_number_fits_into_those_of_redis(rate: Fraction, burst: int) -> None:
    """The microseconds' numerator stays below 2^53, and the rate is off by less than one in a thousand."""
    rule = Rule(rate, burst)
    assert rule.rate.denominator * burst * 10**6 < 2**53
    assert rule.rate.denominator * burst <= MOST
    assert abs(rule.rate - rate) <= rate / 1000


@pytest.mark.parametrize(
    ("rate", "burst", "says"),
    [(Fraction(0), 1, "requests_per_second is 0"), (Fraction(-1), 1, "above 0"), (Fraction(1), 0, "burst is 0")],
)
def test_what_is_no_limit_is_refused(rate: Fraction, burst: int, says: str) -> None:
    """No rate and no burst are told by name, with the value."""
    with pytest.raises(ValueError, match=says):
        Rule(rate, burst)
