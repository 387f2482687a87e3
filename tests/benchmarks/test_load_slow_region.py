"""When traffic has left a region, and when it is back."""

import pytest

from tests.benchmarks.load_regions import Call
from tests.benchmarks.load_slow_region import OTHER, SLOW, share, until_it_has_left, until_it_is_back


def calls(*parts: tuple[float, float, int]) -> list[Call]:
    """Return fifty calls a second, in parts: from when, till when, and how many of ten go to the slowing region."""
    return [
        Call(SLOW if number % 10 < tenths else OTHER, begin + number / 50, begin + number / 50, 200, "job")
        for begin, end, tenths in parts
        for number in range(round((end - begin) * 50))
    ]


def test_share() -> None:
    """Its share is its part of the calls that came within; nobody has a share of none."""
    assert 0.3 == share(calls((0, 2, 3)), 0, 2)
    assert None is share([], 0, 2)


def test_it_has_left_when_its_share_stays_low() -> None:
    """The first seconds at a half are counted, those at nought are not, and one that comes back has not left."""
    assert until_it_has_left(calls((0, 3, 5), (3, 20, 0)), 0, 20) == pytest.approx(2.7, abs=0.25)
    assert until_it_has_left(calls((0, 10, 0), (10, 14, 5), (14, 20, 1)), 0, 20) == pytest.approx(14, abs=0.25)
    assert until_it_has_left(calls((0, 20, 5)), 0, 20) == pytest.approx(18.1)


def test_it_is_back_at_two_fifths() -> None:
    """The first two seconds with two fifths of the calls say so; without such it took all the time."""
    assert until_it_is_back(calls((0, 6, 1), (6, 20, 5)), 0, 20) == pytest.approx(5.5, abs=0.25)
    assert 20 == until_it_is_back(calls((0, 20, 1)), 0, 20)
