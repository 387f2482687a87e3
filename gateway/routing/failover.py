"""
One candidate after another until one answers, under one deadline.

Every attempt gets a fair share of the time that is left, so that one that hangs leaves time for the next. The next
one starts at once: there is no sleep while another candidate is free. One that has no place for a call now is passed
over; only when none is left is a place waited for, at all that were full at once. And only when there is none of those
either may one that has failed be asked again (`again.py` says which, and when). Whether there is a next one is the
error's to say (`elsewhere`); nothing here knows the types of errors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from enum import Enum
from typing import Any, Protocol, TypeVar

from gateway.problems import Overloaded
from gateway.routing.again import Failed
from gateway.routing.concurrency import Place
from gateway.routing.ranking import Candidate
from providers.contract import Deadline, ProviderError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Passed(Enum):
    """Why a candidate was passed over without a call."""

    OUT = "out"
    """It cannot be called for this question: its breaker opened meanwhile, or a ceiling is reached."""
    FULL = "full"
    """It has no place for another call now."""


class Ask(Protocol[T_co]):
    """Makes one call and accounts for it."""

    def __call__(
        self, candidate: Candidate, deadline: Deadline, /, *, place: Place | None
    ) -> Coroutine[Any, Any, T_co | Passed]:
        """
        Call *candidate*, and raise `ProviderError` when that fails.

        Args:
            candidate: whom to ask.
            deadline: of this call.
            place: one that was waited for; None to take one that is free now.
        """


Places = Callable[[Sequence[str], Deadline], Awaitable[Place]]
"""Waits for the first place that comes free at one of the deployments named; `Overloaded` where that is in vain."""


Again = Callable[[Sequence[Failed]], Awaitable[Candidate | None]]
"""Waits until one of those that have failed may be asked once more; None where none may."""


class NoAnswer(Exception):
    """Nobody answered."""

    def __init__(self, last: ProviderError | None) -> None:
        """Hold the last failure; None when nobody was asked."""
        super().__init__(str(last))
        self.last = last


async def first_answer(
    candidates: Sequence[Candidate],
    ask: Ask[T],
    places: Places,
    again: Again,
    *,
    deadline: Deadline,
    max_attempts: int,
) -> T:
    """
    Return the first answer.

    Args:
        candidates: in the order in which they are asked.
        ask: makes one call; a candidate that is passed over costs no attempt.
        places: waits for a place when nobody has one.
        again: says who of those that have failed may be asked once more when nobody else is left.
        deadline: for all attempts together.
        max_attempts: calls at most.

    Raises:
        NoAnswer: all of them failed, one refused, or the time ran out.
        Overloaded: nobody was asked, and there will be no place in time.
    """
    made, asked = 0, 0
    full: list[Candidate] = []
    failed: dict[str, Failed] = {}
    last: ProviderError | None = None
    while made < max_attempts and not deadline.passed:
        steps = min(len(candidates) - asked or len(full) or 1, max_attempts - made)
        place = None
        if asked < len(candidates):
            candidate = candidates[asked]
            asked += 1
        elif full:
            candidate, place = await place_at(full, places, deadline, last)
        else:
            once_more = await again(tuple(failed.values())) if failed else None
            if once_more is None:
                break
            candidate = once_more
        before = failed.pop(candidate.name, None)
        try:
            answer = await ask(candidate, deadline.share(steps), place=place)
        except ProviderError as error:
            last = error
            made += 1
            if not error.elsewhere:
                break
            failed[candidate.name] = Failed(candidate, error, 1 if before is None else before.calls + 1)
        else:
            if not isinstance(answer, Passed):
                return answer
            if answer is Passed.FULL:
                full.append(candidate)
                failed |= {} if before is None else {candidate.name: before}
    raise NoAnswer(last)


async def place_at(
    full: list[Candidate], places: Places, deadline: Deadline, last: ProviderError | None
) -> tuple[Candidate, Place]:
    """
    Wait for a place at one of those that had none, and take that one out of the list.

    Raises:
        NoAnswer: there will be none in time, and others have failed.
        Overloaded: there will be none in time, and nobody was asked.
    """
    try:
        place = await places([each.name for each in full], deadline)
    except Overloaded:
        if last is not None:
            raise NoAnswer(last) from last
        raise
    candidate = next(each for each in full if each.name == place.deployment)
    full.remove(candidate)
    return candidate, place
