"""
What is known of the deployments and what may be spent on them, and goes on when the configuration changes.

A deployment that stays as it was keeps its breaker, its pace and its places; one that has become another (a new
credential, a new address) begins afresh. A budget goes on with what is spent of it unless its own figures have changed.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.accounting.drift import DriftWatch
from gateway.houses import kept
from gateway.routing.concurrency import Bounds, Limiters
from gateway.routing.deployments import Offer
from gateway.routing.doubt import DoubtLimits, DoubtWatch
from gateway.routing.health import HealthTable
from gateway.routing.hedging import HedgeBudget
from gateway.routing.retry_budget import RetryBudget
from gateway.routing.router import Router
from gateway.settings import Settings
from gateway.settings.offers import Offered
from gateway.telling import Telling
from providers.contract import Clock


@dataclass(frozen=True, slots=True)
class Memory:
    """What one configuration hands on to the next."""

    settings: Settings
    """Those that it stands for."""
    offers: Mapping[str, Offer]
    """By name."""
    health: HealthTable
    router: Router
    places: Limiters
    retries: RetryBudget
    doubt: DoubtWatch
    hedges: HedgeBudget
    drift: DriftWatch


def remembered(
    settings: Settings,
    offered: Offered,
    before: Memory | None,
    *,
    health: HealthTable,
    telling: Telling,
    clock: Clock,
    chance: random.Random,
) -> Memory:
    """
    Return what a configuration begins with.

    Args:
        settings: the configuration.
        offered: its deployments.
        before: what the one before it leaves; None at the start.
        health: that of the deployments before; it tells of their breakers.
        telling: told of prices that begin or end to drift.
        clock: monotonic seconds.
        chance: breaks ties and explores.
    """
    known: Mapping[str, Offer] = {} if before is None else before.offers
    offers = {offer.name: offer for offer in offered.offers}
    afresh = {name for name in offers.keys() & known.keys() if offers[name].deployment is not known[name].deployment}
    router = Router(offers, clock, chance) if before is None else before.router.renewed(offers, afresh=afresh)
    places = Limiters({}, clock) if before is None else before.places
    bounds = {each.name: Bounds(each.max_concurrency, each.max_queue) for each in offered.wanted}
    slow = {each.name: each.slow_seconds for each in offered.wanted if each.slow_seconds is not None}
    return Memory(
        settings=settings,
        offers=offers,
        health=health.renewed(offers, afresh=afresh, slow_seconds=slow),
        router=router,
        places=places.renewed(bounds, afresh=afresh),
        retries=_retries(settings, before, clock),
        doubt=_doubt(settings, before, clock),
        hedges=_hedges(settings, before),
        drift=_drift(settings, offers, before, telling=telling, clock=clock),
    )


def _retries(settings: Settings, before: Memory | None, clock: Clock) -> RetryBudget:
    """Return what may be spent on further calls."""
    routing = settings.routing
    same = kept(before, settings, _of_retries)
    if same is not None:
        return same.retries
    return RetryBudget(
        clock, percent=routing.retry_percent, at_least=routing.retry_at_least, in_place=routing.retries_in_place
    )


def _of_retries(settings: Settings) -> object:
    """Return what bounds further calls."""
    return settings.routing.retry_percent, settings.routing.retry_at_least, settings.routing.retries_in_place


def _doubt(settings: Settings, before: Memory | None, clock: Clock) -> DoubtWatch:
    """Return what bounds the money in doubt."""
    same = kept(before, settings, lambda each: each.routing.doubt)
    if same is not None:
        return same.doubt
    doubt = settings.routing.doubt
    return DoubtWatch(DoubtLimits(doubt.per_request(), doubt.per_minute()), clock)


def _hedges(settings: Settings, before: Memory | None) -> HedgeBudget:
    """Return what may be spent on second calls."""
    same = kept(before, settings, lambda each: each.routing.hedge_percent)
    return HedgeBudget(percent=settings.routing.hedge_percent) if same is None else same.hedges


def _drift(
    settings: Settings, offers: Mapping[str, Offer], before: Memory | None, *, telling: Telling, clock: Clock
) -> DriftWatch:
    """Return who compares what providers report with what they publish."""
    same = kept(before, settings, lambda each: each.pricing.drift_alarm_percent)
    known = set() if before is None else set(before.offers)
    watched_on = known & offers.keys() if same is not None else set()
    telling.no_drift((offers.keys() | known) - watched_on)
    if same is not None:
        return same.drift
    return DriftWatch(settings.pricing.drift_alarm_percent, clock=clock, told=telling.drift)
