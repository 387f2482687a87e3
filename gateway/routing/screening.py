"""
Capabilities, policy, wishes, limits and price → who could answer a question, and why the others cannot. Pure.

This needs no health, so that a kept answer can be recalled for it while everybody is down; `ranking` goes on from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.accounting.pricing import Terms
from gateway.fitting.plan import CannotFit, Plan, outside, plan_for
from gateway.loopback import leads_to_loopback
from gateway.request import UNRESTRICTED, Fit, Route, TenantPolicy
from gateway.routing.candidates import Candidate, Exclusion, Reason, Screening
from gateway.routing.deployments import Offer
from providers.contract import NOTHING, Capabilities, ExemplarsPrompt, ObjectPrompt, Prompt, Question, TextPrompt

NO_PEER = (
    "its answers are much worse than those of the others that take this kind of prompt; name it in route.deployments "
    "to have it asked"
)

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
    keyless: bool = False,
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
        keyless: whether the caller has shown no key, so that only what costs nothing is left in.
    """
    candidates: list[Candidate] = []
    exclusions: list[Exclusion] = []
    spared = last_resorts(question.prompt, route, offers, policy)
    for offer in offers:
        found = _excluded(question, route, offer, policy)
        if found is not None:
            exclusions.append(Exclusion(offer.name, *found))
        elif offer.name in spared:
            exclusions.append(Exclusion(offer.name, Reason.LAST_RESORT, NO_PEER))
        elif (terms := terms_of(offer.name)) is None:
            exclusions.append(
                Exclusion(
                    offer.name,
                    Reason.NO_PRICE,
                    "it has no price now; give it one in the configuration to let it take traffic",
                )
            )
        elif keyless and not costs_nothing(offer, terms):
            exclusions.append(
                Exclusion(offer.name, Reason.NEEDS_KEY, "it needs a key: without one only what costs nothing is asked")
            )
        else:
            try:
                plan = _plan(question, offer, fit)
            except CannotFit as reason:
                exclusions.append(Exclusion(offer.name, Reason.LIMITS, str(reason)))
            else:
                candidates.append(Candidate(offer, terms, plan))
    return Screening(tuple(candidates), tuple(exclusions))


def last_resorts(prompt: Prompt, route: Route, offers: Sequence[Offer], policy: TenantPolicy) -> frozenset[str]:
    """
    Return whose answers a request does not get, since they are no peers of the others'.

    Whoever is a last resort answers where the request names it, or where none of the others that the operator and the
    request leave in takes that kind of prompt, in whatever health they are: it is nobody's silent failover.

    Args:
        prompt: what is asked.
        route: the caller's wishes.
        offers: every deployment.
        policy: what the operator allows the tenant.
    """
    last = frozenset(offer.name for offer in offers if offer.last_resort) - frozenset(route.deployments or ())
    if not last:
        return last
    peers = any(
        not offer.last_resort
        and policy.admits(offer.deployment.provider, offer.deployment.region)
        and route.admits(offer.name, offer.deployment.provider, offer.deployment.region)
        and covers(offer.model.capabilities, prompt)
        for offer in offers
    )
    return last if peers else frozenset()


def costs_nothing(offer: Offer, terms: Terms | None) -> bool:
    """
    Whether nobody's money is spent there: what its operator pays counts, whatever a tenant is charged.

    A price of nothing is not believed where a credential leaves this machine: some providers bill by their own figure,
    whatever stands in the configuration.
    """
    if offer.sandbox:
        return True
    at_home = not offer.deployment.credential or leads_to_loopback(offer.deployment.endpoint)
    return at_home and terms is not None and terms.price.usd == NOTHING


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
            f"its model {offer.model.name} takes no {kind_of(question.prompt)} prompts of this form",
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


def kind_of(prompt: Prompt) -> str:
    """Name a prompt's form, as problems do."""
    if not isinstance(prompt, ObjectPrompt):
        return prompt.kind.value
    parts = ["points"] * bool(prompt.points) + ["a box"] * (prompt.box is not None)
    return f"object ({' and '.join(parts)})"
