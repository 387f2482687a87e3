"""Usage and price to charge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting import Charge, Price, charge, most
from providers.contract import Money, PriceUnit, Usage


def price(usd: str, unit: PriceUnit) -> Price:
    """Return a price."""
    return Price("eu", Money.from_usd(usd), unit, "2026-04-05", "https://example.com/prices")


def test_a_price_is_named_by_deployment_and_day() -> None:
    """A charge can name the price it was made with."""
    assert price("0.005", PriceUnit.SUCCESS).id == "eu@2026-04-05"


@pytest.mark.parametrize("unit", [PriceUnit.SUCCESS, PriceUnit.REQUEST])
def test_a_call_costs_its_price(unit: PriceUnit) -> None:
    """A price for a call does not depend on how long it takes."""
    flat = price("0.005", unit)
    assert most(flat, seconds=30) == Money(5000)
    assert charge(flat, Usage(seconds=12), Money(5000)) == Charge(Money(5000), Money(5000), Money(0))


@pytest.mark.parametrize(
    ("usd", "seconds", "micros"),
    [
        ("0.000100", 1, 100),
        ("0.000100", 0, 0),
        ("0.000001", 0.000001, 1),
        ("0.000001", 1.000001, 2),
        ("0.000003", 0.1, 1),
        ("0.01", 0.29, 2900),
        ("1000000", 30, 30_000_000_000_000),
    ],
)
def test_seconds_are_rounded_up_to_a_micro_dollar(usd: str, seconds: float, micros: int) -> None:
    """A price by the second is exact to the microsecond, and a part of a micro-dollar counts as a whole one."""
    assert most(price(usd, PriceUnit.SECOND), seconds=seconds) == Money(micros)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_impossible_seconds_are_refused(seconds: float) -> None:
    """No call takes less than nothing or for ever."""
    with pytest.raises(ValueError, match="finite number of seconds"):
        most(price("0.01", PriceUnit.SECOND), seconds=seconds)


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (4000, Charge(Money(4000), Money(4000), Money(-1000))),
        (0, Charge(Money(0), Money(0), Money(-5000))),
        (7000, Charge(Money(5000), Money(7000), Money(2000))),
        (-1, Charge(Money(5000), Money(5000), Money(0))),
    ],
)
def test_the_reported_figure_settles(reported: int, expected: Charge) -> None:
    """The provider's figure is owed to it, the tenant owes no more than was reserved; a negative figure is none."""
    assert charge(price("0.005", PriceUnit.SUCCESS), Usage(reported=Money(reported)), Money(5000)) == expected


@given(
    micros=st.integers(0, 10**9),
    seconds=st.floats(0, 3600),
    longest=st.floats(0, 3600),
    reported=st.none() | st.integers(0, 10**10),
)
def test_a_charge_keeps_its_bounds(micros: int, seconds: float, longest: float, reported: int | None) -> None:
    """No charge exceeds the reservation, and within the time that was reserved for, the list price is covered."""
    second = Price("eu", Money(micros), PriceUnit.SECOND, "2026-04-05", "test")
    reserved = most(second, seconds=longest)
    usage = Usage(seconds=seconds, reported=None if reported is None else Money(reported))
    owed = charge(second, usage, reserved)
    assert Money(0) <= owed.charge <= reserved
    assert owed.cost - owed.drift == most(second, seconds=seconds)
    if reported is None and seconds <= longest:
        assert owed.charge == owed.cost
