"""What each of two tenants got."""

from tests.benchmarks.load_caller import Ending
from tests.benchmarks.load_two_tenants import QUIET_PART, share


def test_share_is_the_part_that_was_answered() -> None:
    """Three of four answered are three quarters."""
    endings = [Ending(0, 1, status, None, None, ()) for status in (200, 200, 429, 200)]
    assert 0.75 == share(endings)


def test_the_quiet_one_asks_for_less_than_its_half() -> None:
    """Otherwise nobody owed it all that it asks for."""
    assert QUIET_PART < 0.5
