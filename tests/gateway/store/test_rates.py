"""Rates as text."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store.rates import read_rate, write_rate


@given(st.integers(min_value=1, max_value=10**12 - 1))
def test_a_rate_comes_back_as_it_was_written(millionths: int) -> None:
    """No digit is lost on the way to text and back."""
    rate = Fraction(millionths, 10**6)
    assert rate == read_rate(write_rate(rate))


@pytest.mark.parametrize(("rate", "text"), [(Fraction(50), "50"), (Fraction(1, 10), "0.1"), (Fraction(100), "100")])
def test_a_rate_is_written_without_needless_zeros(rate: Fraction, text: str) -> None:
    """What an operator wrote is what is shown."""
    assert text == write_rate(rate)


@pytest.mark.parametrize("text", ["", "0", "0.000", "-1", "1e3", "1/2", "1.0000001", "1234567", "١", " 1", "nan", ".5"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    """Nothing but a plain decimal above zero passes."""
    with pytest.raises(ValueError, match="is no rate; write requests a second"):
        read_rate(text)
