"""How much money may be in doubt before nobody is asked a second time."""

from __future__ import annotations

import pytest

from gateway.routing.doubt import DoubtLimits, DoubtWatch
from providers.contract import NOTHING, Money
from tests.gateway.routing.test_recent import Hand

CALL = Money(5000)


def watch(clock: Hand, *, per_request: int | None = None, per_minute: int | None = None) -> DoubtWatch:
    """Return a watch with these limits, in micro-dollars."""
    return DoubtWatch(
        DoubtLimits(*(None if each is None else Money(each) for each in (per_request, per_minute))), clock
    )


@pytest.mark.parametrize(("in_doubt", "allowed"), [(0, True), (5000, True), (5001, False), (10_000, False)])
def test_a_request_s_doubt_is_bounded_with_the_further_call(in_doubt: int, *, allowed: bool) -> None:
    """What may have been billed, and what the next call can cost, stay within the limit together."""
    objection = watch(Hand(), per_request=10_000).objection(Money(in_doubt), CALL)
    assert allowed is (objection is None)
    if objection is not None:
        assert "routing.doubt.per_request_usd (0.010000)" in objection


def test_the_last_minute_s_doubt_is_bounded() -> None:
    """It ends with its minute."""
    clock = Hand()
    limited = watch(clock, per_minute=12_000)
    limited.note(CALL)
    assert limited.objection(CALL, CALL) is None
    limited.note(CALL)
    objection = limited.objection(CALL, CALL)
    assert objection is not None
    assert "0.010000 dollars of the last minute" in objection
    assert "routing.doubt.per_minute_usd (0.012000)" in objection
    clock.now += 66
    assert limited.objection(CALL, CALL) is None


def test_nothing_means_that_nobody_is_asked_again() -> None:
    """Not even for what costs a millionth."""
    assert watch(Hand(), per_request=0).objection(NOTHING, Money(1)) is not None


def test_no_limit_is_no_limit() -> None:
    """Of either kind."""
    unlimited = watch(Hand())
    unlimited.note(Money(10**12))
    assert unlimited.objection(Money(10**12), CALL) is None


def test_by_default_both_are_limited() -> None:
    """An operator who says nothing does not pay twice without end."""
    limited = DoubtWatch(DoubtLimits(), Hand())
    assert limited.objection(Money(500_000), CALL) is not None
    limited.note(Money(10_000_000))
    assert limited.objection(CALL, CALL) is not None
