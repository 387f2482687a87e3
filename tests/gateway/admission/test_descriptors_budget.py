"""What a process may have open is divided so that its parts fit together."""

import pytest

from gateway.admission.descriptors import PUT_ASIDE, budget


@pytest.mark.parametrize("here", [False, True])
@pytest.mark.parametrize("limit", [256, 1024, 4096, 65_536, 1_048_576])
def test_the_parts_fit(limit: int, here: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """All connections together, twice where the far ends are here, leave what is put aside."""
    given = budget(limit, 40, upstreams_here=here)
    outgoing = given.calls + given.fetches
    assert given.callers + outgoing * (2 if here else 1) + 40 + PUT_ASIDE <= limit
    assert given.callers > given.requests


def test_few_descriptors_still_serve_somebody() -> None:
    """However few there are, a request is tried."""
    assert budget(64, 60).requests >= 1
