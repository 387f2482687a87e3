"""Asking the same deployment again for a question that nobody else is left to answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from gateway.purchase import Purchase, Services
from gateway.routing.again import Failed, pause_seconds
from gateway.routing.candidates import Candidate
from providers.contract import Fate, ProviderError

#: How long a call in doubt is looked up for: one that is still under way may end within that.
LOOK_UP_SECONDS = 5.0
#: Between two looks.
LOOK_AGAIN_SECONDS = 0.25


async def once_more(purchase: Purchase, failed: Sequence[Failed], services: Services) -> Candidate | None:
    """
    Wait until one of those that have failed may be asked once more, and return it; None where that is nobody.

    A call that may have been worked on is looked up first, and stays the last one unless its provider says that it
    ended without a result and is not billed. That the provider knows nothing of it is no such word: it may be on its
    way. The hold is resolved by the reconciliation, which has been woken.

    Args:
        purchase: the question.
        failed: whom it was put to, in the order in which they failed.
        services: what answers.
    """
    if not services.retries.allows():
        return None
    deadline = purchase.request.deadline
    pauses: list[tuple[float, int]] = []
    for place, each in enumerate(failed):
        if each.calls > services.retries.in_place:
            continue
        view = services.health[each.candidate.name].view()
        pause = pause_seconds(each, view, seconds=deadline.remaining(), chance=services.chance)
        if pause is not None:
            pauses.append((pause, place))
    for pause, place in sorted(pauses):
        each = failed[place]
        await services.sleep(pause)
        if not each.error.may_have_charged or await _ended_for_nothing(purchase, each, services):
            return each.candidate
    return None


async def _ended_for_nothing(purchase: Purchase, failed: Failed, services: Services) -> bool:
    """Whether a provider says of a call whose answer was lost that it came to nothing and is not billed."""
    deployment = failed.candidate.offer.deployment
    attempt = next(each for each in reversed(purchase.attempts) if each.deployment == deployment.name)
    until = purchase.request.deadline.sooner(LOOK_UP_SECONDS)
    look_up = partial(
        services.providers[deployment.provider].look_up,
        deployment,
        attempt_id=attempt.attempt_id,
        upstream_ref=failed.error.upstream_ref,
        deadline=until,
    )
    try:
        found = await look_up()
        while found.fate is Fate.UNKNOWN and found.upstream_ref is not None and until.remaining() > LOOK_AGAIN_SECONDS:
            await services.sleep(LOOK_AGAIN_SECONDS)
            found = await look_up()
    except ProviderError:
        return False
    except Exception:
        services.log.exception("adapter_defect", deployment=deployment.name, attempt_id=attempt.attempt_id)
        return False
    return found.fate is Fate.NOT_CHARGED
