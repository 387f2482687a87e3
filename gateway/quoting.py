"""
What a request would cost, by whom, in which order, and why the others are out. Spends nothing.

A quote binds: its name, sent back as `quote_id` while it holds, keeps the request from costing more than was said. What
the cache had when it was quoted is promised for nothing; once that is gone, the quote has no deployment to buy it from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.accounting.budgets import Budget
from gateway.accounting.pricing import Ceiling, Terms
from gateway.accounting.quote_tokens import QuotedCall, QuoteTerms, quoted_digest
from gateway.cache.key import question_digest
from gateway.flow import screened, views_for
from gateway.kept_answers import recall, recall_shared, scope_of
from gateway.problems import GatewayError
from gateway.purchase import Services
from gateway.request import CacheMode, SegmentationRequest
from gateway.routing.explanation import Explained
from gateway.routing.ranking import Candidate, Exclusion, Reason, explain
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
    explanation: Sequence[Explained]
    """What each deployment was weighed by."""


async def quote(
    request: SegmentationRequest, services: Services, budgets: Sequence[Budget] = ()
) -> list[QuotedQuestion]:
    """
    Return what each question of a request would cost, as things stand.

    Args:
        request: what would be asked.
        services: what would answer.
        budgets: those that bound the caller; the hard one with the least left keeps dearer calls out.
    """
    tightest = min((budget for budget in budgets if budget.hard), key=lambda budget: budget.left, default=None)
    asked = range(len(request.questions))
    return await asyncio.gather(*(_quoted(request, index, services, tightest) for index in asked))


async def _quoted(
    request: SegmentationRequest, index: int, services: Services, tightest: Budget | None
) -> QuotedQuestion:
    question, route, seconds = request.questions[index], request.route, request.deadline.remaining()
    screening = screened(request, question, services)
    ranking = services.router.previewed(
        screening, route, views_for(screening, services)[0], seconds=seconds, explain=True
    )
    exclusions, why = [*screening.exclusions, *ranking.exclusions], ranking.explained
    quoted = [QuotedCandidate(candidate, candidate.most(seconds)) for candidate in ranking.candidates]
    if tightest is not None:
        exclusions += [_over(each, tightest) for each in quoted if each.most > tightest.left]
        quoted = [each for each in quoted if each.most <= tightest.left]
    if request.cache.mode is CacheMode.USE and await _kept(request, index, services):
        return QuotedQuestion(index, True, quoted, exclusions, NOTHING, NOTHING, None, why)
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
    return QuotedQuestion(
        index,
        False,
        quoted,
        exclusions,
        _most(quoted, route.max_attempts),
        _likely(quoted, seconds, services),
        error,
        why,
    )


def _over(quoted: QuotedCandidate, budget: Budget) -> Exclusion:
    """Return why a deployment is out that a budget has no room for."""
    detail = (
        f"a call can cost {quoted.most.usd} dollars, and the budget {budget.id} of the {budget.scope} {budget.subject} "
        f"has {budget.left.usd} left"
    )
    return Exclusion(quoted.candidate.name, Reason.NO_BUDGET, detail)


async def _kept(request: SegmentationRequest, index: int, services: Services) -> bool:
    """Return whether this gateway or another one has the answer."""
    question = request.questions[index]
    digest = question_digest(question, scope_of(request.caller))
    if recall(digest, question, request, services) is not None:
        return True
    return await recall_shared(digest, question, request, services) is not None


def _most(quoted: Sequence[QuotedCandidate], max_attempts: int) -> Money:
    """Add up the dearest calls that the attempts allow."""
    dearest = sorted((each.most.microusd for each in quoted), reverse=True)[:max_attempts]
    return Money(sum(dearest))


def _likely(quoted: Sequence[QuotedCandidate], seconds: float, services: Services) -> Money:
    """Return what the first call is likely to cost."""
    if not quoted:
        return NOTHING
    first = quoted[0].candidate
    return first.likely(seconds, services.router.usual_seconds(first.name))


def digest_of(request: SegmentationRequest) -> str:
    """Return the name of what is asked, as quotes know it."""
    scope = scope_of(request.caller)
    questions = [question_digest(question, scope) for question in request.questions]
    return quoted_digest(questions, request.route, request.cache.mode, request.fit)


def terms_of(request: SegmentationRequest, quoted: Sequence[QuotedQuestion], *, expires_at: int) -> QuoteTerms:
    """
    Return what a quote promises.

    Args:
        request: what is asked.
        quoted: what each of its questions costs.
        expires_at: microseconds since 1970, UTC.
    """
    total = Money(sum(each.most.microusd for each in quoted))
    ceiling = request.route.max_charge
    return QuoteTerms(
        tenant=request.caller.tenant,
        digest=digest_of(request),
        most=total if ceiling is None else min(total, ceiling),
        questions=tuple(
            () if each.kept else tuple(_call(candidate.candidate, candidate.most) for candidate in each.candidates)
            for each in quoted
        ),
        expires_at=expires_at,
    )


def _call(candidate: Candidate, most_of_call: Money) -> QuotedCall:
    terms: Terms = candidate.terms
    return QuotedCall(candidate.name, terms.id, Ceiling(terms.each, terms.price.unit, most_of_call))
