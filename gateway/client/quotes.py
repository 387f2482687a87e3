"""Quotes as values, read out of the API's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.client.errors import Problem, read_problem
from providers.contract import Money


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment that would be asked."""

    deployment: str
    provider: str
    model: str
    region: str
    most: Money
    """What one call to it can cost at most."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A deployment that would not be asked."""

    deployment: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class QuotedPrompt:
    """What one prompt would cost."""

    prompt_index: int
    cache: str
    """`hit` or `miss`."""
    candidates: tuple[Candidate, ...]
    """In the order in which they would be tried."""
    excluded: tuple[Exclusion, ...]
    most: Money
    error: Problem | None
    """Why nobody would be asked."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What a request would cost."""

    prompts: tuple[QuotedPrompt, ...]
    most: Money
    """The most it can cost: every attempt charged or held."""
    likely: Money
    """What it costs when the first candidate of each prompt answers."""
    document: Mapping[str, Any] = field(repr=False)
    """The quote as it came."""


def read_quote(document: Mapping[str, Any]) -> Quote:
    """
    Read a quote's JSON.

    Raises:
        KeyError, TypeError, ValueError: it is not a quote of this API.
    """
    return Quote(
        prompts=tuple(_read_prompt(prompt) for prompt in document["questions"]),
        most=Money(document["most_microusd"]),
        likely=Money(document["likely_microusd"]),
        document=document,
    )


def _read_prompt(document: Mapping[str, Any]) -> QuotedPrompt:
    error = document.get("error")
    return QuotedPrompt(
        prompt_index=document["prompt_index"],
        cache=document["cache"],
        candidates=tuple(
            Candidate(
                deployment=candidate["deployment"],
                provider=candidate["provider"],
                model=candidate["model"],
                region=candidate["region"],
                most=Money(candidate["most_microusd"]),
            )
            for candidate in document["candidates"]
        ),
        excluded=tuple(Exclusion(**exclusion) for exclusion in document["excluded"]),
        most=Money(document["most_microusd"]),
        error=read_problem(error, status=error.get("status", 0)) if error is not None else None,
    )
