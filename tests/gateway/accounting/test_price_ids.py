"""An attempt that is resolved late is charged as an answer in time, by the terms in its price id."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.holds import HeldAttempt
from gateway.accounting.price_ids import agreed_terms, most_cost, price_of
from gateway.accounting.pricing import Price, Terms, charge, most
from gateway.accounting.resolution import resolve
from providers.contract import Fate, Found, Money, PriceUnit, Usage

MONEY = st.integers(0, 10**9).map(Money)
MARKUPS = st.integers(0, 1000 * 10**6).map(lambda millionths: Fraction(millionths, 10**6))


def price(usd: Money, unit: PriceUnit = PriceUnit.SUCCESS) -> Price:
    """Return a price."""
    return Price("eu", usd, unit, "2026-04-05T00:00:00+02:00", "https://example.com/prices")


@given(usd=MONEY, markup=MARKUPS, fixed=st.none() | MONEY)
def test_terms_come_back(usd: Money, markup: Fraction, fixed: Money | None) -> None:
    """Whatever a tenant pays by, its price id tells it, and which price it was."""
    terms = Terms(price(usd), markup) if fixed is None else Terms(price(usd), fixed=fixed)
    read = agreed_terms(terms.id, most(terms, seconds=1), terms.price)
    assert (fixed, usd, terms.price.id) == (read.fixed, read.price.usd, price_of(terms.id))
    assert fixed is not None or markup == read.markup


@given(
    usd=MONEY,
    markup=MARKUPS,
    fixed=st.none() | MONEY,
    unit=st.sampled_from([PriceUnit.SUCCESS, PriceUnit.REQUEST]),
    reported=st.none() | st.integers(-1, 10**10).map(Money),
)
def test_a_late_charge_is_the_one_in_time(
    usd: Money, markup: Fraction, fixed: Money | None, unit: PriceUnit, reported: Money | None
) -> None:
    """Whatever a provider says it has billed, or does not say, charge and cost are those of an answer in time."""
    terms = Terms(price(usd, unit), markup) if fixed is None else Terms(price(usd, unit), fixed=fixed)
    reserved = most(terms, seconds=1)
    in_time = charge(terms, Usage(seconds=1, reported=reported), reserved)
    held = HeldAttempt(7, "att_1", "eu", "runflow", "sam-3", reserved.microusd, 0, None, "acme", terms.id)
    late = resolve(Found(Fate.CHARGED, reported), held, terms.price, None, believe_absence=False)
    assert late is not None
    assert (in_time.charge, in_time.cost, False) == (late.charge, late.cost, late.release)


@pytest.mark.parametrize(
    ("tenant", "reported", "charged", "cost"),
    [
        ("=0.008000", 0, 8000, 0),
        ("=0.008000", None, 8000, 5000),
        ("=0.008000", 9000, 8000, 9000),
        ("*0", None, 0, 5000),
        ("*0", 4000, 0, 4000),
        ("*1.6", None, 8000, 5000),
        ("*1.6", 0, 0, 0),
        ("", None, 5000, 5000),
    ],
)
def test_what_a_late_bill_comes_to(tenant: str, reported: int | None, charged: int, cost: int) -> None:
    """A fixed price is paid whatever a call has cost; without a figure the list price is owed to the provider."""
    reserved = {"=0.008000": 8000, "*1.6": 8000, "*0": 0, "": 5000}[tenant]
    held = HeldAttempt(7, "att_1", "eu", "runflow", "sam-3", reserved, 0, None, "acme", f"eu@2026-04-05{tenant}")
    found = Found(Fate.CHARGED, None if reported is None else Money(reported))
    late = resolve(found, held, price(Money(5000)), None, believe_absence=False)
    assert late is not None
    assert (charged, cost) == (late.charge.microusd, late.cost.microusd)


@given(usd=MONEY, markup=MARKUPS.filter(lambda markup: markup >= 1))
def test_the_cost_comes_back(usd: Money, markup: Fraction) -> None:
    """Where the price book has the price no more, a markup and the reservation tell it, to the micro-dollar."""
    terms = Terms(price(usd), markup)
    reserved = most(terms, seconds=1)
    assert usd == agreed_terms(terms.id, reserved, None).price.usd == most_cost(terms.id, reserved)


@given(
    usd=MONEY,
    markup=MARKUPS,
    fixed=st.none() | MONEY,
    seconds=st.floats(0, 600),
    reported=st.none() | st.integers(0, 10**10).map(Money),
)
def test_a_late_charge_by_the_second_is_the_one_in_time(
    usd: Money, markup: Fraction, fixed: Money | None, seconds: float, reported: Money | None
) -> None:
    """Where the provider says how long it has worked, that counts as it would have in time."""
    by_second = price(usd, PriceUnit.SECOND)
    terms = Terms(by_second, markup) if fixed is None else Terms(by_second, fixed=fixed)
    reserved = most(terms, seconds=30)
    in_time = charge(terms, Usage(seconds, reported), reserved)
    held = HeldAttempt(7, "att_1", "eu", "runflow", "sam-3", reserved.microusd, 0, None, "acme", terms.id)
    late = resolve(Found(Fate.CHARGED, reported, seconds=seconds), held, by_second, None, believe_absence=False)
    assert late is not None
    assert (in_time.charge, in_time.cost, in_time.uncharged) == (late.charge, late.cost, late.uncharged)


def test_a_price_that_was_lowered_in_its_place_is_not_that_of_the_reservation() -> None:
    """What was reserved at $0.005 costs that, though the book says $0.003 of the same day by now."""
    late = charge(agreed_terms("eu@2026-04-05", Money(5000), price(Money(3000))), Usage(), Money(5000))
    assert (Money(5000), Money(5000)) == (late.charge, late.cost)


def test_a_second_s_share_of_a_fixed_price() -> None:
    """How long a call took is not known any more: it is taken to have been all that was reserved."""
    terms = Terms(price(Money(1000), PriceUnit.SECOND), fixed=Money(1500))
    reserved = most(terms, seconds=4)
    late = charge(agreed_terms(terms.id, reserved, terms.price), Usage(), reserved)
    assert (Money(6000), Money(4000)) == (late.charge, late.cost)


@pytest.mark.parametrize("price_id", ["p1", "", "eu@2026-04-05", "eu@2026-04-05*", "eu@2026*-1", "a=b"])
def test_no_terms(price_id: str) -> None:
    """A price id without terms passes the cost on as it is."""
    terms = agreed_terms(price_id, Money(5000), None)
    assert (Fraction(1), None, Money(5000)) == (terms.markup, terms.fixed, terms.price.usd)


def test_what_says_nothing_of_the_cost() -> None:
    """A fixed price and a markup of nothing set no bound to what a call may have cost."""
    assert most_cost("eu@2026-04-05=0.006000", Money(6000)) is None
    assert most_cost("eu@2026-04-05*0", Money(0)) is None
