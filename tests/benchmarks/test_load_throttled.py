"""Which calls came too early to a provider that had answered 429."""

import pytest

from tests.benchmarks.contender import WrongAnswer
from tests.benchmarks.load_ledger import Attempt
from tests.benchmarks.load_regions import Call
from tests.benchmarks.load_throttled import NEXT, THROTTLED, Made, both_sides, early


def test_only_who_knew_is_blamed() -> None:
    """A call within 2 s of a 429 is blamed where it was let through after that was heard; after 2 s none is."""
    calls = [
        Made(begun=0.0, came=0.1, left=0.2, heard=0.3, status=429),
        Made(begun=0.25, came=0.4, left=0.5, heard=0.6, status=429),
        Made(begun=1.0, came=1.1, left=1.2, heard=1.3, status=200),
        Made(begun=3.0, came=3.3, left=3.4, heard=3.5, status=200),
    ]
    assert (1, 1) == early(calls)


def test_both_sides_are_laid_side_by_side() -> None:
    """The ledger's wall clock becomes monotonic, and other deployments' calls are left out."""
    attempts = [
        Attempt(NEXT, 1000.1, 1000.2, "settle", "a"),
        Attempt(THROTTLED, 1001.0, 1001.5, "release", None),
    ]
    calls = [Call(THROTTLED, 1.2, 1.3, 429, None), Call(NEXT, 0.1, 0.2, 200, "a")]
    assert [Made(1.0, 1.2, 1.3, 1.5, 429)] == both_sides(attempts, calls, offset=1000.0)


def test_a_call_that_one_side_does_not_know_is_an_error() -> None:
    """A call without an attempt in the ledger leaves nothing to compare."""
    with pytest.raises(WrongAnswer, match="0 calls"):
        both_sides([], [Call(THROTTLED, 1.2, 1.3, 429, None)], offset=0.0)
