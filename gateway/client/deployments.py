"""Deployments as values, read out of the API's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from providers.contract import Money


@dataclass(frozen=True, slots=True)
class DeploymentPrice:
    """What one unit costs."""

    id: str
    amount: Money
    unit: str
    """`success`, `request` or `second`."""


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """One deployment, and how it is."""

    name: str
    provider: str
    model: str
    region: str
    priority: int
    prompt_kinds: tuple[str, ...]
    price: DeploymentPrice | None
    takes_traffic: bool
    """False where no price is known."""
    health: str
    """`closed` (it is asked), `half_open` (one call at a time) or `open` (it is not asked)."""
    reason: str | None
    """Why it is not asked."""
    in_flight: int
    document: Mapping[str, Any] = field(repr=False)
    """The deployment as it came."""


def read_deployments(document: Mapping[str, Any]) -> tuple[DeploymentState, ...]:
    """
    Read the JSON of all deployments.

    Raises:
        KeyError, TypeError, ValueError: it is not this API's.
    """
    return tuple(_read_deployment(deployment) for deployment in document["deployments"])


def _read_deployment(document: Mapping[str, Any]) -> DeploymentState:
    price, health = document["price"], document["health"]
    return DeploymentState(
        name=document["name"],
        provider=document["provider"],
        model=document["model"],
        region=document["region"],
        priority=document["priority"],
        prompt_kinds=tuple(document["capabilities"]["prompt_kinds"]),
        price=DeploymentPrice(price["id"], Money(price["microusd"]), price["unit"]) if price is not None else None,
        takes_traffic=document["takes_traffic"],
        health=health["state"],
        reason=health["reason"],
        in_flight=document["in_flight"],
        document=document,
    )
