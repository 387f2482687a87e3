"""
The life of one request, in order. Read this first.

    in → normalize (intake) → admit (admission) → and then, here, for each question:
    screen → recall → join the flight, or: recall what others share → rank → per attempt fit, reserve, call, settle,
    bring back → keep → answer

Three decisions in it, each a defect elsewhere:

- **Reserved per attempt.** When the first call goes unanswered and the second answers, both are accounted for.
- **A reservation ends once**: settled, released (provably not charged) or held (unknown). One left open is held.
- **The work is the gateway's**, not the caller's connection's: a caller who hangs up stops waiting, and what is already
  paid for finishes, is settled and fills the cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.accounting import Attempt, Ledger, LedgerUnavailable, Reservation, charge, most
from gateway.accounting.alerts import Alerts
from gateway.accounting.budget_words import refusal, warning
from gateway.accounting.drift import DriftWatch
from gateway.accounting.ledger import KeyRefused, OverBudget
from gateway.accounting.price_book import PriceBook
from gateway.accounting.pricing import Terms
from gateway.accounting.quote_tokens import QuotedCall, QuoteTerms
from gateway.cache.flight import Flights
from gateway.cache.key import cache_key, question_digest
from gateway.cache.store import AnswerCache, Kept
from gateway.fitting.fitter import Fitter
from gateway.fitting.masks import to_fitted
from gateway.fitting.plan import CannotFit
from gateway.fitting.rendering import Fitted
from gateway.problems import (
    DeadlineExceeded,
    GatewayError,
    InvalidRequest,
    LedgerDown,
    NoDeployment,
    ProviderFailure,
    Unauthenticated,
)
from gateway.render.selection import select
from gateway.request import Answer, AttemptReport, CacheMode, CacheStatus, Caller, Fit, Origin, SegmentationRequest
from gateway.routing.deployments import Catalogue, Offer
from gateway.routing.failover import NoAnswer, first_answer
from gateway.routing.health import BreakerState, HealthTable
from gateway.routing.ranking import Candidate, Exclusion, Reason, Screening, explain, rank, screen
from gateway.telemetry.metrics import Metrics
from providers.contract import (
    NOTHING,
    Clock,
    Deadline,
    Money,
    Outcome,
    PriceUnit,
    Provider,
    ProviderError,
    ProviderFailed,
    Question,
    Segmentation,
    Sleep,
    Usage,
    Workers,
)

_MICROS = 1_000_000

#: Whose the answers are that tenants share with each other; no tenant can have that name.
SHARED = "*"

#: How long past its deadline a flight may take to account for how it ended, before its caller is sent away.
LANDING_SECONDS = 0.5

DEADLINE_MESSAGE = (
    "route.deadline_seconds passed before an answer came. What is under way goes on, and its answer is kept for the "
    "next request; or allow more time"
)


@dataclass(frozen=True, slots=True)
class Services:
    """What the flow works with; built once, in app.py."""

    ledger: Ledger
    providers: Mapping[str, Provider]
    offers: Sequence[Offer]
    prices: PriceBook
    catalogue: Catalogue
    health: HealthTable
    cache: AnswerCache
    flights: Flights[Answer]
    workers: Workers
    metrics: Metrics
    alerts: Alerts
    drift: DriftWatch
    log: Any
    clock: Clock
    wall: Callable[[], float]
    """Seconds since 1970, UTC: which prices hold, and when budgets begin anew."""
    new_id: Callable[[str], str]
    """Makes an id with that prefix."""
    sleep: Sleep = asyncio.sleep


@dataclass(slots=True)
class Purse:
    """What is left of one request's `max_charge_usd`, over all its questions and attempts; None is no ceiling."""

    left: Money | None

    def take(self, amount: Money) -> bool:
        """Put *amount* aside; False when there is not that much."""
        if self.left is None:
            return True
        if amount > self.left:
            return False
        self.left = self.left - amount
        return True

    def give_back(self, amount: Money) -> None:
        """Return what was put aside and not spent."""
        if self.left is not None:
            self.left = self.left + amount


@dataclass(slots=True)
class Purchase:
    """One question on its way through the deployments, and the attempts so far."""

    request: SegmentationRequest
    index: int
    purse: Purse
    fitter: Fitter
    promised: Sequence[QuotedCall] | None = None
    """Who may be asked and for how much, in this order, where the caller holds a quote."""
    attempts: list[AttemptReport] = field(default_factory=list)
    unfit: list[Exclusion] = field(default_factory=list)
    """Deployments that were not asked after all: the picture could not be made to fit them, or a budget has no room."""
    refused: GatewayError | None = None
    """The problem of a budget that had no room."""

    @property
    def question(self) -> Question:
        """What is asked."""
        return self.request.questions[self.index]

    @property
    def order(self) -> list[str] | None:
        """The names of whom the quote promises, in its order."""
        return None if self.promised is None else [call.deployment for call in self.promised]


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
    purse, fitter = Purse(request.route.max_charge), Fitter(request.picture, services.workers, services.sleep)
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
    Recall the answer, join whoever is buying it, or buy it.

    Raises:
        GatewayError: there is no answer, and why.
    """
    request, question, route = purchase.request, purchase.question, purchase.request.route
    screening = screened(request, question, services, purchase.promised)
    if not screening.candidates:
        raise _explained(purchase, screening, services)
    digest = question_digest(question, scope_of(request.caller))
    if request.cache.mode is CacheMode.USE:
        kept = recall(digest, screening, request, services.cache)
        if kept is not None:
            services.metrics.cache(CacheStatus.HIT.value, kept.origin.charge.microusd)
            return Answer(kept.segmentation, kept.origin, CacheStatus.HIT)
    name = None
    if request.cache.mode is not CacheMode.SKIP:
        promised = None if purchase.promised is None else tuple(purchase.promised)
        name = (digest, route, request.cache, request.fit, request.caller.policy, promised)
    joined = name is not None and name in services.flights
    try:
        async with asyncio.timeout(request.deadline.remaining() + LANDING_SECONDS):
            answer = await services.flights.join(name, lambda: recall_or_buy(purchase, screening, digest, services))
    except TimeoutError:
        raise DeadlineExceeded(DEADLINE_MESSAGE, field="route.deadline_seconds") from None
    except DeadlineExceeded:
        if joined and not request.deadline.passed:  # it was the other caller's deadline, not this one's
            return await answer_one(purchase, services)
        raise
    except GatewayError as problem:
        raise problem.without_attempts() if joined else problem from None
    if joined:
        services.metrics.cache(CacheStatus.JOINED.value, answer.origin.charge.microusd)
        return Answer(answer.segmentation, answer.origin, CacheStatus.JOINED)
    services.metrics.cache(answer.cache.value, answer.origin.charge.microusd if answer.cache is CacheStatus.HIT else 0)
    return answer


def screened(
    request: SegmentationRequest, question: Question, services: Services, promised: Sequence[QuotedCall] | None = None
) -> Screening:
    """Return who could answer, at what a deployment costs this tenant now, or at what a quote has promised."""
    tenant, now = request.caller.tenant, round(services.wall() * _MICROS)

    def terms_of(deployment: str) -> Terms | None:
        return services.prices.terms(tenant, deployment, now)

    policy = request.caller.policy
    screening = screen(question, request.route, services.offers, terms_of, fit=request.fit, policy=policy)
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


def scope_of(caller: Caller) -> str:
    """Return whose answers a caller's questions may share: the tenant's own, or all tenants' that share."""
    return SHARED if caller.policy.share_cache else caller.tenant


def recall(digest: str, screening: Screening, request: SegmentationRequest, cache: AnswerCache) -> Kept | None:
    """Return a kept answer of a family that could be asked; where the caller named places, bought in one of them."""
    for key in _keys(digest, screening):
        kept = cache.recall(key)
        if kept is not None and _admitted(kept, screening, request):
            return kept
    return None


async def recall_shared(
    digest: str, screening: Screening, request: SegmentationRequest, cache: AnswerCache
) -> Kept | None:
    """As `recall`, of what other gateways have kept; without such a cache, at once."""
    if cache.shared is None:
        return None
    shared = await cache.recall_shared(_keys(digest, screening), size=request.picture.size)
    return next((kept for kept in shared if _admitted(kept, screening, request)), None)


def _keys(digest: str, screening: Screening) -> list[str]:
    """Return the names under which an answer to the question may be kept, best family first."""
    families = dict.fromkeys(candidate.offer.model.family for candidate in screening.candidates)
    return [cache_key(digest, family) for family in families]


def _admitted(kept: Kept, screening: Screening, request: SegmentationRequest) -> bool:
    """Whether policy and wishes leave the answer in; under `strict`, only one about the picture as it is."""
    if request.fit is Fit.STRICT and kept.origin.deployment not in {each.name for each in screening.candidates}:
        return False
    origin = kept.origin
    return request.caller.policy.admits(origin.provider, origin.region) and request.route.admits(
        origin.deployment, origin.provider, origin.region
    )


async def recall_or_buy(purchase: Purchase, screening: Screening, digest: str, services: Services) -> Answer:
    """
    Recall what another gateway has bought, or buy: once for all who ask meanwhile.

    Raises:
        GatewayError: nobody answered, or nobody could be asked.
    """
    if purchase.request.cache.mode is CacheMode.USE:
        kept = await recall_shared(digest, screening, purchase.request, services.cache)
        if kept is not None:
            return Answer(kept.segmentation, kept.origin, CacheStatus.HIT)
    return await buy(purchase, screening, digest, services)


async def buy(purchase: Purchase, screening: Screening, digest: str, services: Services) -> Answer:
    """
    Ask one candidate after another, keep what comes, and return it.

    Raises:
        GatewayError: nobody answered, or nobody could be asked.
    """
    request = purchase.request
    views = services.health.views()
    seconds = request.deadline.remaining()
    candidates, out = rank(screening, request.route, views, seconds=seconds, order=purchase.order)
    if not candidates:
        raise _explained(purchase, screening, services, out)
    try:
        bought = await first_answer(
            candidates,
            lambda candidate, deadline: ask(purchase, candidate, services, deadline),
            deadline=request.deadline,
            max_attempts=request.route.max_attempts,
        )
    except NoAnswer as failure:
        raise _failed(purchase, failure, screening, services) from failure
    except GatewayError as problem:
        problem.attempts = tuple(purchase.attempts)
        raise
    mode = request.cache.mode
    if mode is not CacheMode.SKIP:
        services.cache.keep(cache_key(digest, bought.origin.family), bought, ttl_seconds=request.cache.ttl_seconds)
    status = {CacheMode.USE: CacheStatus.MISS, CacheMode.REFRESH: CacheStatus.REFRESH, CacheMode.SKIP: CacheStatus.SKIP}
    return Answer(bought.segmentation, bought.origin, status[mode], tuple(purchase.attempts))


async def ask(purchase: Purchase, candidate: Candidate, services: Services, deadline: Deadline) -> Kept | None:
    """
    Make one call to one deployment, and account for it however it ends.

    Returns:
        The answer, or None where no call was made: the picture cannot be made to fit, the breaker opened meanwhile, or
        the ceiling or a budget does not allow it.

    Raises:
        ProviderError: the call brought nothing.
        GatewayError: it could not be recorded, so it was not made.
    """
    fitted: Fitted | None = None
    if candidate.plan is not None:
        try:
            fitted = await purchase.fitter.fitted(candidate.plan)
        except CannotFit as reason:
            purchase.unfit.append(Exclusion(candidate.name, Reason.LIMITS, str(reason)))
            return None
        if deadline.passed:  # the provider has not failed: nobody has asked it
            purchase.unfit.append(Exclusion(candidate.name, Reason.LIMITS, "fitting the picture took all of its time"))
            return None
    amount = most(candidate.terms, seconds=deadline.remaining())
    call = services.health[candidate.name].begin()
    if call is None:
        return None
    if not purchase.purse.take(amount):
        call.abandoned()
        return None
    attempt = _attempt(purchase, candidate, services.new_id("att"))
    started = services.clock()
    try:
        reserved = await _reserve(attempt, amount, purchase, services)
        if reserved is None:
            call.abandoned()
            return None
        async with reserved as reservation:
            kept = await _call(
                purchase, candidate, attempt, reservation, services, fitted=fitted, deadline=deadline, started=started
            )
    except ProviderError as error:
        call.failed(error)
        raise
    except BaseException:
        call.abandoned()
        raise
    call.succeeded()
    return kept


async def _reserve(attempt: Attempt, amount: Money, purchase: Purchase, services: Services) -> Reservation | None:
    """Put the most that the attempt can cost on disk, before a byte leaves; None where a budget has no room for it."""
    try:
        reservation = await services.ledger.reserve(attempt, amount, expires_in=purchase.request.deadline.remaining())
    except OverBudget as over:
        purchase.purse.give_back(amount)
        services.alerts.tell([over.standing])
        purchase.refused = refusal(over.standing, amount, now=services.wall())
        purchase.unfit.append(Exclusion(attempt.deployment, Reason.NO_BUDGET, purchase.refused.message))
        return None
    except KeyRefused as error:
        purchase.purse.give_back(amount)
        raise Unauthenticated("this key is unknown here, expired or revoked", field="Authorization") from error
    except LedgerUnavailable as error:
        purchase.purse.give_back(amount)
        raise LedgerDown(
            "spending cannot be recorded at the moment, so no provider was asked; try again shortly",
            retry_after_seconds=1.0,
        ) from error
    if reservation.passed:
        services.alerts.tell(reservation.passed)
    return reservation


async def _call(  # the parts of one attempt, in the order in which it lives
    purchase: Purchase,
    candidate: Candidate,
    attempt: Attempt,
    reservation: Reservation,
    services: Services,
    *,
    fitted: Fitted | None,
    deadline: Deadline,
    started: float,
) -> Kept:
    """Call; then settle, release or hold; then bring the masks back."""
    question = purchase.question if fitted is None else to_fitted(purchase.question, fitted)
    try:
        segmentation, usage = await _segment(question, candidate, attempt, services, deadline)
    except ProviderError as error:
        held = await _end_failed(reservation, candidate, error)
        purchase.purse.give_back(reservation.amount - held)
        _note(purchase, candidate, services, started, reservation, held=held, error=error)
        raise
    owed = charge(candidate.terms, usage, reservation.amount)
    await reservation.settle(
        charge=owed.charge, cost=owed.cost, reported=usage.reported, upstream_ref=usage.upstream_ref
    )
    purchase.purse.give_back(reservation.amount - owed.charge)
    if usage.reported is not None:
        services.metrics.drifted(candidate.name, owed.drift.microusd)
        services.drift.note(candidate.name, reported=owed.cost, listed=owed.cost - owed.drift)
    _note(purchase, candidate, services, started, reservation, charged=owed.charge)
    deployment, model = candidate.offer.deployment, candidate.offer.model
    origin = Origin(deployment.name, deployment.provider, model.name, model.family, deployment.region, owed.charge)
    if fitted is not None:
        segmentation = await purchase.fitter.upright(segmentation, fitted)
    return Kept(select(segmentation, purchase.question), origin)


async def _segment(
    question: Question, candidate: Candidate, attempt: Attempt, services: Services, deadline: Deadline
) -> tuple[Segmentation, Usage]:
    """Call the adapter; a defect of its own counts as an unreadable answer, and is logged with its trace."""
    deployment = candidate.offer.deployment
    provider = services.providers[deployment.provider]
    try:
        return await provider.segment(question, deployment, attempt_id=attempt.attempt_id, deadline=deadline)
    except ProviderError:
        raise
    except Exception as error:
        services.log.exception("adapter_defect", deployment=deployment.name, attempt_id=attempt.attempt_id)
        raise ProviderFailed(
            f"the adapter of {deployment.provider} broke on this call ({type(error).__name__})", may_have_charged=True
        ) from error


async def _end_failed(reservation: Reservation, candidate: Candidate, error: ProviderError) -> Money:
    """End the reservation of a call that brought nothing; return what stays on hold."""
    billed_anyway = candidate.terms.price.unit is PriceUnit.REQUEST and error.outcome is not Outcome.UNREACHABLE
    if error.may_have_charged or billed_anyway:
        await reservation.hold(error.outcome.value, upstream_ref=error.upstream_ref)
        return reservation.amount
    await reservation.release(error.outcome.value)
    return NOTHING


def _attempt(purchase: Purchase, candidate: Candidate, attempt_id: str) -> Attempt:
    request, deployment = purchase.request, candidate.offer.deployment
    return Attempt(
        attempt_id=attempt_id,
        request_id=request.id,
        prompt_index=purchase.index,
        tenant=request.caller.tenant,
        key_id=request.caller.key_id,
        deployment=deployment.name,
        provider=deployment.provider,
        model=deployment.model,
        region=deployment.region,
        price_id=candidate.terms.id,
        tags=request.tags,
    )


def _note(
    purchase: Purchase,
    candidate: Candidate,
    services: Services,
    started: float,
    reservation: Reservation,
    *,
    charged: Money = NOTHING,
    held: Money = NOTHING,
    error: ProviderError | None = None,
) -> None:
    """Note how an attempt ended: for the caller, and for the metrics."""
    outcome = Outcome.SUCCEEDED if error is None else error.outcome
    seconds = services.clock() - started
    services.metrics.attempt(
        candidate.name,
        candidate.offer.deployment.provider,
        outcome,
        seconds=seconds,
        charged=charged.microusd,
        held=held.microusd,
    )
    purchase.attempts.append(
        AttemptReport(
            purchase.index,
            candidate.name,
            outcome,
            round(seconds * 1000),
            charged,
            held,
            None if error is None else error.message,
            attempt_id=reservation.attempt_id,
            price_id=candidate.terms.id,
            budget_warnings=tuple(warning([passed]) for passed in reservation.passed),
        )
    )


def _failed(purchase: Purchase, failure: NoAnswer, screening: Screening, services: Services) -> GatewayError:
    """Return the problem of a question that was asked and not answered."""
    request, last = purchase.request, failure.last
    if request.deadline.passed:
        return DeadlineExceeded(DEADLINE_MESSAGE, field="route.deadline_seconds", attempts=purchase.attempts)
    if last is None:
        # Nobody was asked although there were candidates: a budget, breakers opened meanwhile, or the ceiling.
        if purchase.refused is not None:
            return purchase.refused
        views, seconds = services.health.views(), request.deadline.remaining()
        _, out = rank(screening, request.route, views, seconds=seconds, order=purchase.order)
        out += purchase.unfit
        if out:
            return _explained(purchase, screening, services, out)
        return NoDeployment(
            "route.max_charge_usd leaves nothing for this prompt beside the request's other prompts; raise it",
            field="route.max_charge_usd",
        )
    said = f"{purchase.attempts[-1].deployment}: {last.message}"
    if not last.elsewhere:
        return InvalidRequest(f"the provider refused the request. {said}", attempts=purchase.attempts)
    return ProviderFailure(said, attempts=purchase.attempts, retry_after_seconds=last.retry_after_seconds)


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
