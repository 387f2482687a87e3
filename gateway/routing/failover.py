"""
One candidate after another until one answers, under one deadline.

Every attempt gets a fair share of the time that is left, so that one that hangs leaves time for the next. The next
one starts at once: there is no sleep while another candidate is free. Whether there is a next one is the error's to
say (`elsewhere`); nothing here knows the types of errors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.routing.ranking import Candidate
from providers.contract import Deadline, ProviderError

T = TypeVar("T")


class NoAnswer(Exception):
    """Nobody answered."""

    def __init__(self, last: ProviderError | None) -> None:
        """Hold the last failure; None when the deadline passed before anybody was asked."""
        super().__init__(str(last))
        self.last = last


async def first_answer(
    candidates: Sequence[Candidate],
    attempt: Callable[[Candidate, Deadline], Awaitable[T | None]],
    *,
    deadline: Deadline,
    max_attempts: int,
) -> T:
    """
    Return the first answer.

    Args:
        candidates: in the order in which they are asked.
        attempt: makes one call and accounts for it; raises `ProviderError` when it fails, and returns None when it
            made no call (the breaker opened meanwhile, the ceiling is reached): that costs no attempt.
        deadline: for all attempts together.
        max_attempts: calls at most.

    Raises:
        NoAnswer: all of them failed, one refused, or the time ran out.
    """
    last: ProviderError | None = None
    made = 0
    for index, candidate in enumerate(candidates):
        if made >= max_attempts or deadline.passed:
            break
        steps = min(len(candidates) - index, max_attempts - made)
        try:
            answer = await attempt(candidate, deadline.share(steps))
        except ProviderError as error:
            last = error
            made += 1
            if not error.elsewhere:
                break
        else:
            if answer is not None:
                return answer
    raise NoAnswer(last)
