"""
Capabilities, policy, wishes, limits, price and health → candidates in order, and why the others are out (pure).

Two steps, since a cached answer needs the first and not the second: `screen` says which deployments could answer this
question at all; `rank` says which of them may be asked now, and in which order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.accounting.pricing import Terms, most
from gateway.fitting.plan import CannotFit, Plan, outside, plan_for
from gateway.problems import (
    AllDeploymentsUnavailable,
    BudgetExceeded,
    Forbidden,
    GatewayError,
    NoDeployment,
    PromptTooLong,
    UnsupportedCapability,
)
from gateway.request import UNRESTRICTED, Fit, Route, Strategy, TenantPolicy
from gateway.routing.deployments import Catalogue, Offer
from gateway.routing.health import BreakerState, HealthView
from providers.contract import (
    Capabilities,
    ExemplarsPrompt,
    ObjectPrompt,
    Prompt,
    Question,
    TextPrompt,
)


class Reason(StrEnum):
    """Why a deployment is out."""

    NOT_WANTED = "not_wanted"
    NOT_ALLOWED = "not_allowed"
    UNSUPPORTED = "unsupported_capability"
    PROMPT_TOO_LONG = "prompt_too_long"
    LIMITS = "picture_outside_limits"
    NO_PRICE = "no_price"
    TOO_DEAR = "above_max_charge"
    NO_BUDGET = "budget_exceeded"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A deployment that is out, and why."""

    deployment: str
    reason: Reason
    detail: str
    retry_after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment that could answer, with the terms that it is reserved and settled by."""

    offer: Offer
    terms: Terms
    plan: Plan | None = None
    """What has to be done with the picture first; None where it can go as it is."""

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.offer.name


@dataclass(frozen=True, slots=True)
class Screening:
    """Which deployments could answer a question, and why the others cannot."""

    candidates: tuple[Candidate, ...]
    exclusions: tuple[Exclusion, ...]


TermsOf = Callable[[str], Terms | None]
"""Says what a deployment costs the tenant now; None where that is not known, so that it takes no traffic."""


def screen(
    question: Question,
    route: Route,
    offers: Sequence[Offer],
    terms_of: TermsOf,
    *,
    fit: Fit = Fit.AUTO,
    policy: TenantPolicy = UNRESTRICTED,
) -> Screening:
    """
    Sort out the deployments that could not answer *question* even in the best of health.

    Args:
        question: what is asked, about which picture.
        route: the caller's wishes.
        offers: every deployment.
        terms_of: what each costs.
        fit: whether one stays in for which the picture has to be made to fit first.
        policy: what the operator allows the tenant.
    """
    candidates: list[Candidate] = []
    exclusions: list[Exclusion] = []
    for offer in offers:
        found = _excluded(question, route, offer, policy)
        if found is not None:
            exclusions.append(Exclusion(offer.name, *found))
        elif (terms := terms_of(offer.name)) is None:
            exclusions.append(
                Exclusion(
                    offer.name,
                    Reason.NO_PRICE,
                    "it has no price now; give it one in the configuration to let it take traffic",
                )
            )
        else:
            try:
                plan = _plan(question, offer, fit)
            except CannotFit as reason:
                exclusions.append(Exclusion(offer.name, Reason.LIMITS, str(reason)))
            else:
                candidates.append(Candidate(offer, terms, plan))
    return Screening(tuple(candidates), tuple(exclusions))


def rank(
    screening: Screening,
    route: Route,
    health: Mapping[str, HealthView],
    *,
    seconds: float,
    order: Sequence[str] | None = None,
) -> tuple[list[Candidate], list[Exclusion]]:
    """
    Order the candidates that may be asked now.

    Args:
        screening: who could answer.
        route: the caller's strategy and ceiling.
        health: every deployment's view, by name.
        seconds: the longest that a call may take: bounds what a deployment priced by the second can cost.
        order: the names of all of them in the order that was promised; None: as the strategy says.
    """
    able: list[Candidate] = []
    exclusions: list[Exclusion] = []
    for candidate in screening.candidates:
        view = health[candidate.name]
        if view.state is BreakerState.OPEN:
            exclusions.append(
                Exclusion(candidate.name, Reason.UNAVAILABLE, view.reason or "it is open", view.retry_after_seconds)
            )
        elif route.max_charge is not None and most(candidate.terms, seconds=seconds) > route.max_charge:
            cost = most(candidate.terms, seconds=seconds).usd
            exclusions.append(Exclusion(candidate.name, Reason.TOO_DEAR, f"a call can cost {cost} dollars"))
        else:
            able.append(candidate)
    if order is not None:
        return sorted(able, key=lambda candidate: order.index(candidate.name)), exclusions
    return sorted(able, key=lambda candidate: _order(candidate, route.strategy, seconds)), exclusions


def _order(candidate: Candidate, strategy: Strategy, seconds: float) -> tuple[int, int, int, str]:
    """Return what candidates are sorted by: smaller is asked earlier. For the same money, the picture goes as it is."""
    fitted = int(candidate.plan is not None)
    priority, cost = candidate.offer.priority, most(candidate.terms, seconds=seconds).microusd
    match strategy:
        case Strategy.CHEAPEST:
            return cost, fitted, priority, candidate.name
        case Strategy.PRIORITY:
            return priority, cost, fitted, candidate.name


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
            f"no deployment that may be asked takes {_kind(question.prompt)} prompts. Who could: {who}", field=field
        )
    if Reason.NO_BUDGET in reasons:
        return BudgetExceeded(f"no deployment fits into what a budget has left ({listed}); have it raised")
    if Reason.UNAVAILABLE in reasons:
        waits = [exclusion.retry_after_seconds for exclusion in wanted if exclusion.reason is Reason.UNAVAILABLE]
        return AllDeploymentsUnavailable(
            f"no deployment can be asked at the moment ({listed})", retry_after_seconds=max(1.0, min(waits))
        )
    if Reason.TOO_DEAR in reasons:
        return NoDeployment(
            f"route.max_charge_usd, or the quote, is too low ({listed}); raise it, or leave it out",
            field="route.max_charge_usd",
        )
    if Reason.LIMITS in reasons:
        return NoDeployment(f"the picture is outside the limits of every deployment ({listed})", field="image")
    if Reason.PROMPT_TOO_LONG in reasons:
        return PromptTooLong(f"{listed}; shorten the text", field=f"{field}.text" if field != "prompt" else field)
    return NoDeployment(f"no deployment can answer ({listed})", field="route" if route.restricted else None)


def _excluded(question: Question, route: Route, offer: Offer, policy: TenantPolicy) -> tuple[Reason, str] | None:
    deployment = offer.deployment
    if not policy.admits(deployment.provider, deployment.region):
        return Reason.NOT_ALLOWED, "the operator does not let this tenant use its provider or region"
    if not route.admits(deployment.name, deployment.provider, deployment.region):
        return Reason.NOT_WANTED, "the request's route leaves it out"
    capabilities = offer.model.capabilities
    if not covers(capabilities, question.prompt):
        return (
            Reason.UNSUPPORTED,
            f"its model {offer.model.name} takes no {_kind(question.prompt)} prompts of this form",
        )
    longest = capabilities.limits.max_prompt_characters
    text = question.prompt.text if isinstance(question.prompt, TextPrompt | ExemplarsPrompt) else None
    if text is not None and longest is not None and len(text) > longest:
        return Reason.PROMPT_TOO_LONG, f"it takes texts of at most {longest} characters, this one has {len(text)}"
    return None


def _plan(question: Question, offer: Offer, fit: Fit) -> Plan | None:
    """
    Return what has to be done with the picture; None where it can go as it is.

    Raises:
        CannotFit: it is outside of the model's limits, and cannot or must not be changed.
    """
    limits = offer.model.capabilities.limits
    reason = outside(question.picture, limits)
    if reason is None:
        return None
    if fit is Fit.STRICT:
        raise CannotFit(reason)
    return plan_for(question.picture, limits)


def covers(capabilities: Capabilities, prompt: Prompt) -> bool:
    """Whether a model with these capabilities can be asked this prompt."""
    if prompt.kind not in capabilities.prompt_kinds:
        return False
    if isinstance(prompt, ObjectPrompt):
        return (capabilities.points or not prompt.points) and (capabilities.boxes or prompt.box is None)
    return True


def _kind(prompt: Prompt) -> str:
    if not isinstance(prompt, ObjectPrompt):
        return prompt.kind.value
    parts = ["points"] * bool(prompt.points) + ["a box"] * (prompt.box is not None)
    return f"object ({' and '.join(parts)})"


def _who_could(prompt: Prompt, catalogue: Catalogue) -> str:
    """Name every installed provider's models that take such a prompt."""
    able = dict.fromkeys(  # a model that is sold under two names is named once
        f"{provider} {model.name}"
        for provider, models in sorted(catalogue.items())
        for model in models.values()
        if covers(model.capabilities, prompt)
    )
    return ", ".join(able) if able else "no installed provider"
