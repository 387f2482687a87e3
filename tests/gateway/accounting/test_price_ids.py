"""The terms in a price id are those that it was made of."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.price_ids import AgreedTerms, read_price_id
from gateway.accounting.pricing import Price, Terms, charge, most
from providers.contract import Money, PriceUnit, Usage

MONEY = st.integers(0, 10**9).map(Money)
MARKUPS = st.integers(0, 1000 * 10**6).map(lambda millionths: Fraction(millionths, 10**6))


def price(usd: Money) -> Price:
    """Return a price for one success."""
    return Price("eu", usd, PriceUnit.SUCCESS, "2026-04-05T00:00:00+02:00", "https://example.com/prices")


@given(usd=MONEY, markup=MARKUPS, fixed=st.none() | MONEY)
def test_terms_come_back(usd: Money, markup: Fraction, fixed: Money | None) -> None:
    """Whatever a tenant pays by, its price id tells it."""
    terms = Terms(price(usd), markup) if fixed is None else Terms(price(usd), fixed=fixed)
    read = read_price_id(terms.id)
    assert fixed == read.fixed
    assert fixed is not None or markup == read.markup


@given(usd=MONEY, markup=MARKUPS, reported=MONEY)
def test_a_late_charge_is_the_one_in_time(usd: Money, markup: Fraction, reported: Money) -> None:
    """An attempt that is resolved late is charged what it would have been charged at once."""
    terms = Terms(price(usd), markup)
    reserved = most(terms, seconds=1)
    in_time = charge(terms, Usage(seconds=1, reported=reported), reserved)
    assert in_time.charge == read_price_id(terms.id).charge(reported, reserved)


@given(usd=MONEY, markup=MARKUPS.filter(lambda markup: markup >= 1))
def test_the_cost_comes_back(usd: Money, markup: Fraction) -> None:
    """Where the provider gives no figure, the cost is its list price again, to the micro-dollar."""
    terms = Terms(price(usd), markup)
    reserved = most(terms, seconds=1)
    assert usd == read_price_id(terms.id).cost(reserved) == read_price_id(terms.id).most_cost(reserved)


@pytest.mark.parametrize("price_id", ["p1", "", "eu@2026-04-05", "eu@2026-04-05*", "eu@2026*-1", "a=b"])
def test_no_terms(price_id: str) -> None:
    """A price id without terms passes the cost on as it is."""
    assert AgreedTerms() == read_price_id(price_id)


def test_a_fixed_price() -> None:
    """It is charged whatever the call has cost, unless it has cost nothing; and says nothing of the cost."""
    terms = read_price_id("eu@2026-04-05=0.006000")
    assert Money(6000) == terms.charge(Money(1), Money(6000))
    assert Money(0) == terms.charge(Money(0), Money(6000))
    assert (None, Money(6000)) == (terms.most_cost(Money(6000)), terms.cost(Money(6000)))


def test_a_markup_of_nothing() -> None:
    """It charges nothing and leaves no trace of the cost."""
    terms = read_price_id("eu@2026-04-05*0")
    assert (Money(0), None) == (terms.charge(Money(5000), Money(0)), terms.most_cost(Money(0)))
    assert Money(0) == terms.cost(Money(0))
