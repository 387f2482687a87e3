"""
What a price id says of how a charge was made of a cost; see `Terms.id`, which writes them. Pure.

An attempt that is resolved long after its reservation is charged by the terms of that time. They stand in its price id,
whatever the configuration says by now.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from gateway.accounting.pricing import AT_COST
from providers.contract import NOTHING, Money

_TERMS = re.compile(r"[^*=]*(?:\*(?P<markup>\d{1,9}(?:\.\d{1,6})?)|=(?P<fixed>\d{1,13}\.\d{6}))", re.ASCII)


@dataclass(frozen=True, slots=True)
class AgreedTerms:
    """How the charge for an attempt is made of what it has cost."""

    markup: Fraction = AT_COST
    """What the cost is multiplied by; without effect beside `fixed`."""
    fixed: Money | None = None
    """What the tenant pays for one unit, whatever it costs; None: the cost times the markup."""

    def charge(self, cost: Money, reserved: Money) -> Money:
        """
        Return what the tenant owes, a part of a micro-dollar rounded up, and never more than was reserved.

        At a fixed price that is what was reserved: the price of the call, or the most of it where it is by the second.
        What has cost the operator nothing is not charged for.

        Args:
            cost: what the provider has billed.
            reserved: what was set aside for the attempt.
        """
        if self.fixed is not None:
            return reserved if cost > NOTHING else NOTHING
        return min(Money(-(-cost.microusd * self.markup.numerator // self.markup.denominator)), reserved)

    def most_cost(self, reserved: Money) -> Money | None:
        """
        Return the largest cost whose charge was covered by what was reserved.

        Returns:
            The cost; None where the charge does not depend on it, so that nothing can be said.
        """
        if self.fixed is not None or not self.markup:
            return None
        return Money(reserved.microusd * self.markup.denominator // self.markup.numerator)

    def cost(self, reserved: Money) -> Money:
        """
        Return what a billed attempt is taken to have cost where the provider gives no figure.

        The reservation without its markup, rounded down. At a fixed price what was reserved, so that nothing is earned
        on a guess; nothing under a markup of 0, which leaves no trace of the price. The provider's statement corrects
        either.
        """
        if self.fixed is not None:
            return reserved
        return self.most_cost(reserved) or NOTHING


def read_price_id(price_id: str) -> AgreedTerms:
    """
    Return the terms that a price id names; without any in it, the cost is passed on as it is.

    >>> read_price_id("eu@2026-04-05*1.15").markup
    Fraction(23, 20)
    """
    found = _TERMS.fullmatch(price_id)
    if found is None:
        return AgreedTerms()
    if found["fixed"] is not None:
        return AgreedTerms(fixed=Money.from_usd(found["fixed"]))
    return AgreedTerms(markup=Fraction(found["markup"]))
