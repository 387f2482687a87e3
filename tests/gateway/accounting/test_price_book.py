"""Which price holds when, and who pays what."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounting.price_book import Markups, PriceBook
from gateway.accounting.pricing import Price, Terms, most
from providers.contract import Money, PriceUnit

NOON = 1_800_000_000_000_000
HOUR = 3_600_000_000


def price(usd: str, starts_at: int, ends_at: int | None = None, *, deployment: str = "eu") -> Price:
    """Return a price that is named by its beginning."""
    return Price(deployment, Money.from_usd(usd), PriceUnit.SUCCESS, str(starts_at), "test", starts_at, ends_at)


def test_a_price_changes_at_its_very_microsecond() -> None:
    """The moment before, the old one holds; at the moment, the new one; neither needs to be told of the other."""
    old, new = price("0.005", 0), price("0.12", NOON)
    book = PriceBook([new, old])
    assert old == book.price_at("eu", NOON - 1)
    assert new == book.price_at("eu", NOON)
    assert ("eu@0", f"eu@{NOON}") == (old.id, new.id)
    assert NOON == book.next_change("eu", NOON - 1)
    assert book.next_change("eu", NOON) is None


def test_without_a_price_there_are_no_terms() -> None:
    """Before the first one begins, after one has ended, between two, and for a deployment nobody has priced."""
    book = PriceBook([price("1", NOON, NOON + HOUR), price("2", NOON + 2 * HOUR)])
    held = [
        None if (terms := book.terms("acme", "eu", at)) is None else terms.price.usd.microusd
        for at in (NOON - 1, NOON, NOON + HOUR - 1, NOON + HOUR, NOON + 2 * HOUR - 1, NOON + 2 * HOUR)
    ]
    assert [None, 1_000_000, 1_000_000, None, None, 2_000_000] == held
    assert book.price_at("us", NOON) is None
    assert book.terms("acme", "us", NOON) is None
    assert [NOON, NOON + HOUR, NOON + 2 * HOUR, None] == [
        book.next_change("eu", at) for at in (0, NOON, NOON + HOUR, NOON + 2 * HOUR)
    ]


@pytest.mark.parametrize(
    "prices",
    [
        [price("1", NOON), price("2", NOON)],
        [price("1", NOON, NOON + 2), price("2", NOON + 1)],
        [price("1", NOON, NOON)],
        [price("1", NOON, NOON - 1)],
    ],
)
def test_two_prices_never_hold_at_once(prices: list[Price]) -> None:
    """A book that would have to choose is not made."""
    with pytest.raises(ValueError, match=r"hold at one moment|ends before it begins"):
        PriceBook(prices)


def test_one_may_begin_where_another_ends() -> None:
    """The end of a price is the first moment at which it holds no longer."""
    book = PriceBook([price("1", NOON, NOON + 1), price("2", NOON + 1)])
    assert "1.000000" == (book.price_at("eu", NOON) or price("0", 0)).usd.usd
    assert "2.000000" == (book.price_at("eu", NOON + 1) or price("0", 0)).usd.usd


def test_the_rule_that_says_most_decides() -> None:
    """A fixed price goes before the tenant's markup, that before the deployment's, that before the general one."""
    markups = Markups(
        general=Fraction(2),
        deployments={"us": Fraction(3)},
        tenants={"acme": Fraction(5), "globex": Fraction(7)},
        fixed={("acme", "us"): Money(6)},
    )
    book = PriceBook([price("0.005", 0), price("0.005", 0, deployment="us")], markups)

    def charged(tenant: str, deployment: str) -> tuple[int, str]:
        terms = book.terms(tenant, deployment, NOON)
        assert terms is not None
        return most(terms, seconds=1).microusd, terms.id

    assert (10_000, "eu@0*2") == charged("initech", "eu")
    assert (15_000, "us@0*3") == charged("initech", "us")
    assert (25_000, "eu@0*5") == charged("acme", "eu")
    assert (6, "us@0=0.000006") == charged("acme", "us")
    assert (35_000, "us@0*7") == charged("globex", "us")


@given(
    st.lists(st.integers(-5, 40), min_size=1, max_size=8, unique=True),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.integers(-10, 50),
)
def test_the_book_agrees_with_a_search(starts: list[int], ends: list[bool], at: int) -> None:
    """For any dated prices, the one that holds is the latest that has begun, unless it has ended."""
    order = sorted(starts)
    prices = [
        price("1", start, start + 1 if ending and start + 1 not in order else None)
        for start, ending in zip(order, ends, strict=False)
    ]
    begun = [each for each in prices if each.starts_at <= at]
    expected = begun[-1] if begun and (begun[-1].ends_at is None or at < begun[-1].ends_at) else None
    assert expected == PriceBook(reversed(prices)).price_at("eu", at)


def test_without_markups_costs_are_passed_on() -> None:
    """A book of prices alone charges what calls cost."""
    held = price("0.005", 0)
    assert Terms(held) == PriceBook([held]).terms("acme", "eu", NOON)
