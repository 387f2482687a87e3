"""What the operator allows each tenant, and what it pays."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from gateway.request import KEYLESS_TENANT, Strategy, TenantPolicy
from gateway.settings.figures import Markup, Usd
from gateway.settings.rates import RateSettings
from gateway.settings.routing import HedgeAfter, RoutingSettings

TenantName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
RuledName = Annotated[str, StringConstraints(pattern=rf"^({KEYLESS_TENANT}|[A-Za-z0-9][A-Za-z0-9._-]{{0,62}})$")]
"""Whom rules may be made for: tenants, and all callers without a key."""


def _names_some(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a list that allows nothing: the tenant could not be served at all."""
    if not names:
        raise ValueError("an empty list allows none; leave it out to allow every one")
    return names


_Names = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=63)], ...], AfterValidator(_names_some)
]


class TenantSettings(RateSettings):
    """What holds for one tenant. All its keys share its limits; those it does not name are those of `limits`."""

    providers: _Names | None = None
    """The providers that may serve it; None: every one."""
    regions: _Names | None = None
    """The regions that may serve it; None: every one."""
    strategy: Strategy | None = None
    """Of its requests that name none; None: as `routing.strategy` says."""
    hedge_after_seconds: HedgeAfter = None
    """For its requests that say nothing; as `routing.hedge_after_seconds` where it is left out, a null for none."""
    share_cache: bool = False
    """Whether its answers are shared with every other tenant that shares."""
    markup: Markup | None = None
    """What its costs are multiplied by, before any deployment's own markup; None: as those say."""
    prices: dict[str, Usd] = Field(default_factory=dict)
    """By deployment: what it pays for one unit, whatever that costs; the unit is that of the deployment's price."""

    def policy_over(self, routing: RoutingSettings) -> TenantPolicy:
        """Return what it may use, as routing knows it, with the general word for what is not named here."""
        hedged = self if "hedge_after_seconds" in self.model_fields_set else routing
        return TenantPolicy(
            providers=None if self.providers is None else frozenset(self.providers),
            regions=None if self.regions is None else frozenset(self.regions),
            share_cache=self.share_cache,
            strategy=self.strategy or routing.strategy,
            hedge_after=hedged.hedge_after_seconds,
        )
