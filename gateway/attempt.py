"""
One attempt: a call to one deployment, accounted for however it ends.

    a place → fit the picture → may it be made? → reserve → call → settle, release or hold → bring the masks back
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.accounting import Attempt, Charge, LedgerUnavailable, Reservation, charge
from gateway.accounting.budget_words import refusal, warning
from gateway.accounting.ledger import KeyRefused, OverBudget
from gateway.cache.store import Kept
from gateway.fitting.masks import to_fitted
from gateway.fitting.plan import CannotFit, Plan
from gateway.fitting.rendering import Fitted
from gateway.problems import InvalidImage, LedgerDown, Unauthenticated, short_of
from gateway.purchase import PaidCall, Purchase, Services
from gateway.render.selection import select
from gateway.request import AttemptReport, Origin, UnderWay
from gateway.routing.concurrency import Place
from gateway.routing.failover import Passed
from gateway.routing.health import Call
from gateway.routing.ranking import Candidate, Exclusion, Reason
from gateway.routing.words import words_for_caller
from providers.contract import (
    NOTHING,
    Deadline,
    DecodingFailed,
    DecodingLate,
    Money,
    Outcome,
    OwnShortage,
    PriceUnit,
    ProviderError,
    ProviderFailed,
    Question,
    Segmentation,
    Usage,
    shortage_of,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that may be made: to whom, what for, and for how much at most."""

    purchase: Purchase
    candidate: Candidate
    place: Place
    question: Question
    fitted: Fitted | None
    """The picture as the deployment gets it; None where it goes as it is."""
    amount: Money
    deadline: Deadline


async def ask(
    purchase: Purchase, candidate: Candidate, services: Services, deadline: Deadline, *, place: Place | None
) -> Kept | Passed:
    """
    Make one call to one deployment, and account for it however it ends.

    Args:
        purchase: the question.
        candidate: whom to ask.
        services: what answers.
        deadline: of this call.
        place: one that was waited for; None to take one that is free now.

    Returns:
        The answer; or that no call was made: there is no place for one, the picture cannot be made to fit, the breaker
        opened meanwhile, what is in doubt does not allow it, or the ceiling or a budget has no room for it.

    Raises:
        ProviderError: the call brought nothing.
        GatewayError: it could not be recorded, so it was not made.
    """
    place = services.places[candidate.name].try_place() if place is None else place
    if place is None:
        return Passed.FULL
    with place:
        kept = await _asked(purchase, candidate, place, services, deadline)
        if isinstance(kept, Passed):
            place.abandoned()
        return kept


async def _asked(
    purchase: Purchase, candidate: Candidate, place: Place, services: Services, deadline: Deadline
) -> Kept | Passed:
    """Make the call for which there is a place, where it may be made."""
    question, fitted = purchase.question, None
    if candidate.plan is not None:
        fitted = await _fitted(candidate.plan, purchase, candidate, deadline)
        if fitted is None:
            return Passed.OUT
        question = to_fitted(question, fitted)
    asked = Asked(purchase, candidate, place, question, fitted, candidate.most(deadline.remaining()), deadline)
    if not purchase.doubtful and not any(candidate.name == each.deployment for each in purchase.attempts):
        return await _reserved_call(asked, services)
    purchase.objection = _objection(asked, services)
    if purchase.objection is not None:
        return Passed.OUT
    try:
        return await _reserved_call(asked, services)
    except OwnShortage:
        raise
    except ProviderError:
        services.retries.in_vain()
        raise


async def _fitted(plan: Plan, purchase: Purchase, candidate: Candidate, deadline: Deadline) -> Fitted | None:
    """Make the picture fit; None where that cannot be done, or not in time."""
    try:
        fitted = await purchase.fitter.fitted(plan, deadline)
    except CannotFit as reason:
        purchase.unfit.append(Exclusion(candidate.name, Reason.LIMITS, str(reason)))
        return None
    except DecodingFailed as error:
        message = f"the picture cannot be decoded, so it cannot be fitted: {error}; write it anew"
        raise InvalidImage(message, field="image") from error
    except DecodingLate:
        fitted = None
    if fitted is None or deadline.passed:  # the provider has not failed: nobody has asked it
        purchase.unfit.append(Exclusion(candidate.name, Reason.LIMITS, "fitting the picture took all of its time"))
        return None
    return fitted


def _objection(asked: Asked, services: Services) -> str | None:
    """Say why a call must not be repeated, there or after one that may have been billed; None where it may."""
    if not services.retries.allows():
        return "too many calls that repeated another brought nothing within the last minute"
    if not asked.purchase.doubtful:
        return None
    return services.doubt.objection(asked.purchase.purse.in_doubt, asked.amount)


async def _reserved_call(asked: Asked, services: Services) -> Kept | Passed:
    """Reserve, and call, where the breaker, the ceiling and the budgets allow it."""
    purchase, candidate, amount = asked.purchase, asked.candidate, asked.amount
    call = services.health[candidate.name].begin(early=candidate.name in purchase.early)
    if call is None:
        return Passed.OUT
    reserved = None
    started = services.clock()
    attempt = _attempt(purchase, candidate, services.new_id("att"))
    try:
        if purchase.purse.take(amount):
            reserved = await _reserve(attempt, amount, purchase, services)
        else:
            purchase.unaffordable[candidate.name] = None
    finally:
        if reserved is None:
            call.abandoned()
    if reserved is None:
        return Passed.UNAFFORDABLE
    purchase.unaffordable.pop(candidate.name, None)  # a call beside it had the money, and has failed since
    if not call.may_be_made:  # that it must not has been heard while the reservation was written
        call.abandoned()
        purchase.purse.give_back(amount)
        purchase.endings.append(reserved.release("not_sent"))
        return Passed.OUT
    paid = PaidCall(candidate, reserved, started)
    purchase.under_way.append(paid)
    async with reserved:
        return await _call(asked, attempt, paid, call, services)


async def _reserve(attempt: Attempt, amount: Money, purchase: Purchase, services: Services) -> Reservation | None:
    """Put the most that the attempt can cost on disk, before a byte leaves; None where a budget has no room for it."""
    try:
        reservation = await services.ledger.reserve(attempt, amount, expires_in=purchase.request.deadline.remaining())
    except OverBudget as over:
        purchase.purse.give_back(amount)
        services.alerts.tell([over.standing])
        purchase.unaffordable[attempt.deployment] = refusal(over.standing, amount, now=services.wall())
        return None
    except KeyRefused as error:
        purchase.purse.give_back(amount)
        raise Unauthenticated("this key is unknown here, expired or revoked", field="Authorization") from error
    except LedgerUnavailable as error:
        purchase.purse.give_back(amount)
        if error.shortage is not None:
            services.shortages.met(error.shortage, "spending could not be recorded", detail=str(error))
            raise short_of(error.shortage) from error
        raise LedgerDown(
            "spending cannot be recorded at the moment, so no provider was asked; try again shortly",
            retry_after_seconds=1.0,
        ) from error
    if reservation.passed:
        services.alerts.tell(reservation.passed)
    return reservation


async def _call(asked: Asked, attempt: Attempt, paid: PaidCall, call: Call, services: Services) -> Kept:
    """Call; then settle, release or hold; then bring the masks back."""
    purchase, candidate, reservation = asked.purchase, asked.candidate, paid.reservation
    try:
        segmentation, usage = await _segment(asked, attempt, call, services)
    except ProviderError as error:
        if error.usage is not None and error.usage.reported is not None:
            owed = await _settle(purchase, reservation, candidate, error.usage, services)
            _doubt(purchase, NOTHING, error, services)
            _note(purchase, paid, services, charged=owed.charge, error=error)
            raise
        held = await _end_failed(purchase, reservation, candidate, error)
        purchase.purse.give_back(reservation.amount - held)
        _doubt(purchase, held, error, services)
        _note(purchase, paid, services, held=held, error=error)
        raise
    owed = await _settle(purchase, reservation, candidate, usage, services)
    _note(purchase, paid, services, charged=owed.charge)
    deployment, model = candidate.offer.deployment, candidate.offer.model
    origin = Origin(
        deployment.name, deployment.provider, model.name, model.family, deployment.region, owed.cost, usage.seconds
    )
    if model.warnings:
        segmentation = replace(segmentation, warnings=(*segmentation.warnings, *model.warnings))
    if asked.fitted is not None:
        segmentation = await purchase.fitter.upright(segmentation, asked.fitted)
    return Kept(select(segmentation, purchase.question), origin)


async def _settle(
    purchase: Purchase, reservation: Reservation, candidate: Candidate, usage: Usage, services: Services
) -> Charge:
    """Charge what the provider says, or publishes; whether an answer came of it or not."""
    owed = charge(candidate.terms, usage, reservation.amount)
    await reservation.settle(
        charge=owed.charge, cost=owed.cost, reported=usage.reported, upstream_ref=usage.upstream_ref
    )
    purchase.purse.give_back(reservation.amount - owed.charge)
    if owed.uncharged > NOTHING:
        services.uncharged(candidate.name, owed.uncharged)
    if usage.reported is not None:
        services.metrics.drifted(candidate.name, owed.drift.microusd)
        services.drift.note(candidate.name, reported=owed.cost, listed=owed.cost - owed.drift)
    return owed


async def _segment(asked: Asked, attempt: Attempt, call: Call, services: Services) -> tuple[Segmentation, Usage]:
    """Call the adapter, and tell health, places and router how that went."""
    name, started = asked.candidate.name, services.clock()
    try:
        answer = await _adapted(asked, attempt, services)
    except OwnShortage as error:  # the deployment has not failed, and nothing is learned about it
        services.shortages.met(error.shortage, "a call to a provider could not be made", detail=error.message)
        call.abandoned()
        asked.place.abandoned()
        raise
    except ProviderError as error:
        seconds = services.clock() - started
        call.failed(error)
        asked.place.failed(error, seconds)
        services.router.noted(name, seconds, ok=error.outcome is Outcome.REFUSED or error.of_storage)
        raise
    except BaseException:
        call.abandoned()
        raise
    seconds = services.clock() - started
    call.succeeded(seconds=seconds)
    asked.place.succeeded(seconds)
    services.router.noted(name, seconds, ok=True)
    return answer


async def _adapted(asked: Asked, attempt: Attempt, services: Services) -> tuple[Segmentation, Usage]:
    """Call the adapter; a defect of its own counts as an unreadable answer, and is logged with its trace."""
    deployment = asked.candidate.offer.deployment
    provider = services.providers[deployment.provider]
    try:
        return await provider.segment(
            asked.question, deployment, attempt_id=attempt.attempt_id, deadline=asked.deadline
        )
    except ProviderError:
        raise
    except Exception as error:
        resource = shortage_of(error)
        if resource is not None:
            message = f"out of {resource.value} in the adapter of {deployment.provider}"
            raise OwnShortage(message, resource, may_have_charged=True) from error
        services.log.exception("adapter_defect", deployment=deployment.name, attempt_id=attempt.attempt_id)
        raise ProviderFailed(
            f"the adapter of {deployment.provider} broke on this call ({type(error).__name__})", may_have_charged=True
        ) from error


async def _end_failed(
    purchase: Purchase, reservation: Reservation, candidate: Candidate, error: ProviderError
) -> Money:
    """End the reservation of a call that brought nothing; return what stays on hold."""
    left = error.outcome not in {Outcome.UNREACHABLE, Outcome.OWN_SHORTAGE}
    billed_anyway = candidate.terms.price.unit is PriceUnit.REQUEST and left
    if error.may_have_charged or billed_anyway:
        await reservation.hold(error.outcome.value, upstream_ref=error.upstream_ref)
        return reservation.amount
    purchase.endings.append(reservation.release(error.outcome.value))  # the next attempt is not kept waiting by it
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
        upstream_account=candidate.offer.upstream_account,
    )


def _doubt(purchase: Purchase, held: Money, error: ProviderError, services: Services) -> None:
    """Note what may have been billed without an answer."""
    purchase.doubtful = purchase.doubtful or error.may_have_charged or held > NOTHING
    if held > NOTHING:
        purchase.purse.in_doubt += held
        services.doubt.note(held)


def _note(
    purchase: Purchase,
    paid: PaidCall,
    services: Services,
    *,
    charged: Money = NOTHING,
    held: Money = NOTHING,
    error: ProviderError | None = None,
) -> None:
    """Note how an attempt ended: for the caller, and for the metrics."""
    candidate = paid.candidate
    outcome = Outcome.SUCCEEDED if error is None else error.outcome
    seconds = services.clock() - paid.started
    services.metrics.attempt(
        candidate.name,
        candidate.offer.deployment.provider,
        outcome,
        seconds=seconds,
        charged=charged.microusd,
        held=held.microusd,
    )
    message = None
    if error is not None:
        message = words_for_caller(error, endpoint=candidate.offer.deployment.endpoint)
        _log_failed(purchase, paid, error, services)
    purchase.under_way.remove(paid)
    purchase.attempts.append(_report(purchase, paid, outcome, seconds, charged, held, message))


def _log_failed(purchase: Purchase, paid: PaidCall, error: ProviderError, services: Services) -> None:
    """Write down why a call failed, in the provider's own words: the one place that has them."""
    note = services.log.warning if error.outcome is Outcome.DENIED else services.log.info
    note(
        "attempt_failed",
        answer_id=purchase.request.id,
        attempt_id=paid.reservation.attempt_id,
        tenant=purchase.request.caller.tenant,
        deployment=paid.candidate.name,
        outcome=error.outcome.value,
        status=error.status,
        upstream_ref=error.upstream_ref,
        reason=error.message,
    )


def attempts_so_far(purchase: Purchase, services: Services) -> tuple[AttemptReport, ...]:
    """Return the attempts for a question: those that have ended, then what is still under way with all it may cost."""
    if not purchase.under_way:
        return tuple(purchase.attempts)
    now, message = services.clock(), "another call answered first; this one goes on, and is settled when it ends"
    going_on = [
        _report(purchase, paid, UnderWay.UNDER_WAY, now - paid.started, NOTHING, paid.reservation.amount, message)
        for paid in purchase.under_way
    ]
    return (*purchase.attempts, *going_on)


def _report(
    purchase: Purchase,
    paid: PaidCall,
    outcome: Outcome | UnderWay,
    seconds: float,
    charged: Money,
    held: Money,
    message: str | None,
) -> AttemptReport:
    return AttemptReport(
        purchase.index,
        paid.candidate.name,
        outcome,
        round(seconds * 1000),
        charged,
        held,
        message,
        attempt_id=paid.reservation.attempt_id,
        price_id=paid.candidate.terms.id,
        budget_warnings=tuple(warning([passed]) for passed in paid.reservation.passed),
    )
