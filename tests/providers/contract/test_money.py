"""Money: whole micro-dollars, exactly."""

from __future__ import annotations

import decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract import LARGEST_MICROUSD, Money


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0.005", 5000),
        ("0.000001", 1),
        ("0.0000010", 1),
        ("0.12", 120_000),
        ("-1.5", -1_500_000),
        ("1e-6", 1),
        ("0", 0),
        (3, 3_000_000),
        (decimal.Decimal("0.1"), 100_000),
    ],
)
def test_dollars_are_read_exactly(text: str | int | decimal.Decimal, micros: int) -> None:
    """A decimal number of dollars is that number of millions of micro-dollars."""
    assert Money(micros) == Money.from_usd(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (0.005, 'as a string, so that it stays exact: "0.005"'),
        ("0.0000001", "six decimals at most"),
        ("1.2345678", "six decimals at most"),
        ("NaN", "not a finite number"),
        ("Infinity", "not a finite number"),
        ("-inf", "not a finite number"),
        ("five", "not a decimal number"),
        ("", "not a decimal number"),
        (None, "not a decimal number"),
        ("9223372.036855", "too large"),
        ("1e40", "too large"),
        ("-1e40", "too large"),
    ],
)
def test_what_is_no_amount_is_refused(text: str, message: str) -> None:
    """A float, a seventh decimal, no number and a number beyond the ledger each say what they are."""
    with pytest.raises(ValueError, match=message):
        Money.from_usd(text)


@pytest.mark.parametrize("micros", [1.0, True, "5", None])
def test_money_is_made_of_whole_numbers_only(micros: object) -> None:
    """Neither a float nor a boolean is an amount."""
    with pytest.raises(TypeError, match="whole micro-dollars"):
        Money(micros)  # type: ignore[arg-type]


@given(st.integers(-LARGEST_MICROUSD, LARGEST_MICROUSD))
def test_an_amount_survives_being_written(micros: int) -> None:
    """Written as dollars and read again, an amount is the same to the micro-dollar."""
    money = Money(micros)
    assert money == Money.from_usd(money.usd)
    assert decimal.Decimal(micros) == decimal.Decimal(money.usd) * 1_000_000


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_amounts_add_up(one: int, other: int) -> None:
    """Sums, differences and comparisons are those of the micro-dollars."""
    assert Money(one + other) == Money(one) + Money(other)
    assert Money(one - other) == Money(one) - Money(other)
    assert (one < other) == (Money(one) < Money(other))


def test_six_decimals_are_always_written() -> None:
    """An amount in dollars has six decimals, and its sign before the first digit."""
    assert [Money(5000).usd, Money(-1).usd, Money(12_000_000).usd] == ["0.005000", "-0.000001", "12.000000"]
