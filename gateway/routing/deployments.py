"""The table of deployments as the router sees them. What they cost is in the price book: it changes with time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from providers.contract import Deployment, Model, upstream_account


@dataclass(frozen=True, slots=True)
class Offer:
    """
    A deployment with its model and its place in the operator's order.

    Residency is the deployment's region: a tenant or a request that names regions is served from those alone, and one
    whose provider names no region counts as `global`, which no other name lets in.
    """

    deployment: Deployment
    model: Model
    priority: int
    """Lower is asked first under `priority`, and breaks ties under the other strategies."""
    weight: int = 1
    """Its share of the traffic under `weighted`, beside the others' weights; with 0 it is asked after all others."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The operator's own words about it; they decide nothing."""
    sandbox: bool = False
    """Whether it is played by a sandbox on this machine, so that its price is nobody's money."""
    declared_seconds: float | None = None
    """The most seconds that the operator declares a call to be charged for; None: as its model says."""
    declared_last_resort: bool | None = None
    """Whether the operator wants it asked as a last resort only; None: as its model says."""
    upstream_account: str = field(init=False)
    """Which endpoint and account its calls are made with; see `providers.contract.upstream_account`."""

    def __post_init__(self) -> None:
        """Work out once what every attempt is booked with."""
        object.__setattr__(self, "upstream_account", upstream_account(self.deployment, self.model))

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.deployment.name

    @property
    def last_resort(self) -> bool:
        """Whether it is asked only where it is named, or where nobody else takes that kind of prompt."""
        return self.model.last_resort if self.declared_last_resort is None else self.declared_last_resort

    def longest(self, seconds: float) -> float:
        """Return for how many seconds a call is charged at most that has so many."""
        declared = self.model.longest_seconds if self.declared_seconds is None else self.declared_seconds
        return seconds if declared is None else min(declared, seconds)


Catalogue = Mapping[str, Mapping[str, Model]]
"""Every model of every installed provider, configured or not: by provider, by the provider's name for it."""
