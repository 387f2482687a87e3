"""A body has to come at a rate, and is borne with for a while where it does not."""

import pytest

from gateway.serving.limits import EdgeLimits
from gateway.serving.pace import Pace

LIMITS = EdgeLimits(body_bytes_per_second=1000, body_grace_seconds=10, body_most_patience_seconds=30, body_seconds=600)


def dropped_after(rate: float, *, first: int = 0, waits_for_us: bool = False) -> float | None:
    """Return after how many seconds a body is dropped that comes at that rate behind *first* bytes."""
    pace, received = Pace(LIMITS), float(first)
    for look in range(1, 1400):
        received += rate / 2
        if pace.problem(int(received), seconds=0.5, waits_for_us=waits_for_us) is not None:
            return look / 2
    return None


@pytest.mark.parametrize(
    ("rate", "first", "seconds"),
    [
        (0, 0, 10.5),
        (1, 0, 10.5),
        (500, 0, 20.5),
        (990, 0, 600.5),
        (1000, 0, 600.5),
        (0, 10**7, 31.0),
        (10**6, 0, 600.5),
    ],
)
def test_a_body_is_dropped_when_it_is_too_slow(rate: float, first: int, seconds: float) -> None:
    """Ten seconds without a byte are borne with at first, thirty after much has come, and ten minutes in all."""
    assert seconds == dropped_after(rate, first=first)


def test_a_body_that_waits_for_us_is_never_dropped() -> None:
    """What we do not read says nothing of how fast it comes."""
    assert dropped_after(0, waits_for_us=True) is None
