"""What deployments cost, from when on, and what their tenants pay."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Annotated

from pydantic import StringConstraints

from gateway.accounting.pricing import AT_COST
from gateway.request import LONGEST_SECONDS
from gateway.settings.figures import Markup, Percent, Usd
from gateway.settings.moments import Moment, micros_of
from gateway.settings.section import Section
from providers.contract import LARGEST_MICROUSD, MICROS_PER_USD, Money, PriceUnit

#: Where in a part of the file, and what is wrong there.
Contradiction = tuple[tuple[str | int, ...], str]


class PriceSettings(Section):
    """What one unit costs, from when on, and who says so."""

    usd: Usd
    """Decimal dollars, as text: a YAML float would not stay exact."""
    unit: PriceUnit = PriceUnit.SUCCESS
    valid_from: Moment
    """The first moment at which it holds."""
    valid_until: Moment | None = None
    """The first moment at which it holds no longer; None: until a later price begins."""
    source: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class PricingSettings(Section):
    """What holds for every deployment and tenant that says nothing else."""

    markup: Markup = Fraction(1)
    """What the cost is multiplied by to make the charge."""
    drift_alarm_percent: Percent | None = Fraction(5)
    """
    An alarm is raised where what a provider reports differs from its price by more than this, over the last hour; None:
    never.
    """


def too_much(usd: str, unit: PriceUnit, factor: Fraction = AT_COST) -> str | None:
    """
    Say why a price is too much for one entry of the ledger; None where it is not.

    Args:
        usd: of one unit.
        unit: a price by the second is reserved for as long as a request may take.
        factor: the largest markup that may go with it.
    """
    longest = LONGEST_SECONDS if unit is PriceUnit.SECOND else 1
    most = Money.from_usd(usd).microusd * longest * factor
    if most <= LARGEST_MICROUSD:
        return None
    reckoned = f"${usd}" + (f" x {longest} s" if longest > 1 else "") + (f" x markup {float(factor):g}" * (factor != 1))
    return (
        f"{reckoned} is more than one reservation can hold, ${LARGEST_MICROUSD // MICROS_PER_USD:,}; write a lower "
        "price or markup"
    )


def contradictions_of(prices: tuple[PriceSettings, ...]) -> Iterator[Contradiction]:
    """Find what cannot hold together in one deployment's prices; the place begins with the price's index."""
    for index, price in enumerate(prices):
        if price.valid_until is not None and micros_of(price.valid_until) <= micros_of(price.valid_from):
            yield (
                (index, "valid_until"),
                f"not after valid_from ({price.valid_from}); write the first moment at which it holds no longer",
            )
    order = sorted(range(len(prices)), key=lambda index: (micros_of(prices[index].valid_from), index))
    for index, follower in pairwise(order):
        earlier, later = prices[index], prices[follower]
        if micros_of(earlier.valid_from) == micros_of(later.valid_from):
            yield (
                (follower, "valid_from"),
                f"prices[{index}] begins at the same moment, {earlier.valid_from}; one price holds at a time",
            )
        elif earlier.valid_until is not None and micros_of(earlier.valid_until) > micros_of(later.valid_from):
            yield (
                (index, "valid_until"),
                f"overlaps with prices[{follower}], which begins at {later.valid_from}; leave it out, or end there",
            )
