"""Deployments, questions and health for tests of routing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.accounting import Price
from gateway.accounting.pricing import Terms
from gateway.request import UNRESTRICTED, Fit, Route, TenantPolicy
from gateway.routing import ranking
from gateway.routing.deployments import Offer
from gateway.routing.health import BreakerState, HealthView
from gateway.routing.ranking import Screening
from providers.contract import (
    Capabilities,
    Deployment,
    Limits,
    Model,
    Money,
    Picture,
    PriceUnit,
    Prompt,
    PromptKind,
    Question,
    TextPrompt,
)

ALL_KINDS = Capabilities(frozenset(PromptKind), points=True, boxes=True)
TEXT_ONLY = Capabilities(frozenset({PromptKind.TEXT}))

CLOSED = HealthView(BreakerState.CLOSED, None, 0.0, 0)
HALF_OPEN = HealthView(BreakerState.HALF_OPEN, "it failed", 0.0, 0)


def opened(seconds: float, reason: str = "it failed") -> HealthView:
    """Return the view of a breaker that stays open for that long."""
    return HealthView(BreakerState.OPEN, reason, seconds, 0)


def price(name: str, microusd: int, unit: PriceUnit = PriceUnit.SUCCESS) -> Price:
    """Return a price in micro-dollars for one unit."""
    return Price(name, Money(microusd), unit, "2026-11-01", "the test")


@dataclass(frozen=True, slots=True)
class PricedOffer(Offer):
    """A deployment with what it costs, which elsewhere stands in the price book."""

    price: Price | None = None


def screen(
    asked: Question,
    route: Route,
    offers: Sequence[PricedOffer],
    fit: Fit = Fit.AUTO,
    policy: TenantPolicy = UNRESTRICTED,
) -> Screening:
    """Screen deployments that are passed on at cost."""
    prices = {each.name: each.price for each in offers}

    def terms_of(name: str) -> Terms | None:
        price = prices[name]
        return None if price is None else Terms(price)

    return ranking.screen(asked, route, offers, terms_of, fit=fit, policy=policy)


def offer(
    name: str,
    microusd: int | None = 5000,
    *,
    capabilities: Capabilities = ALL_KINDS,
    provider: str = "runflow",
    region: str = "eu",
    priority: int = 1,
    weight: int = 1,
    unit: PriceUnit = PriceUnit.SUCCESS,
) -> PricedOffer:
    """Return a deployment; without micro-dollars it has no price."""
    model = Model("sam-3", "sam3", capabilities)
    deployment = Deployment(name, provider, model.name, region)
    cost = None if microusd is None else price(name, microusd, unit)
    return PricedOffer(deployment, model, priority, weight, price=cost)


def limited(**limits: Any) -> Capabilities:
    """Return the capabilities of a model that takes everything within these limits."""
    return Capabilities(frozenset(PromptKind), points=True, boxes=True, limits=Limits(**limits))


def question(
    prompt: Prompt | None = None,
    *,
    width: int = 640,
    height: int = 480,
    size: int = 1000,
    media_type: str = "image/png",
) -> Question:
    """Return a question about a picture of that many pixels and bytes."""
    picture = Picture(bytes(size), media_type, width, height, "blake3:0")
    return Question(picture, prompt or TextPrompt("shoe"), max_masks=10)
