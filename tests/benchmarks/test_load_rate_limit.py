"""How far from its limit a key was let through."""

import pytest

from tests.benchmarks.load_caller import Ending
from tests.benchmarks.load_rate_limit import BURST, PER_SECOND, admitted, off_per_cent


def test_the_burst_is_counted_once() -> None:
    """What the rate brings and one burst is the limit itself; either side of it is off by as much."""
    assert 0 == off_per_cent(30 * PER_SECOND + BURST, 30)
    assert off_per_cent(30 * PER_SECOND + BURST + 30, 30) == pytest.approx(1)
    assert off_per_cent(30 * PER_SECOND + BURST - 30, 30) == pytest.approx(1)


def test_let_through_is_who_the_limit_did_not_refuse() -> None:
    """A request that failed later was let through all the same."""
    codes = (None, "rate_limited", "overloaded", "rate_limited")
    assert 2 == admitted([Ending(0, 1, 200 if code is None else 429, code, "1", ()) for code in codes])
