"""
Which price holds at which moment, and what each tenant pays. Pure.

The rule that says most about a case decides: a price fixed for the tenant and the deployment, else the tenant's markup,
else the deployment's, else the general one. Markups do not multiply each other.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from gateway.accounting.pricing import AT_COST, Price, Terms
from providers.contract import Money


@dataclass(frozen=True, slots=True)
class Markups:
    """How charges are made of costs."""

    general: Fraction = AT_COST
    """For what none of the others names."""
    deployments: Mapping[str, Fraction] = field(default_factory=dict)
    tenants: Mapping[str, Fraction] = field(default_factory=dict)
    fixed: Mapping[tuple[str, str], Money] = field(default_factory=dict)
    """By tenant and deployment: what the tenant pays for one unit, whatever it costs."""


class PriceBook:
    """Every deployment's dated prices, and how charges are made of them. Never changes."""

    def __init__(self, prices: Iterable[Price], markups: Markups | None = None) -> None:
        """
        Put prices in order.

        Args:
            prices: of any deployments, in any order.
            markups: how charges are made of costs; None: they are passed on as they are.

        Raises:
            ValueError: two prices of a deployment hold at one moment, or one ends before it begins.
        """
        self._markups = markups or Markups()
        self._prices: dict[str, list[Price]] = {}
        for price in sorted(prices, key=lambda price: price.starts_at):
            self._prices.setdefault(price.deployment, []).append(price)
        for dated in self._prices.values():
            _refuse_overlaps(dated)
        self.by_id = {price.id: price for dated in self._prices.values() for price in dated}
        """Every price, by its id."""
        self._starts = {name: [price.starts_at for price in dated] for name, dated in self._prices.items()}

    def price_at(self, deployment: str, at: int) -> Price | None:
        """
        Return the price that holds.

        Args:
            deployment: its name.
            at: microseconds since 1970, UTC.

        Returns:
            The price, or None where none holds: not yet, no longer, or never. Then it takes no traffic.
        """
        dated = self._prices.get(deployment)
        if dated is None:
            return None
        index = bisect_right(self._starts[deployment], at) - 1
        if index < 0:
            return None
        price = dated[index]
        return price if price.ends_at is None or at < price.ends_at else None

    def terms(self, tenant: str, deployment: str, at: int) -> Terms | None:
        """
        Return what a tenant pays for a deployment.

        Args:
            tenant: who pays.
            deployment: its name.
            at: microseconds since 1970, UTC.

        Returns:
            The terms, or None where the deployment has no price at that moment.
        """
        price = self.price_at(deployment, at)
        if price is None:
            return None
        markups = self._markups
        fixed = markups.fixed.get((tenant, deployment))
        if fixed is not None:
            return Terms(price, fixed=fixed)
        markup = markups.tenants.get(tenant)
        if markup is None:
            markup = markups.deployments.get(deployment, markups.general)
        return Terms(price, markup)

    def next_change(self, deployment: str, at: int) -> int | None:
        """
        Return when another price holds, or none, than does now.

        Args:
            deployment: its name.
            at: microseconds since 1970, UTC.

        Returns:
            The moment, in microseconds since 1970, UTC; None when nothing will change.
        """
        dated = self._prices.get(deployment, [])
        moments = [moment for price in dated for moment in (price.starts_at, price.ends_at) if moment is not None]
        return min((moment for moment in moments if moment > at), default=None)


def _refuse_overlaps(dated: list[Price]) -> None:
    """Check one deployment's prices, which are in the order of their beginnings."""
    for price, following in zip(dated, [*dated[1:], None], strict=True):
        if price.ends_at is not None and price.ends_at <= price.starts_at:
            raise ValueError(f"the price {price.id} ends before it begins")
        if following is not None and (
            following.starts_at == price.starts_at or following.starts_at < (price.ends_at or following.starts_at)
        ):
            raise ValueError(f"the prices {price.id} and {following.id} hold at one moment; one price holds at a time")
