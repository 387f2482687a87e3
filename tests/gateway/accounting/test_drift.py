"""When a provider bills other than it publishes."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.drift import FEWEST_CALLS, WINDOW_SECONDS, Drift, DriftWatch
from providers.contract import Money


class Watching:
    """A watch, its time, and what it has told."""

    def __init__(self, percent: str | None = "5") -> None:
        """Begin at an odd moment."""
        self.now = 12_345.6
        self.told: list[Drift] = []
        alarm = None if percent is None else Fraction(percent)
        self.watch = DriftWatch(alarm, clock=lambda: self.now, told=self.told.append)

    def note(self, reported: int, *, listed: int = 5000, times: int = 1, deployment: str = "eu") -> None:
        """Note the same call several times."""
        for _ in range(times):
            self.watch.note(deployment, reported=Money(reported), listed=Money(listed))


def test_an_alarm_is_told_once_and_its_end_once() -> None:
    """A provider that raised its price is told of with its fifth call; once the hour is clean again, that is told."""
    watching = Watching()
    watching.note(120_000, times=FEWEST_CALLS - 1)
    assert [] == watching.told
    watching.note(120_000, times=20)
    calls = FEWEST_CALLS
    assert [Drift("eu", calls, Money(120_000 * calls), Money(5000 * calls), alarmed=True)] == watching.told
    assert 2300.0 == watching.told[0].percent
    watching.now += WINDOW_SECONDS
    watching.note(5000, times=20)
    assert [True, False] == [drift.alarmed for drift in watching.told]
    assert Money(5000 * calls) == watching.told[1].reported


@pytest.mark.parametrize(("reported", "alarmed"), [(5250, False), (5251, True), (4750, False), (4749, True)])
def test_the_limit_itself_is_well(reported: int, alarmed: bool) -> None:  # noqa: FBT001 - a table's column
    """Five percent more and five percent less are tolerated, a micro-dollar beyond is not."""
    watching = Watching()
    watching.note(reported, times=FEWEST_CALLS)
    assert alarmed is bool(watching.told)


def test_deployments_are_watched_apart() -> None:
    """The one that drifts is the one that is told of."""
    watching = Watching()
    for _ in range(FEWEST_CALLS):
        watching.note(6000, deployment="us")
        watching.note(5000, deployment="eu")
    assert ["us"] == [drift.deployment for drift in watching.told]


def test_what_should_cost_nothing_and_does_is_told() -> None:
    """A list price of nothing tolerates nothing, and has no percentage."""
    watching = Watching()
    watching.note(1, listed=0, times=FEWEST_CALLS)
    assert [(True, None)] == [(drift.alarmed, drift.percent) for drift in watching.told]


def test_without_a_limit_nothing_is_told() -> None:
    """An operator may switch the alarm off."""
    watching = Watching(percent=None)
    watching.note(10**9, times=100)
    assert [] == watching.told


@given(st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 10_000)), max_size=60))
def test_the_window_agrees_with_adding_up(calls: list[tuple[int, int]]) -> None:
    """After any calls at any pace, the alarm is what the calls of the last sixty minutes, added up, say."""
    watching, seen, alarmed = Watching(), [], False
    for pause, reported in calls:
        watching.now += pause
        watching.note(reported)
        seen.append((int(watching.now // 60), reported))
        within = [figure for minute, figure in seen if minute > seen[-1][0] - 60]
        if len(within) >= FEWEST_CALLS:
            listed = 5000 * len(within)
            alarmed = abs(sum(within) - listed) * 100 > 5 * listed
        told = bool(watching.told and watching.told[-1].alarmed)
        assert alarmed is told
    assert all(one.alarmed is not other.alarmed for one, other in zip(watching.told, watching.told[1:], strict=False))
