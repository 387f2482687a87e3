"""Deadlines, on a clock wound by hand."""

from __future__ import annotations

from dataclasses import dataclass

from providers.contract import Deadline


@dataclass
class HandClock:
    """A clock that shows what it is set to, in seconds."""

    now: float = 100.0

    def __call__(self) -> float:
        """Return the time it shows."""
        return self.now


def test_a_deadline_comes_nearer_and_passes() -> None:
    """What remains shrinks with the clock, ends at zero, and has passed exactly at the moment."""
    clock = HandClock()
    deadline = Deadline.after(30, clock)
    assert (deadline.at, deadline.remaining(), deadline.passed) == (130.0, 30.0, False)
    clock.now = 129.5
    assert (deadline.remaining(), deadline.passed) == (0.5, False)
    clock.now = 130.0
    assert (deadline.remaining(), deadline.passed) == (0.0, True)
    clock.now = 200.0
    assert (deadline.remaining(), deadline.passed) == (0.0, True)


def test_a_share_is_a_fair_part_of_what_is_left() -> None:
    """With three steps to go a step may take a third of what is left now, and never less than nothing."""
    clock = HandClock()
    deadline = Deadline.after(30, clock)
    clock.now = 115.0
    assert [deadline.share(parts).at for parts in (3, 1, 0)] == [120.0, 130.0, 130.0]
    clock.now = 140.0
    assert deadline.share(3).passed


def test_sooner_is_never_later() -> None:
    """The earlier of the two moments holds."""
    clock = HandClock()
    deadline = Deadline.after(30, clock)
    assert [deadline.sooner(seconds).at for seconds in (5, 50)] == [105.0, 130.0]
