"""The problem of a question that nobody can be asked: the nearest miss decides what the caller is told. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gateway.problems import (
    SEND_A_KEY,
    AllDeploymentsUnavailable,
    BudgetExceeded,
    Forbidden,
    GatewayError,
    NoDeployment,
    PromptTooLong,
    Unauthenticated,
    UnsupportedCapability,
)
from gateway.request import Route
from gateway.routing.candidates import Exclusion, Reason
from gateway.routing.deployments import Catalogue, Offer
from gateway.routing.screening import covers, kind_of
from providers.contract import Prompt, Question

#: Why a deployment is out that will be back by itself, or that its operator brings back.
AWAY = frozenset({Reason.UNAVAILABLE, Reason.DRAINED})


def explain(
    question: Question,
    route: Route,
    exclusions: Sequence[Exclusion],
    *,
    catalogue: Catalogue,
    field: str,
    offers: Sequence[Offer],
) -> GatewayError:
    """Return the problem of a question that no deployment can be asked: the nearest miss decides its code."""
    wanted = [each for each in exclusions if each.reason not in {Reason.NOT_WANTED, Reason.NOT_ALLOWED}]
    reasons = {exclusion.reason for exclusion in wanted}
    listed = "; ".join(f"{exclusion.deployment}: {exclusion.detail}" for exclusion in wanted)
    if not offers:
        return NoDeployment("no deployment is configured here: its operator has to add one, or a provider's key")
    if not wanted and any(exclusion.reason is Reason.NOT_ALLOWED for exclusion in exclusions):
        return Forbidden(
            "the operator of this gateway does not let this tenant use any deployment that the request leaves in; "
            "ask for other providers or regions, or have tenants.providers and tenants.regions changed",
            field="route" if route.restricted else None,
        )
    if not wanted:
        names = ", ".join(offer.name for offer in offers)
        return NoDeployment(f"route names no deployment that is configured here ({names})", field="route")
    if reasons == {Reason.UNSUPPORTED}:
        who = _who_could(question.prompt, catalogue)
        return UnsupportedCapability(
            f"no deployment that may be asked takes {kind_of(question.prompt)} prompts. Who could: {who}", field=field
        )
    if Reason.NO_BUDGET in reasons:
        return BudgetExceeded(f"no deployment fits into what a budget has left ({listed}); have it raised")
    if reasons & AWAY:
        waits = [exclusion.retry_after_seconds for exclusion in wanted if exclusion.reason in AWAY]
        return AllDeploymentsUnavailable(
            f"no deployment can be asked at the moment ({listed})", retry_after_seconds=max(1.0, min(waits))
        )
    if Reason.NEEDS_KEY in reasons:
        without = "without a key only deployments that cost nothing are asked, and none of those can answer"
        return Unauthenticated(f"{without} ({listed}); {SEND_A_KEY}", field="Authorization")
    return _unfit(reasons, listed, field=field, restricted=route.restricted)


def _unfit(reasons: Collection[Reason], listed: str, *, field: str, restricted: bool) -> GatewayError:
    """Return the problem of a question that each deployment is unfit for, though not for its kind."""
    if Reason.TOO_DEAR in reasons:
        return NoDeployment(
            f"route.max_charge_usd, or the quote, is too low ({listed}); raise it, or leave it out",
            field="route.max_charge_usd",
        )
    if Reason.LIMITS in reasons:
        return NoDeployment(f"the picture is outside the limits of every deployment ({listed})", field="image")
    if Reason.PROMPT_TOO_LONG in reasons:
        return PromptTooLong(f"{listed}; shorten the text", field=f"{field}.text" if field != "prompt" else field)
    return NoDeployment(f"no deployment can answer ({listed})", field="route" if restricted else None)


def _who_could(prompt: Prompt, catalogue: Catalogue) -> str:
    """Name every installed provider's models that take such a prompt."""
    able = dict.fromkeys(  # a model that is sold under two names is named once
        f"{provider} {model.name}"
        for provider, models in sorted(catalogue.items())
        for model in models.values()
        if covers(model.capabilities, prompt)
    )
    return ", ".join(able) if able else "no installed provider"
