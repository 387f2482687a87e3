"""The load is open: what is due is asked, answers or not, and lateness counts as latency."""

import asyncio

import pytest

from tests.benchmarks.steady import Told, offsets, percentile, steadily


class Winding:
    """A clock that moves only when somebody sleeps by it."""

    def __init__(self) -> None:
        """Begin at a moment that is not nought."""
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the moment."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let others run, and move on."""
        until = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, until)


async def test_requests_are_asked_at_their_moments_although_none_is_answered() -> None:
    """Nobody waits for an answer before the next request: all are asked, and only then does the first one end."""
    clock, asked, answered = Winding(), [], asyncio.Event()

    async def ask(number: int) -> int:
        asked.append((number, round(clock(), 6)))
        if len(asked) == 4:
            answered.set()
        await answered.wait()
        return number

    told = await steadily(ask, 100, 0.04, clock=clock, sleep=clock.sleep)

    assert [0, 1, 2, 3] == [each.answer for each in told]
    assert [(number, round(1000 + number / 100, 6)) for number in range(4)] == asked


async def test_a_load_that_is_late_catches_up_and_counts_it_as_latency() -> None:
    """Where the asking process stood still, requests keep the moments at which they were due."""
    clock = Winding()

    async def ask(number: int) -> int:
        if number == 0:
            clock.now += 1.0  # nothing else runs meanwhile
        return number

    told = await steadily(ask, 10, 0.5, clock=clock, sleep=clock.sleep)

    assert [1000.0, 1000.1, 1000.2, 1000.3, 1000.4] == pytest.approx([each.due for each in told])
    assert [1.0, 0.9, 0.8, 0.7, 0.6] == pytest.approx([each.latency for each in told])


def test_the_first_is_due_at_once_and_the_last_within_the_time() -> None:
    """As many fall due as the rate says, evenly, and none at the very end."""
    assert [0.0, 0.25, 0.5, 0.75] == offsets(4, 1.0)
    assert [] == offsets(4, 0.0)
    assert 250 == len(offsets(100, 2.5))


def test_a_percentile_is_one_of_the_figures() -> None:
    """The nearest rank: of a hundred figures the 99th, of few the largest."""
    hundred = [float(figure) for figure in range(100, 0, -1)]

    assert 99.0 == percentile(hundred, 99)
    assert 50.0 == percentile(hundred, 50)
    assert 3.0 == percentile([3.0, 1.0], 99)
    assert 1.0 == percentile([3.0, 1.0], 0)
    with pytest.raises(ValueError, match="no figures"):
        percentile([], 50)


def test_latency_counts_from_when_a_request_was_due() -> None:
    """What a request waited for before it was asked is part of its latency."""
    assert 3.0 == Told(due=1.0, asked=2.0, ended=4.0, answer=None).latency
