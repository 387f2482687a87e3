"""
The life of one request, in order. Read this first.

    in → normalize (intake) → admit (admission) → and then, here, for each question:
    recall → screen → join the flight, or: recall what others share → rank → one attempt after another (`attempt`), or a
    second beside a slow one, or a further one where nobody else is left (`once_more`) → keep → answer

Three decisions in it, each a defect elsewhere:

- **Reserved per attempt.** When the first call goes unanswered and the second answers, both are accounted for.
- **A reservation ends once**: settled, released (provably not charged) or held (unknown). One left open is held.
- **The work is the gateway's**, not the caller's connection's: a caller who hangs up stops waiting, and what is already
  paid for finishes, is settled and fills the cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from gateway.accounting.pricing import Terms
from gateway.accounting.quote_tokens import QuotedCall, QuoteTerms
from gateway.attempt import ask, attempts_so_far
from gateway.cache.key import question_digest
from gateway.cache.store import Kept
from gateway.fitting.fitter import Fitter, FittingMeans
from gateway.kept_answers import keep, recall, recall_shared, saving, scope_of
from gateway.once_more import once_more
from gateway.problems import (
    DeadlineExceeded,
    GatewayError,
    InvalidImage,
    InvalidRequest,
    NoDeployment,
    ProviderFailure,
    short_of,
)
from gateway.purchase import Purchase, Purse, Services
from gateway.request import Answer, CacheMode, CacheStatus, Learned, SegmentationRequest
from gateway.routing.again import Failed
from gateway.routing.concurrency import Place
from gateway.routing.explanation import Explained
from gateway.routing.failover import Hedge, NoAnswer, Passed, first_answer
from gateway.routing.health import BreakerState, HealthView, early_views
from gateway.routing.ranking import Candidate, Exclusion, Reason, Screening, explain, screen
from gateway.routing.router import Ranking
from gateway.routing.words import own_words
from providers.contract import Deadline, Outcome, OwnShortage, Question

_MICROS = 1_000_000

#: Deadlines that differ by no more than this are equally urgent.
URGENT_SECONDS = 1.0

#: How long past its deadline a flight may take to account for how it ended, before its caller is sent away.
LANDING_SECONDS = 0.5

DEADLINE_MESSAGE = (
    "route.deadline_seconds passed before an answer came. What is under way goes on, and its answer is kept for the "
    "next request; or allow more time"
)


@dataclass(frozen=True, slots=True)
class ExplainedAnswer(Answer):
    """What became of a question, and why."""

    explanation: tuple[Explained, ...] = ()
    """Every deployment: its place in the order that was gone by, or why it had none."""


async def answer_all(
    request: SegmentationRequest, services: Services, quote: QuoteTerms | None = None
) -> list[Answer | GatewayError]:
    """
    Answer every question of a request, side by side; a question's problem stands in its place.

    Args:
        request: what is asked.
        services: what answers.
        quote: what was promised for it, if anything.
    """
    purse = Purse(request.route.max_charge)
    means = FittingMeans(services.decoders, services.workers, services.sleep)
    fitter = Fitter(request.picture, request.caller.tenant, means)
    purchases = [
        Purchase(request, index, purse, fitter, None if quote is None else quote.questions[index])
        for index in range(len(request.questions))
    ]
    if len(purchases) == 1:  # nearly every request: no task of its own for it
        try:
            return [await answer_one(purchases[0], services)]
        except GatewayError as problem:
            return [problem]
    waiting = [answer_one(purchase, services) for purchase in purchases]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, GatewayError):
            raise answer
    return answers  # type: ignore[return-value]  # the loop above has raised everything else


async def answer_one(purchase: Purchase, services: Services) -> Answer:
    """
    Answer one question, with an explanation where the request wants one.

    Raises:
        GatewayError: there is no answer, and why.
    """
    answer = await recall_join_or_buy(purchase, services)
    if not purchase.request.explain:
        return answer
    explanation = purchase.explanation
    if not explanation:  # nothing was bought for it: this is the order as things stand
        screening = screened(purchase.request, purchase.question, services, purchase.promised)
        explanation = preview(purchase, screening, services, explain=True).explained
    return ExplainedAnswer(
        answer.segmentation, answer.origin, answer.cache, answer.attempts, answer.saved, explanation=explanation
    )


async def recall_join_or_buy(purchase: Purchase, services: Services) -> Answer:
    """
    Recall the answer, join whoever is buying it, or buy it.

    Raises:
        GatewayError: there is no answer, and why.
    """
    request, question = purchase.request, purchase.question
    digest = question_digest(question, scope_of(request.caller))
    while True:
        kept = recall(digest, question, request, services) if request.cache.mode is CacheMode.USE else None
        if kept is not None:  # also when somebody was left behind meanwhile whom others have overtaken
            return _free(kept, CacheStatus.HIT, purchase, services)
        screening = _without(purchase.left_behind, screened(request, question, services, purchase.promised))
        if not screening.candidates:
            raise _explained(purchase, screening, services)
        answer = await _joined_or_bought(purchase, screening, digest, services)
        if answer is not None:
            return answer


async def _joined_or_bought(purchase: Purchase, screening: Screening, digest: str, services: Services) -> Answer | None:
    """As `recall_join_or_buy`; None where what was joined ended for a reason that is none for this caller."""
    request = purchase.request
    name = None if request.cache.mode is CacheMode.SKIP else _flight_name(purchase, screening, digest)
    leader: Purchase | None = services.flights.leader(name)
    until = request.deadline if leader is None else _patience(purchase, leader, screening)
    try:
        async with asyncio.timeout(until.remaining() + LANDING_SECONDS):
            answer = await services.flights.join(
                name, lambda: recall_or_buy(purchase, screening, digest, services), leader=purchase
            )
    except TimeoutError:
        if leader is None or request.deadline.passed:
            raise DeadlineExceeded(DEADLINE_MESSAGE, field="route.deadline_seconds") from None
        purchase.left_behind |= {call.candidate.name for call in leader.under_way}
        return None
    except GatewayError as problem:
        if leader is None:
            raise
        if problem.others is None:
            return None
        raise problem.without_attempts() from None
    if leader is not None:
        return _free(Kept(answer.segmentation, answer.origin), CacheStatus.JOINED, purchase, services)
    services.metrics.cache(answer.cache.value, answer.saved.microusd)
    return answer


def _without(left_behind: set[str], screening: Screening) -> Screening:
    """Return who could answer beside those that a call of somebody else waits for already, if anybody."""
    kept = tuple(candidate for candidate in screening.candidates if candidate.name not in left_behind)
    return Screening(kept, screening.exclusions) if kept else screening


def _flight_name(purchase: Purchase, screening: Screening, digest: str) -> Hashable:
    """
    Return what is equal for callers who may share one call: what is asked, and whoever may answer it, how.

    Money, key, tags and deadline are not in it: each keeps its own, see `_joined_or_bought`.
    """
    request, route = purchase.request, purchase.request.route
    candidates = frozenset(candidate.name for candidate in screening.candidates)
    order = None if purchase.order is None else tuple(purchase.order)
    manner = (route.strategy, route.max_attempts, route.hedge_after)
    return digest, candidates, order, request.cache.mode, request.fit, manner


def _patience(purchase: Purchase, leader: Purchase, screening: Screening) -> Deadline:
    """
    Return until when a call that somebody else has begun is waited for.

    One who has as much time as the leader waits to its end, as the leader does. One who is in more of a hurry waits as
    long as it would give a call of its own, and then asks the next deployment: the most urgent one sets the pace.
    """
    own, theirs = purchase.request.deadline, leader.request.deadline
    steps = min(len(screening.candidates), purchase.request.route.max_attempts)
    return own if own.at >= theirs.at - URGENT_SECONDS or purchase.left_behind else own.share(steps)


def _free(kept: Kept, status: CacheStatus, purchase: Purchase, services: Services) -> Answer:
    """Return an answer that this caller has not bought, and what it has saved: what its own call would have cost."""
    saved = saving(kept.origin, purchase.request, services)
    services.metrics.cache(status.value, saved.microusd)
    return Answer(kept.segmentation, kept.origin, status, saved=saved)


def screened(
    request: SegmentationRequest, question: Question, services: Services, promised: Sequence[QuotedCall] | None = None
) -> Screening:
    """Return who could answer, at what a deployment costs this tenant now, or at what a quote has promised."""
    tenant, now = request.caller.tenant, round(services.wall() * _MICROS)

    def terms_of(deployment: str) -> Terms | None:
        return services.prices.terms(tenant, deployment, now)

    policy = request.caller.policy
    screening = screen(
        question,
        request.route,
        services.offers,
        terms_of,
        fit=request.fit,
        policy=policy,
        keyless=request.caller.keyless,
    )
    if promised is None:
        return screening
    ceilings = {call.deployment: call.ceiling for call in promised}
    kept, out = [], list(screening.exclusions)
    for candidate in screening.candidates:
        ceiling = ceilings.get(candidate.name)
        if ceiling is None:
            out.append(Exclusion(candidate.name, Reason.NOT_WANTED, "the quote leaves it out"))
        else:
            kept.append(replace(candidate, terms=replace(candidate.terms, ceiling=ceiling)))
    return Screening(tuple(kept), tuple(out))


async def recall_or_buy(purchase: Purchase, screening: Screening, digest: str, services: Services) -> Answer:
    """
    Recall what another gateway has bought, or buy: once for all who ask meanwhile.

    Raises:
        GatewayError: nobody answered, or nobody could be asked.
    """
    with services.uses, purchase.request.held:
        if purchase.request.cache.mode is CacheMode.USE:
            kept = await recall_shared(digest, purchase.question, purchase.request, services)
            if kept is not None:
                saved = saving(kept.origin, purchase.request, services)
                return Answer(kept.segmentation, kept.origin, CacheStatus.HIT, saved=saved)
        return await buy(purchase, screening, digest, services)


async def buy(purchase: Purchase, screening: Screening, digest: str, services: Services) -> Answer:
    """
    Ask one candidate after another, keep what comes, and return it.

    Raises:
        GatewayError: nobody answered, or nobody could be asked.
    """
    request = purchase.request
    views, purchase.early = views_for(screening, services)
    ranking = services.router.ranked(
        screening,
        request.route,
        views,
        seconds=request.deadline.remaining(),
        order=purchase.order,
        explain=request.explain,
    )
    purchase.explanation = ranking.explained
    if not ranking.candidates:
        raise _explained(purchase, screening, services, ranking.exclusions)
    services.retries.asked()
    services.hedges.asked()
    try:
        bought = await _first_answer(purchase, ranking.candidates, digest, services)
    except NoAnswer as failure:
        raise _failed(purchase, failure, screening, services) from failure
    except GatewayError as problem:
        problem.attempts = attempts_so_far(purchase, services)
        raise
    finally:
        for ending in purchase.endings:  # whoever has the answer may read the ledger
            await ending
    mode = request.cache.mode
    keep(bought, purchase, digest, services)
    status = {CacheMode.USE: CacheStatus.MISS, CacheMode.REFRESH: CacheStatus.REFRESH, CacheMode.SKIP: CacheStatus.SKIP}
    return Answer(bought.segmentation, bought.origin, status[mode], attempts_so_far(purchase, services))


def views_for(screening: Screening, services: Services) -> tuple[dict[str, HealthView], frozenset[str]]:
    """Return every deployment's health, and who may be asked before its time since most who could answer are out."""
    views = services.health.views()
    early = early_views(views, [candidate.name for candidate in screening.candidates])
    views |= early
    return views, frozenset(early)


def preview(purchase: Purchase, screening: Screening, services: Services, *, explain: bool = False) -> Ranking:
    """Return the order in which candidates would be asked now."""
    request, (views, _) = purchase.request, views_for(screening, services)
    seconds = request.deadline.remaining()
    return services.router.previewed(
        screening, request.route, views, seconds=seconds, order=purchase.order, explain=explain
    )


async def _first_answer(purchase: Purchase, candidates: Sequence[Candidate], digest: str, services: Services) -> Kept:
    """Ask one after another; where it is wished for, ask a second beside one that is slow."""
    request, tenant = purchase.request, purchase.request.caller.tenant

    async def asked(candidate: Candidate, deadline: Deadline, /, *, place: Place | None) -> Kept | Passed:
        with services.uses, request.held:  # a call that is hedged may outlive the question
            return await ask(purchase, candidate, services, deadline, place=place)

    async def places(names: Sequence[str], deadline: Deadline) -> Place:
        return await services.places.place(names, tenant, deadline)

    async def again(failed: Sequence[Failed]) -> Candidate | None:
        return await once_more(purchase, failed, services)

    def leave(task: asyncio.Task[Kept | Passed | None]) -> None:
        services.flights.keep(task)
        task.add_done_callback(lambda ended: _keep_late(ended, purchase, digest, services))

    after = _hedge_after(request.route.hedge_after, candidates[0], services)
    hedge: Hedge[Kept] | None = None if after is None else Hedge(after, services.hedges, leave)
    return await first_answer(
        candidates,
        asked,
        places,
        again,
        deadline=request.deadline,
        max_attempts=request.route.max_attempts,
        hedge=hedge,
    )


def _hedge_after(wish: float | Learned | None, first: Candidate, services: Services) -> float | None:
    """Return how long the first call may take alone; None where no second one is made."""
    return services.router.p95_seconds(first.name) if wish is Learned.P95 else wish


def _keep_late(ended: asyncio.Task[Kept | Passed | None], purchase: Purchase, digest: str, services: Services) -> None:
    """Keep what a call has brought after another had answered first."""
    if not ended.cancelled() and ended.exception() is None and isinstance(answer := ended.result(), Kept):
        keep(answer, purchase, digest, services)


def _failed(purchase: Purchase, failure: NoAnswer, screening: Screening, services: Services) -> GatewayError:
    """Return the problem of a question that was asked and not answered."""
    request, last = purchase.request, failure.last
    attempts = attempts_so_far(purchase, services)
    if request.deadline.passed:
        return DeadlineExceeded(DEADLINE_MESSAGE, field="route.deadline_seconds", attempts=attempts)
    if last is None:
        # Nobody was asked although there were candidates: a budget, breakers opened meanwhile, or the ceiling.
        over_budget = [problem for problem in purchase.unaffordable.values() if problem is not None]
        if over_budget:
            return over_budget[-1]
        out = [*preview(purchase, screening, services).exclusions, *purchase.unfit]
        if out:
            return _explained(purchase, screening, services, out)
        return NoDeployment(
            "route.max_charge_usd leaves nothing for this prompt beside the request's other prompts; raise it",
            field="route.max_charge_usd",
        )
    if isinstance(last, OwnShortage):
        return short_of(last.shortage, attempts=attempts)
    ended = next(each for each in reversed(purchase.attempts) if each.deployment == failure.deployment)
    said, others = (f"{ended.deployment}: {words}" for words in (ended.message, own_words(last)))
    if last.invalid_picture:
        return InvalidImage(said, field="image", attempts=attempts, others=others)
    if not last.elsewhere:
        refused = "the provider refused the request"
        return InvalidRequest(f"{refused}. {said}", attempts=attempts, others=f"{refused}. {others}")
    alone = "" if purchase.objection is None else f". Nobody else was asked: {purchase.objection}"
    return ProviderFailure(
        said + alone,
        attempts=attempts,
        retry_after_seconds=last.retry_after_seconds,
        others=None if _was_held_back(purchase) else others,
    )


def _was_held_back(purchase: Purchase) -> bool:
    """Whether this caller's own money or time kept others from being asked, who may be asked for somebody else."""
    in_a_hurry = any(attempt.outcome is Outcome.UNANSWERED for attempt in purchase.attempts)
    return in_a_hurry or bool(purchase.unaffordable) or purchase.objection is not None


def _explained(
    purchase: Purchase, screening: Screening, services: Services, out: Sequence[Exclusion] = ()
) -> GatewayError:
    request = purchase.request
    return explain(
        purchase.question,
        request.route,
        [*screening.exclusions, *out],
        catalogue=services.catalogue,
        field=request.fields[purchase.index],
        offers=services.offers,
    )


def open_deployments(services: Services) -> list[str]:
    """Return the names of the deployments whose breakers keep traffic away."""
    return [name for name, view in services.health.views().items() if view.state is BreakerState.OPEN]
