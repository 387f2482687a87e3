"""
What a call costs: a price and a usage in, whole micro-dollars out. Pure.

Two figures, both kept. The *cost* is owed to the provider: its own figure where it reports one, else the list price.
The *charge* is owed by the tenant: the cost times a markup, or a price that was fixed for it. Every part of a
micro-dollar is rounded up, for what is reserved and for what is charged alike, so that a call that cost what its list
price says is charged exactly what was reserved for it; a charge is never more than was reserved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from providers.contract import NOTHING, Money, PriceUnit, Usage

_MICROSECONDS = 1_000_000

#: Longest time that a call is believed to have taken.
_LONGEST_SECONDS = 86_400.0
AT_COST = Fraction(1)


@dataclass(frozen=True, slots=True)
class Price:
    """What one unit of a deployment costs from a moment on."""

    deployment: str
    usd: Money
    """For one unit."""
    unit: PriceUnit
    valid_from: str
    """ISO date, or moment with its offset, as the operator wrote it."""
    source: str
    """Where it was read."""
    starts_at: int = 0
    """`valid_from` in microseconds since 1970, UTC."""
    ends_at: int | None = None
    """The first moment at which it holds no longer, in microseconds since 1970, UTC; None: until a later one begins."""

    @property
    def id(self) -> str:
        """The name that every charge keeps."""
        return f"{self.deployment}@{self.valid_from}"


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a quote has promised about the calls to one deployment: the tenant pays no more, whatever prices do."""

    each: Money
    """For one unit."""
    unit: PriceUnit
    most: Money
    """For one call."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a tenant pays for a deployment, and what that costs."""

    price: Price
    markup: Fraction = AT_COST
    """What the cost is multiplied by to make the charge; without effect beside `fixed`."""
    fixed: Money | None = None
    """What the tenant pays for one unit, whatever that costs; None: the cost times the markup."""
    ceiling: Ceiling | None = None
    """What a quote has promised; None without one."""

    @property
    def id(self) -> str:
        """
        Name what was in force: the price, and how the charge was made of it.

        `eu@2026-04-05` at cost, `eu@2026-04-05*1.15` with a markup, `eu@2026-04-05=0.006000` at a fixed price.
        """
        if self.fixed is not None:
            return f"{self.price.id}={self.fixed.usd}"
        return self.price.id if self.markup == AT_COST else f"{self.price.id}*{_decimal(self.markup)}"

    @property
    def each(self) -> Money:
        """What the tenant pays for one unit that costs its list price."""
        return _charged(self, self.price.usd, units=AT_COST)


@dataclass(frozen=True, slots=True)
class Charge:
    """What an answer costs whom."""

    charge: Money
    """Owed by the tenant; never more than was reserved."""
    cost: Money
    """Owed to the provider."""
    drift: Money
    """Cost less list price: not nothing where the provider's figure differs from what it publishes."""
    uncharged: Money = NOTHING
    """What the call came to beyond what was reserved, whatever a quote has promised: the operator bears it."""


def most(terms: Terms | Price, *, seconds: float) -> Money:
    """
    Return the most that a tenant can be charged for a call: what to reserve for it.

    Args:
        terms: of the tenant and the deployment; a price alone is passed on at cost.
        seconds: the longest it can work, for a price by the second.

    Raises:
        ValueError: the seconds are none.
    """
    terms = _terms(terms)
    units = _units(terms.price.unit, seconds)
    return _capped(terms, _charged(terms, _times(terms.price.usd, units), units=units), seconds)


def charge(terms: Terms | Price, usage: Usage, reserved: Money) -> Charge:
    """
    Return what a successful call costs: the provider's own figure where it gives one, else the list price.

    Args:
        terms: of the tenant and the deployment; a price alone is passed on at cost.
        usage: what the provider says of the call.
        reserved: what was set aside for it.
    """
    terms = _terms(terms)
    seconds = _believed(usage.seconds)
    units = _units(terms.price.unit, seconds)
    listed = _times(terms.price.usd, units)
    given = usage.reported is not None and usage.reported >= NOTHING  # a negative figure is no bill
    cost = usage.reported if given and usage.reported is not None else listed
    owed = _charged(terms, cost, units=units)
    return Charge(
        charge=min(_capped(terms, owed, seconds), reserved),
        cost=cost,
        drift=cost - listed,
        uncharged=max(owed - reserved, NOTHING),
    )


def _believed(seconds: float) -> float:
    """Return a duration that a call can have had: a figure that makes no sense never costs an answer."""
    return min(seconds, _LONGEST_SECONDS) if math.isfinite(seconds) and seconds >= 0 else 0.0


def _terms(terms: Terms | Price) -> Terms:
    return Terms(terms) if isinstance(terms, Price) else terms


def _charged(terms: Terms, cost: Money, *, units: Fraction) -> Money:
    """Return what a tenant pays for what cost that much."""
    return _times(cost, terms.markup) if terms.fixed is None else _times(terms.fixed, units)


def _capped(terms: Terms, owed: Money, seconds: float) -> Money:
    """Return what a tenant pays who holds a quote."""
    ceiling = terms.ceiling
    if ceiling is None:
        return owed
    return min(owed, ceiling.most, _times(ceiling.each, _units(ceiling.unit, seconds)))


def _units(unit: PriceUnit, seconds: float) -> Fraction:
    """Return how many units a call has used, exact to the microsecond."""
    if unit is not PriceUnit.SECOND:
        return AT_COST
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"a call takes a finite number of seconds from 0 up, got {seconds!r}")
    return Fraction(round(seconds * _MICROSECONDS), _MICROSECONDS)


def _times(amount: Money, factor: Fraction) -> Money:
    """Return an amount times a factor, a part of a micro-dollar rounded up."""
    if factor is AT_COST:
        return amount
    return Money(-(-amount.microusd * factor.numerator // factor.denominator))


def _decimal(factor: Fraction) -> str:
    """
    Write a factor that has six decimals at most, without zeros at its end.

    >>> _decimal(Fraction(23, 20))
    '1.15'
    """
    whole, millionths = divmod(factor.numerator * _MICROSECONDS // factor.denominator, _MICROSECONDS)
    return f"{whole}.{millionths:06d}".rstrip("0").rstrip(".")
