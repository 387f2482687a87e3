"""What a request would cost, by whom, in which order, and why the others are out. Spends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.accounting.pricing import most
from gateway.cache.key import question_digest
from gateway.flow import Services, recall, recall_shared
from gateway.problems import GatewayError
from gateway.request import CacheMode, SegmentationRequest
from gateway.routing.ranking import Candidate, Exclusion, Screening, explain, rank, screen
from providers.contract import NOTHING, Money


@dataclass(frozen=True, slots=True)
class QuotedCandidate:
    """A deployment that would be asked, and the most that one call to it costs."""

    candidate: Candidate
    most: Money


@dataclass(frozen=True, slots=True)
class QuotedQuestion:
    """What one prompt would cost."""

    prompt_index: int
    kept: bool
    """Whether the cache has the answer."""
    candidates: Sequence[QuotedCandidate]
    exclusions: Sequence[Exclusion]
    most: Money
    """Every attempt charged or held."""
    likely: Money
    """The first candidate answers."""
    error: GatewayError | None


async def quote(request: SegmentationRequest, services: Services) -> list[QuotedQuestion]:
    """Return what each question of *request* would cost, as things stand."""
    return await asyncio.gather(*(_quoted(request, index, services) for index in range(len(request.questions))))


async def _quoted(request: SegmentationRequest, index: int, services: Services) -> QuotedQuestion:
    question, route, seconds = request.questions[index], request.route, request.deadline.remaining()
    screening = screen(question, route, services.offers, request.fit)
    candidates, out = rank(screening, route, services.health.views(), seconds=seconds)
    exclusions = [*screening.exclusions, *out]
    quoted = [QuotedCandidate(candidate, most(candidate.price, seconds=seconds)) for candidate in candidates]
    if request.cache.mode is CacheMode.USE and await _kept(request, index, screening, services):
        return QuotedQuestion(index, True, quoted, exclusions, NOTHING, NOTHING, None)
    error = None
    if not quoted:
        error = explain(
            question,
            route,
            exclusions,
            catalogue=services.catalogue,
            field=request.fields[index],
            offers=services.offers,
        )
    return QuotedQuestion(index, False, quoted, exclusions, _most(quoted, route.max_attempts), _likely(quoted), error)


async def _kept(request: SegmentationRequest, index: int, screening: Screening, services: Services) -> bool:
    """Return whether this gateway or another one has the answer."""
    if not screening.candidates:
        return False
    digest = question_digest(request.questions[index], request.caller.tenant)
    return (
        recall(digest, screening, request, services.cache) is not None
        or await recall_shared(digest, screening, request, services.cache) is not None
    )


def _most(quoted: Sequence[QuotedCandidate], max_attempts: int) -> Money:
    """Add up the dearest calls that the attempts allow."""
    dearest = sorted((each.most.microusd for each in quoted), reverse=True)[:max_attempts]
    return Money(sum(dearest))


def _likely(quoted: Sequence[QuotedCandidate]) -> Money:
    return quoted[0].most if quoted else NOTHING
