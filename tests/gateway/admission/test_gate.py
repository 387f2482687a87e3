"""How many requests are worked on at once."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission import Gate
from gateway.problems import Overloaded


def test_the_gate_holds_exactly_its_places() -> None:
    """With three places the fourth is turned away, and told when to come back."""
    gate = Gate(3)
    with ExitStack() as inside:
        for taken in range(1, 4):
            inside.enter_context(gate.enter())
            assert taken == gate.taken
        with pytest.raises(Overloaded, match="3 requests are being worked on") as refused, gate.enter():
            pytest.fail("a fourth came in")
        assert (3, "overloaded", 1.0) == (gate.taken, refused.value.code, refused.value.retry_after_seconds)
    assert 0 == gate.taken


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_a_place_is_free_again_however_the_work_ended(error: type[BaseException]) -> None:
    """A request that breaks, or is cancelled, leaves no place taken."""
    gate = Gate(1)
    with pytest.raises(error), gate.enter():
        raise error
    with gate.enter():
        assert 1 == gate.taken


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_the_gate_never_holds_more_than_its_places(places: int, comings: list[bool]) -> None:
    """Whatever the order of coming and going, the count is right."""
    gate, inside = Gate(places), list[ExitStack]()
    for comes in comings:
        if not comes and inside:
            inside.pop().close()
        elif comes and len(inside) < places:
            inside.append(ExitStack())
            inside[-1].enter_context(gate.enter())
        elif comes:
            with pytest.raises(Overloaded), gate.enter():
                pytest.fail("one too many came in")
        assert len(inside) == gate.taken
