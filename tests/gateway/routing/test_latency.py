"""How fast deployments were lately, under a clock that is wound by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.latency import DECAY_SECONDS, FEWEST_ANSWERS, KEPT_ANSWERS, UNKNOWN, Latency, LatencyTable


@dataclass
class Wound:
    """A clock that is wound by hand."""

    now: float = 50.0

    def __call__(self) -> float:
        """Return the seconds it shows."""
        return self.now


@pytest.fixture
def clock() -> Wound:
    """A clock at some moment."""
    return Wound()


@pytest.fixture
def latency(clock: Wound) -> Latency:
    """A history without entries."""
    return Latency(clock)


def expected(latency: Latency) -> float:
    """Return what an answer is expected to take."""
    seconds = latency.pace().expected_seconds
    assert seconds is not None
    return seconds


def answer(latency: Latency, clock: Wound, *seconds: float, every: float = 1.0) -> None:
    """Note answers, one after another."""
    for each in seconds:
        clock.now += every
        latency.note(each, ok=True)


def test_nothing_is_known_at_first(latency: Latency) -> None:
    """There is no expectation, and it has been idle for ever."""
    assert UNKNOWN == latency.pace()
    assert math.inf == UNKNOWN.idle_seconds
    assert latency.p95_seconds() is None


def test_the_first_answer_is_what_is_expected(latency: Latency, clock: Wound) -> None:
    """Nothing is assumed beside it."""
    answer(latency, clock, 0.7)
    assert pytest.approx(0.7) == expected(latency)


def test_a_slower_answer_is_believed_at_once(latency: Latency, clock: Wound) -> None:
    """One peak after a hundred quick answers is what is expected next."""
    answer(latency, clock, *[0.1] * 100, 4.0, every=0.01)
    assert pytest.approx(4.0) == expected(latency)


def test_a_peak_sinks_to_what_is_usual_while_nothing_is_heard(latency: Latency, clock: Wound) -> None:
    """After one time constant 1/e of it is left above the usual, and after ten nothing."""
    answer(latency, clock, *[0.1] * 100, 4.0, every=0.01)
    clock.now += 1000
    usual = expected(latency)
    assert 0.1 < usual < 0.4
    clock.now -= 1000 - DECAY_SECONDS
    assert pytest.approx(usual + (4.0 - usual) / math.e) == expected(latency)


def test_what_was_slow_stays_slow_while_nothing_is_heard(latency: Latency, clock: Wound) -> None:
    """Time alone is no recovery: somebody has to ask."""
    answer(latency, clock, *[5.0] * 30)
    clock.now += 3600
    assert pytest.approx(5.0) == expected(latency)


def test_a_quick_answer_after_a_pause_is_believed(latency: Latency, clock: Wound) -> None:
    """After three of them, two time constants apart, it is expected to be quick again."""
    answer(latency, clock, *[5.0] * 30)
    answer(latency, clock, 0.5, 0.5, 0.5, every=2 * DECAY_SECONDS)
    assert expected(latency) < 0.6


def test_many_answers_in_a_moment_count_as_much_as_time(latency: Latency, clock: Wound) -> None:
    """A hundred quick answers within a second make what is usual, so that the peak sinks to them."""
    answer(latency, clock, *[5.0] * 30)
    answer(latency, clock, *[0.5] * 100, every=0.01)
    clock.now += 10 * DECAY_SECONDS
    assert expected(latency) < 0.6


def test_a_quick_failure_makes_nobody_fast(latency: Latency, clock: Wound) -> None:
    """What refuses connections within a millisecond is as slow as it was, and is not idle."""
    latency.note(0.001, ok=False)
    assert latency.pace().expected_seconds is None
    answer(latency, clock, 2.0)
    clock.now += 9
    latency.note(0.001, ok=False)
    assert pytest.approx(2.0) == expected(latency)
    assert 0.0 == latency.pace().idle_seconds


def test_a_slow_failure_makes_slow(latency: Latency, clock: Wound) -> None:
    """What does not answer for half a minute is expected to do so again, and is no answer for the percentile."""
    answer(latency, clock, *[0.1] * 30)
    latency.note(30.0, ok=False)
    assert pytest.approx(30.0) == expected(latency)
    assert 0.1 == latency.p95_seconds()


def test_idle_counts_from_the_end_of_the_last_call(latency: Latency, clock: Wound) -> None:
    """Whether it brought an answer or not."""
    answer(latency, clock, 1.0)
    clock.now += 7
    assert 7.0 == latency.pace().idle_seconds
    latency.note(1.0, ok=False)
    clock.now += 2
    assert 2.0 == latency.pace().idle_seconds


def test_the_percentile_is_of_the_last_answers_alone(latency: Latency, clock: Wound) -> None:
    """It needs twenty, keeps 128, and forgets what is older than five minutes."""
    answer(latency, clock, *[1.0] * (FEWEST_ANSWERS - 1))
    assert latency.p95_seconds() is None
    answer(latency, clock, 9.0)
    assert 1.0 == latency.p95_seconds()  # the 19th of 20
    answer(latency, clock, *(float(seconds) for seconds in range(1, 1001)), every=0.001)
    kept = sorted(range(1001 - KEPT_ANSWERS, 1001))
    assert kept[math.ceil(0.95 * KEPT_ANSWERS) - 1] == latency.p95_seconds()
    clock.now += 300.0
    assert latency.p95_seconds() is None


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 100), st.booleans()), max_size=60))
def test_what_is_expected_is_within_what_was_seen(calls: list[tuple[float, float, bool]]) -> None:
    """However calls end, the expectation lies between the fastest answer and the slowest call, at every moment."""
    clock = Wound()
    latency = Latency(clock)
    answers: list[float] = []
    for pause, seconds, ok in calls:
        clock.now += pause
        latency.note(seconds, ok=ok)
        answers += [seconds] if ok or answers else []
        pace = latency.pace()
        assert (pace.expected_seconds is None) == (not answers)
        if pace.expected_seconds is not None:
            assert min(answers) - 1e-9 <= pace.expected_seconds <= max(answers) + 1e-9


def test_the_table_keeps_deployments_apart(clock: Wound) -> None:
    """What one does says nothing of another, and who is not asked for is not in the answer."""
    table = LatencyTable(["a", "b", "c"], clock)
    table["a"].note(1.0, ok=True)
    paces = table.paces(["a", "b"])
    assert (1.0, None) == (paces["a"].expected_seconds, paces["b"].expected_seconds)
    assert {"a", "b"} == paces.keys()


def test_a_renewed_table_shares_what_stays(clock: Wound) -> None:
    """The history of one that stays is the same one; of one that begins afresh, and of a new one, it is empty."""
    table = LatencyTable(["a", "b", "c"], clock)
    renewed = table.renewed(["a", "b", "d"], afresh=["b"])
    assert table["a"] is renewed["a"]
    assert table["b"] is not renewed["b"]
    assert UNKNOWN == renewed["d"].pace()
    with pytest.raises(KeyError):
        renewed["c"].pace()
