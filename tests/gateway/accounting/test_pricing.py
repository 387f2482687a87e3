"""Usage and price to charge."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting import Charge, Price, charge, most
from gateway.accounting.pricing import Ceiling, Terms
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


@pytest.mark.parametrize(("seconds", "micros"), [(-1.0, 0), (float("nan"), 0), (float("inf"), 0), (1e300, 864_000_000)])
def test_impossible_seconds_cost_no_answer(seconds: float, micros: int) -> None:
    """What a provider says of its time is believed up to a day, and what makes no sense counts as nothing."""
    owed = charge(price("0.01", PriceUnit.SECOND), Usage(seconds=seconds), Money(5000))
    assert (owed.charge, owed.cost) == (Money(min(micros, 5000)), Money(micros))


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (4000, Charge(Money(4000), Money(4000), Money(-1000))),
        (0, Charge(Money(0), Money(0), Money(-5000))),
        (7000, Charge(Money(5000), Money(7000), Money(2000), uncharged=Money(2000))),
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


MARKUPS = st.integers(0, 5_000_000).map(lambda millionths: Fraction(millionths, 1_000_000))
UNITS = st.sampled_from(list(PriceUnit))


@given(
    micros=st.integers(0, 10**9),
    unit=UNITS,
    markup=MARKUPS,
    seconds=st.floats(0, 3600),
    longest=st.floats(0, 3600),
    reported=st.none() | st.integers(0, 10**10),
)
def test_a_markup_is_exact(  # every figure of a call
    micros: int, unit: PriceUnit, markup: Fraction, seconds: float, longest: float, reported: int | None
) -> None:
    """A charge is the cost times the markup, the fraction rounded up once, and never beyond what was reserved."""
    terms = Terms(Price("eu", Money(micros), unit, "2026-04-05", "test"), markup)
    reserved = most(terms, seconds=longest)
    owed = charge(terms, Usage(seconds=seconds, reported=None if reported is None else Money(reported)), reserved)
    assert ceil(most(terms.price, seconds=longest).microusd * markup) == reserved.microusd
    assert min(ceil(Fraction(owed.cost.microusd) * markup), reserved.microusd) == owed.charge.microusd
    assert owed.cost - owed.drift == most(terms.price, seconds=seconds)
    if reported is None and (unit is not PriceUnit.SECOND or seconds <= longest):
        assert ceil(Fraction(owed.cost.microusd) * markup) == owed.charge.microusd


@given(
    micros=st.integers(0, 10**9),
    fixed=st.integers(0, 10**9),
    unit=UNITS,
    seconds=st.floats(0, 3600),
    reported=st.none() | st.integers(0, 10**10),
)
def test_a_fixed_price_is_paid_whatever_a_call_costs(
    micros: int, fixed: int, unit: PriceUnit, seconds: float, reported: int | None
) -> None:
    """The tenant pays its own price for each unit; the cost stays the provider's figure, or the list price."""
    terms = Terms(Price("eu", Money(micros), unit, "2026-04-05", "test"), fixed=Money(fixed))
    owed = charge(
        terms,
        Usage(seconds=seconds, reported=None if reported is None else Money(reported)),
        most(terms, seconds=seconds),
    )
    units = Fraction(round(seconds * 1_000_000), 1_000_000) if unit is PriceUnit.SECOND else 1
    assert ceil(fixed * units) == owed.charge.microusd
    assert ceil(micros * units) == (owed.cost - owed.drift).microusd
    assert reported is None or reported == owed.cost.microusd


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        (Terms(price("0.005", PriceUnit.SUCCESS)), "eu@2026-04-05"),
        (Terms(price("0.005", PriceUnit.SUCCESS), Fraction("1.15")), "eu@2026-04-05*1.15"),
        (Terms(price("0.005", PriceUnit.SUCCESS), Fraction(10)), "eu@2026-04-05*10"),
        (Terms(price("0.005", PriceUnit.SUCCESS), Fraction(0)), "eu@2026-04-05*0"),
        (Terms(price("0.005", PriceUnit.SUCCESS), Fraction("0.000001")), "eu@2026-04-05*0.000001"),
        (Terms(price("0.005", PriceUnit.SUCCESS), fixed=Money(6000)), "eu@2026-04-05=0.006000"),
    ],
)
def test_terms_are_named_by_price_and_rule(terms: Terms, name: str) -> None:
    """An entry of the ledger tells how its charge was made, years later."""
    assert name == terms.id


def test_each_is_what_one_unit_is_charged() -> None:
    """With a markup, a part of a micro-dollar is rounded up; a fixed price is itself."""
    second = price("0.000001", PriceUnit.SECOND)
    assert Money(2) == Terms(second, Fraction("1.5")).each
    assert Money(7) == Terms(second, Fraction("1.5"), fixed=Money(7)).each


@given(
    before=st.integers(0, 10**6),
    after=st.integers(0, 10**6),
    unit=UNITS,
    markup=MARKUPS,
    seconds=st.floats(0, 100),
    longest=st.floats(0, 100),
    reported=st.none() | st.integers(0, 10**7),
)
def test_a_quote_caps_what_the_tenant_pays(  # every figure of a call
    before: int,
    after: int,
    unit: PriceUnit,
    markup: Fraction,
    seconds: float,
    longest: float,
    reported: int | None,
) -> None:
    """Whatever the price became meanwhile, the tenant pays at most the quoted unit price and the quoted whole."""
    quoted = Terms(Price("eu", Money(before), unit, "1", "test"), markup)
    now = Terms(Price("eu", Money(after), unit, "2", "test"), markup)
    bound = replace(now, ceiling=Ceiling(quoted.each, unit, most(quoted, seconds=longest)))
    usage = Usage(seconds=seconds, reported=None if reported is None else Money(reported))
    reserved = most(bound, seconds=longest)
    owed = charge(bound, usage, reserved)
    both = min(most(quoted, seconds=longest), most(now, seconds=longest))
    assert reserved <= both
    assert unit is PriceUnit.SECOND or reserved == both  # seconds at the quoted price are rounded up once, not twice
    assert owed.charge <= reserved
    assert owed.charge <= most(
        replace(quoted, price=replace(quoted.price, usd=quoted.each), markup=Fraction(1)), seconds=seconds
    )
    assert owed.cost == charge(now, usage, reserved).cost
    assert owed.uncharged == charge(now, usage, reserved).uncharged  # a promise hides nothing from the operator
