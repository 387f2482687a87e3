"""How many requests a process takes at once while its loop is late, and when the others may come back."""

from __future__ import annotations

import random

import pytest

from gateway.admission.shedding import LATE_SECONDS, TICKS, DrainRate, Shedding

LATE, IN_TIME = 2 * LATE_SECONDS, LATE_SECONDS / 2


def ticks(shedding: Shedding, *late: float) -> int:
    """Note how late the loop was at each tick; return the limit after them."""
    for seconds in late:
        shedding.tick(seconds)
    return shedding.limit


def test_standing_lateness_shrinks_the_limit_and_punctuality_restores_it() -> None:
    """A quarter less after each interval that was late throughout, down to a sixteenth; then up again, whole in 5 s."""
    shedding = Shedding(4096)
    assert [3072, 2304, 1728] == [ticks(shedding, *[LATE] * TICKS) for _ in range(3)]
    assert 256 == ticks(shedding, *[LATE] * TICKS * 20) == shedding.least
    intervals = 0
    while shedding.limit < 4096:
        ticks(shedding, *[IN_TIME] * TICKS)
        intervals += 1
    assert intervals * TICKS * 0.05 <= 5.0


def test_bursts_do_not_shrink_it() -> None:
    """One tick in time among late ones is no standing backlog; one late tick among others keeps it from growing."""
    shedding = Shedding(4096)
    assert 4096 == ticks(shedding, *[LATE, LATE, LATE, IN_TIME] * 20)
    ticks(shedding, *[LATE] * TICKS)
    assert 3072 == ticks(shedding, *[LATE, LATE, LATE, IN_TIME] * 20)


@pytest.mark.parametrize("most", [1, 3, 16, 17, 4096])
def test_limit_stays_within_its_bounds(most: int) -> None:
    """Whatever the loop does, the limit is at least the smaller of sixteen and the maximum, and never above that."""
    shedding, chance = Shedding(most), random.Random(most)
    for _ in range(2000):
        shedding.tick(chance.choice([0.0, LATE, LATE, LATE]))
        assert min(16, most) <= shedding.least <= shedding.limit <= most


def test_new_maximum_holds_at_once() -> None:
    """A limit that was not in force goes along; one that was is only cut, and grows from there."""
    shedding = Shedding(100)
    shedding.resize(400)
    assert 400 == shedding.limit
    assert 300 == ticks(shedding, *[LATE] * TICKS)
    shedding.resize(200)
    assert 200 == shedding.limit
    ticks(shedding, *[LATE] * TICKS)
    shedding.resize(1000)
    assert (150, 175) == (shedding.limit, ticks(shedding, *[IN_TIME] * TICKS))


def test_drain_rate_says_how_long_it_takes() -> None:
    """Fifty requests in half a second, again and again: a hundred end in one second. Nothing is known before."""
    rate = DrainRate()
    assert rate.seconds_for(10) is None
    for _ in range(100):
        rate.tick(50, 0.5)
    seconds = rate.seconds_for(100)
    assert seconds == pytest.approx(1.0, rel=0.01)
