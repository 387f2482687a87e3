"""Answers as values, read out of the API's JSON: the only place of this client where a field of it is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.client.errors import Problem, read_problem
from gateway.client.masks import EncodedMask, read_mask
from providers.contract import Box, Money


@dataclass(frozen=True, slots=True)
class Found:
    """One instance."""

    prompt_index: int
    score: float | None
    """The provider's confidence in [0, 1]; None where it gives none."""
    box: Box
    area: int
    """Pixels on the object."""
    label: str | None
    mask: EncodedMask | None
    """None where no masks were asked for."""


@dataclass(frozen=True, slots=True)
class AnswerOrigin:
    """Where the answer to one prompt came from."""

    prompt_index: int
    deployment: str | None
    """None where the prompt failed."""
    provider: str | None
    model: str | None
    region: str | None
    cache: str | None
    warnings: tuple[str, ...]
    error: Problem | None
    """Why this prompt has no answer although others of the request have."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to one deployment."""

    prompt_index: int
    deployment: str
    outcome: str
    duration_ms: int
    charge: Money
    held: Money
    """Kept back until it is known whether the provider bills it."""
    message: str | None
    """Why it failed; None when it succeeded."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the request cost its caller."""

    charged: Money
    held: Money
    """Kept back until it is known whether the provider bills it."""
    saved: Money
    """What the cache spared."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request."""

    id: str
    status: str
    """`succeeded` or `partially_succeeded`."""
    width: int
    height: int
    instances: tuple[Found, ...]
    answers: tuple[AnswerOrigin, ...]
    attempts: tuple[Attempt, ...]
    cost: Cost
    total_ms: int
    """Milliseconds between the gateway's first and last byte."""
    document: Mapping[str, Any] = field(repr=False)
    """The answer as it came."""

    @property
    def deployments(self) -> tuple[str, ...]:
        """The deployments that the answers came from, each once, in order."""
        return tuple(dict.fromkeys(origin.deployment for origin in self.answers if origin.deployment))

    @property
    def caches(self) -> tuple[str, ...]:
        """What the cache did, each word once, in order."""
        return tuple(dict.fromkeys(origin.cache for origin in self.answers if origin.cache))

    @property
    def best_score(self) -> float | None:
        """The highest score of any instance; None where there is no score."""
        return max((found.score for found in self.instances if found.score is not None), default=None)


def read_answer(document: Mapping[str, Any]) -> Answer:
    """
    Read an answer's JSON.

    Raises:
        KeyError, TypeError, ValueError: it is not an answer of this API.
    """
    image, cost = document["image"], document["cost"]
    return Answer(
        id=document["id"],
        status=document["status"],
        width=image["width"],
        height=image["height"],
        instances=tuple(_read_instance(instance) for instance in document["instances"]),
        answers=tuple(_read_origin(origin) for origin in document["answers"]),
        attempts=tuple(_read_attempt(attempt) for attempt in document["attempts"]),
        cost=Cost(
            charged=Money(cost["charged_microusd"]),
            held=Money(cost["held_microusd"]),
            saved=Money(cost["saved_microusd"]),
        ),
        total_ms=document["timing_ms"]["total"],
        document=document,
    )


def _read_instance(document: Mapping[str, Any]) -> Found:
    mask = document.get("mask")
    return Found(
        prompt_index=document["prompt_index"],
        score=document["score"],
        box=Box(**document["box"]),
        area=document["area"],
        label=document.get("label"),
        mask=read_mask(mask) if mask is not None else None,
    )


def _read_origin(document: Mapping[str, Any]) -> AnswerOrigin:
    error = document.get("error")
    return AnswerOrigin(
        prompt_index=document["prompt_index"],
        deployment=document.get("deployment"),
        provider=document.get("provider"),
        model=document.get("model"),
        region=document.get("region"),
        cache=document.get("cache"),
        warnings=tuple(document.get("warnings", ())),
        error=read_problem(error, status=error.get("status", 0)) if error is not None else None,
    )


def _read_attempt(document: Mapping[str, Any]) -> Attempt:
    return Attempt(
        prompt_index=document["prompt_index"],
        deployment=document["deployment"],
        outcome=document["outcome"],
        duration_ms=document["duration_ms"],
        charge=Money(document["charge_microusd"]),
        held=Money(document.get("held_microusd", 0)),
        message=document.get("message"),
    )
