"""The table of deployments as the router sees them. What they cost is in the price book: it changes with time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from providers.contract import Deployment, Model


@dataclass(frozen=True, slots=True)
class Offer:
    """A deployment with its model and its place in the operator's order."""

    deployment: Deployment
    model: Model
    priority: int
    """Lower is asked first under `priority`, and breaks ties under the other strategies."""

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.deployment.name


Catalogue = Mapping[str, Mapping[str, Model]]
"""Every model of every installed provider, configured or not: by provider, by the provider's name for it."""
