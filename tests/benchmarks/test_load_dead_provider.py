"""What the ledger tells of a breaker's opening."""

from tests.benchmarks.load_dead_provider import DEAD, NEXT, Opening, opening
from tests.benchmarks.load_ledger import Attempt


def call(begun: float, ended: float, kind: str = "release", deployment: str = DEAD) -> Attempt:
    """Return one call, a failed one of the dead provider unless told otherwise."""
    return Attempt(deployment, begun, ended, kind, None)


def test_five_in_a_row_open_it() -> None:
    """What failed before an answer does not count; what was let through before the last failure was under way."""
    calls = [
        call(0.0, 2.0),
        call(0.1, 2.1, "settle"),
        *(call(3 + index, 3.5 + index) for index in range(4)),
        call(7.0, 7.5),
        call(7.2, 7.9),
        call(7.3, 7.4, "settle", NEXT),
    ]
    assert Opening(5, 0) == opening(calls)


def test_a_breaker_that_opens_late_is_found_out() -> None:
    """One more call that is let through after the fifth failure in a row makes it six."""
    assert Opening(6, 0) == opening([call(index, index + 0.5) for index in range(6)])


def test_what_comes_after_ten_seconds_is_a_probe() -> None:
    """A call that is let through long after the first failure is no part of the opening."""
    assert Opening(1, 1) == opening([call(0.0, 1.0), call(30.0, 30.1)])


def test_without_a_failure_nothing_opened() -> None:
    """A provider that only answers has no opening."""
    assert Opening(0, 0) == opening([call(0.0, 1.0, "settle")])
