"""The provider's own figure for a call, as exact money."""

from __future__ import annotations

import decimal
import re

from providers.contract import LARGEST_MICROUSD, MICROS_PER_USD, Money

_DECIMAL = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{0,60})?([eE][+-]?[0-9]{1,3})?")


def reported_money(value: object) -> Money | None:
    """
    Return an upstream's number of dollars as money; None where it gave none that can be owed.

    A figure finer than a micro-dollar is rounded to the nearest one, halves to even: the tail of a floating-point
    number (0.30000000000000004) then adds nothing, and sums over many calls lean to neither side.

    Args:
        value: a decimal string or a JSON number read as int or Decimal. A float is refused: it is read from JSON as
            Decimal, so that no digit passes through binary.

    >>> reported_money("0.005")
    Money(microusd=5000)
    """
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        value = decimal.Decimal(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | decimal.Decimal):
        return None
    amount = decimal.Decimal(value)
    if not amount.is_finite() or not 0 <= amount <= LARGEST_MICROUSD // MICROS_PER_USD:
        return None
    with decimal.localcontext(prec=60):
        micros = (amount * MICROS_PER_USD).to_integral_value(decimal.ROUND_HALF_EVEN)
    return Money(int(micros))
