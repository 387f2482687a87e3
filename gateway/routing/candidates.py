"""Who could answer a question, and why the others cannot: the values that screening and ranking hand on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.accounting.pricing import Terms, most
from gateway.fitting.plan import Plan
from gateway.routing.deployments import Offer
from providers.contract import Money, PriceUnit

#: What a call is hoped to take of somebody whom nobody knows.
HOPED_SECONDS = 1.0


class Reason(StrEnum):
    """Why a deployment is out."""

    NOT_WANTED = "not_wanted"
    NOT_ALLOWED = "not_allowed"
    UNSUPPORTED = "unsupported_capability"
    PROMPT_TOO_LONG = "prompt_too_long"
    LIMITS = "picture_outside_limits"
    NO_PRICE = "no_price"
    NEEDS_KEY = "needs_key"
    LAST_RESORT = "last_resort"
    TOO_DEAR = "above_max_charge"
    NO_BUDGET = "budget_exceeded"
    UNAVAILABLE = "unavailable"
    DRAINED = "drained"


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
    explored: bool = False
    """Whether it is asked first only to find out how it does by now."""

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.offer.name

    def most(self, seconds: float) -> Money:
        """
        Return the most that a call can cost, which is what is reserved for it.

        Args:
            seconds: the longest that it may take.
        """
        return most(self.terms, seconds=self.offer.longest(seconds))

    def likely(self, seconds: float, usual_seconds: float | None) -> Money:
        """
        Return what a call is likely to cost: by the second, what one usually takes.

        Args:
            seconds: the longest that it may take.
            usual_seconds: what its calls took lately; None while nobody knows, and then a second is hoped for, so that
                whoever is new is tried.
        """
        if self.terms.price.unit is not PriceUnit.SECOND:
            return self.most(seconds)
        usual = HOPED_SECONDS if usual_seconds is None else usual_seconds
        return most(self.terms, seconds=min(usual, self.offer.longest(seconds)))


@dataclass(frozen=True, slots=True)
class Screening:
    """Which deployments could answer a question, and why the others cannot."""

    candidates: tuple[Candidate, ...]
    exclusions: tuple[Exclusion, ...]
