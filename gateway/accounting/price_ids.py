"""
What a price id says of how a charge was made of a cost; see `Terms.id`, which writes them. Pure.

An attempt that is resolved long after its reservation is charged by the terms of that time, and by the formula of an
answer in time (`pricing.charge`). Markup and fixed price stand in its price id, whatever the configuration says by now.
"""

from __future__ import annotations

import re
from fractions import Fraction

from gateway.accounting.pricing import AT_COST, Price, Terms, most
from providers.contract import NOTHING, Money, PriceUnit

_TERMS = re.compile(r"[^*=]*(?:\*(?P<markup>\d{1,9}(?:\.\d{1,6})?)|=(?P<fixed>\d{1,13}\.\d{6}))", re.ASCII)


def agreed_terms(price_id: str, reserved: Money, price: Price | None, seconds: float | None = None) -> Terms:
    """
    Return the terms of a reservation.

    Where the price is not in the price book any more, or now says less than was reserved by it, or is by the second of
    a call whose seconds nobody knows, one call is one unit, and its list price follows from what was reserved: without
    its markup, rounded down; in its proportion to a fixed price; what was reserved where a fixed price is all that is
    known, so that nothing is earned on a guess; nothing under a markup of 0, which leaves no trace of it. The
    provider's statement corrects each of them.

    Args:
        price_id: the reservation's.
        reserved: what it has set aside.
        price: of that id; None where the price book has none.
        seconds: how long the call has worked; None where nobody knows.

    >>> agreed_terms("eu@2026-04-05*1.15", Money(5750), None).price.usd
    Money(microusd=5000)
    """
    markup, fixed = _read(price_id)
    by_the_second = price is not None and price.unit is PriceUnit.SECOND
    if price is not None:
        terms = Terms(price, markup, fixed)
        if seconds is not None if by_the_second else most(terms, seconds=0) >= reserved:
            return terms
    if fixed is None:
        listed = _without_markup(markup, reserved) or NOTHING
    elif price is not None and by_the_second and fixed > NOTHING:
        listed = Money(reserved.microusd * price.usd.microusd // fixed.microusd)
    else:
        listed = reserved
    one_call = Price("", listed, PriceUnit.SUCCESS, valid_from="", source="the reservation")
    return Terms(one_call, markup, fixed=None if fixed is None else reserved)


def price_of(price_id: str) -> str:
    """
    Return the id of the price alone.

    >>> price_of("eu@2026-04-05*1.15")
    'eu@2026-04-05'
    """
    return re.split("[*=]", price_id, maxsplit=1)[0]


def most_cost(price_id: str, reserved: Money) -> Money | None:
    """
    Return the largest cost whose charge was covered by what was reserved.

    Returns:
        The cost; None where the charge does not depend on it, so that nothing can be said.
    """
    markup, fixed = _read(price_id)
    return _without_markup(markup, reserved) if fixed is None else None


def _without_markup(markup: Fraction, reserved: Money) -> Money | None:
    return Money(reserved.microusd * markup.denominator // markup.numerator) if markup else None


def _read(price_id: str) -> tuple[Fraction, Money | None]:
    """Return markup and fixed price; without any in the id, the cost is passed on as it is."""
    found = _TERMS.fullmatch(price_id)
    if found is None:
        return AT_COST, None
    if found["fixed"] is not None:
        return AT_COST, Money.from_usd(found["fixed"])
    return Fraction(found["markup"]), None
