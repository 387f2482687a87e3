"""What the cache has of a question's answers, for whom, and what a caller has saved by one."""

from __future__ import annotations

from gateway.accounting.pricing import charge
from gateway.cache.key import cache_key
from gateway.cache.store import Kept
from gateway.fitting.plan import outside
from gateway.purchase import Purchase, Services
from gateway.request import CacheMode, Caller, Fit, Origin, SegmentationRequest
from gateway.routing.screening import last_resorts
from providers.contract import LARGEST_MICROUSD, NOTHING, Money, Question, Usage

_MICROS = 1_000_000

#: Whose the answers are that tenants share with each other; no tenant can have that name.
SHARED = "*"


def scope_of(caller: Caller) -> str:
    """Return whose answers a caller's questions may share: the tenant's own, or all tenants' that share."""
    return SHARED if caller.policy.share_cache else caller.tenant


def recall(digest: str, question: Question, request: SegmentationRequest, services: Services) -> Kept | None:
    """Return an answer that this process has kept, of a deployment that the caller's policy and wishes leave in."""
    for key in _keys(digest, question, request, services):
        kept = services.cache.recall(key)
        if kept is not None:
            return kept
    return None


async def recall_shared(
    digest: str, question: Question, request: SegmentationRequest, services: Services
) -> Kept | None:
    """As `recall`, of what other gateways have kept; without such a cache, at once."""
    if services.cache.shared is None:
        return None
    keys = _keys(digest, question, request, services)
    found = await services.cache.recall_shared(keys, size=request.picture.size)
    return found[0] if found else None


def keep(bought: Kept, purchase: Purchase, digest: str, services: Services) -> None:
    """Keep an answer for whoever asks the same, unless the request forbids it."""
    wish, origin = purchase.request.cache, bought.origin
    if wish.mode is not CacheMode.SKIP:
        key = cache_key(digest, origin.family, origin.deployment)
        services.cache.keep(key, bought, ttl_seconds=wish.ttl_seconds)


def saving(origin: Origin, request: SegmentationRequest, services: Services) -> Money:
    """Return what the call that an answer was bought with would have cost this caller, by its own terms."""
    terms = services.prices.terms(request.caller.tenant, origin.deployment, round(services.wall() * _MICROS))
    if terms is None:
        return NOTHING
    usage = Usage(seconds=origin.seconds, reported=origin.cost)
    return charge(terms, usage, Money(LARGEST_MICROUSD)).charge


def _keys(digest: str, question: Question, request: SegmentationRequest, services: Services) -> list[str]:
    """
    Return the names under which an answer may be kept that this caller may have, in the operator's order.

    One is kept for each deployment, so that callers who may use different ones do not push out each other's.
    """
    policy, route = request.caller.policy, request.route
    spared = last_resorts(question.prompt, route, services.offers, policy)
    admitted = [
        offer
        for offer in services.offers
        if offer.name not in spared
        and policy.admits(offer.deployment.provider, offer.deployment.region)
        and route.admits(offer.name, offer.deployment.provider, offer.deployment.region)
    ]
    if request.fit is Fit.STRICT:  # an answer about a fitted picture is none
        admitted = [offer for offer in admitted if outside(request.picture, offer.model.capabilities.limits) is None]
    return [cache_key(digest, offer.model.family, offer.name) for offer in admitted]
