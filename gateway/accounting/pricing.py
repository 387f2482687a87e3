"""What a call costs: a price and a usage in, whole micro-dollars out. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from providers.contract import NOTHING, Money, PriceUnit, Usage

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """What one unit of a deployment costs from a day on."""

    deployment: str
    usd: Money
    """For one unit."""
    unit: PriceUnit
    valid_from: str
    """ISO date."""
    source: str
    """Where it was read."""

    @property
    def id(self) -> str:
        """The name that every charge keeps."""
        return f"{self.deployment}@{self.valid_from}"


@dataclass(frozen=True, slots=True)
class Charge:
    """What an answer costs whom."""

    charge: Money
    """Owed by the tenant; never more than was reserved."""
    cost: Money
    """Owed to the provider."""
    drift: Money
    """Cost less list price: not nothing where the provider's figure differs from what it publishes."""


def most(price: Price, *, seconds: float) -> Money:
    """
    Return the most a call can cost at list price: what to reserve for it.

    Args:
        price: of the deployment.
        seconds: the longest it can work, for a price by the second.
    """
    return _listed(price, seconds)


def charge(price: Price, usage: Usage, reserved: Money) -> Charge:
    """Return what a successful call costs: the provider's own figure where it gives one, else the list price."""
    listed = _listed(price, usage.seconds)
    given = usage.reported is not None and usage.reported >= NOTHING  # a negative figure is no bill
    cost = usage.reported if given and usage.reported is not None else listed
    return Charge(charge=min(cost, reserved), cost=cost, drift=cost - listed)


def _listed(price: Price, seconds: float) -> Money:
    """Return the list price, a part of a micro-dollar rounded up."""
    if price.unit is not PriceUnit.SECOND:
        return price.usd
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"a call takes a finite number of seconds from 0 up, got {seconds!r}")
    return Money(-(-price.usd.microusd * round(seconds * _MICROSECONDS) // _MICROSECONDS))
