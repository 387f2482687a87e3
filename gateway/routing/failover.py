"""
One candidate after another until one answers, under one deadline.

Every attempt gets a fair share of the time that is left, so that one that hangs leaves time for the next. The next
one starts at once: there is no sleep while another candidate is free. One that has no place for a call now is passed
over; only when none is left is a place waited for, at all that were full at once. And only when there is none of those
either may one that has failed be asked again (`again.py` says which, and when). Whether there is a next one is the
error's to say (`elsewhere`); nothing here knows the types of errors.

Where a question is hedged, a call that is slow has one beside it: the next candidate's, begun before the first has
ended. The first good answer wins. The other call is not cancelled, since it may be billed already: it goes on, is
settled, and its answer is kept. Everything else holds for such calls as for others: what ends the question, a refusal
or a ledger that cannot be written to, lets no further call begin, but an answer that is paid for already counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from gateway.problems import GatewayError, Overloaded
from gateway.routing.again import Failed
from gateway.routing.concurrency import Place
from gateway.routing.hedging import HedgeBudget
from gateway.routing.ranking import Candidate
from providers.contract import Deadline, ProviderError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Passed(Enum):
    """Why a candidate was passed over without a call."""

    OUT = "out"
    """It cannot be called for this question: its breaker opened meanwhile, or the picture cannot be made to fit."""
    UNAFFORDABLE = "unaffordable"
    """There is no money for the call now: a call that is under way may have it set aside."""
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

    def __init__(self, failed: Failed | None) -> None:
        """Hold the failure that is to be told; None when nobody was asked."""
        self.last: ProviderError | None = None if failed is None else failed.error
        self.deployment = None if failed is None else failed.candidate.name
        """Whose failure it is."""
        super().__init__(str(self.last))


_Call = asyncio.Task[T | Passed | None]


@dataclass(frozen=True, slots=True)
class Hedge(Generic[T]):
    """When a second candidate is asked beside one that is slow, and what becomes of the call that is not waited for."""

    after_seconds: float
    """How long a call may take alone."""
    budget: HedgeBudget
    leave: Callable[[_Call[T]], None]
    """Is given each call that goes on after the answer, or after the question was given up."""


async def first_answer(
    candidates: Sequence[Candidate],
    ask: Ask[T],
    places: Places,
    again: Again,
    *,
    deadline: Deadline,
    max_attempts: int,
    hedge: Hedge[T] | None = None,
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
        hedge: when to ask a second one beside the first; None: never.

    Raises:
        NoAnswer: all of them failed, one refused, or the time ran out.
        Overloaded: nobody was asked, and there will be no place in time.
    """
    if len(candidates) == 1 or max_attempts == 1:
        hedge = None
    return await _Attempts(list(candidates), ask, places, again, deadline, max_attempts, hedge).run()


@dataclass(frozen=True, slots=True)
class _Turn:
    """A candidate whose turn it is."""

    candidate: Candidate
    steps: int
    """Among how many calls the time that is left is shared."""
    place: Place | None = None
    """One that was waited for."""


@dataclass(slots=True)
class _Attempts(Generic[T]):
    """The calls for one question."""

    waiting: list[Candidate]
    """Those that have had no turn."""
    ask: Ask[T]
    places: Places
    again: Again
    deadline: Deadline
    max_attempts: int
    hedge: Hedge[T] | None
    """None once it was made use of: there is one for a question."""
    made: int = 0
    """How many calls have failed."""
    full: list[Candidate] = field(default_factory=list)
    failed: dict[str, Failed] = field(default_factory=dict)
    last: Failed | None = None
    running: set[_Call[T]] = field(default_factory=set)
    """Empty where the question is not hedged: its one call is awaited in place."""

    async def run(self) -> T:
        while (turn := await self._next()) is not None:
            answer = await (self._call(turn) if self.hedge is None else self._hedged(turn, self.hedge))
            if answer is not None and not isinstance(answer, Passed):
                return answer
        raise NoAnswer(self.last)

    async def _next(self) -> _Turn | None:
        """Return whose turn it is, waiting where one may be asked soon; None where nobody is left, or no time."""
        left = self.max_attempts - self.made
        if left <= 0 or self.deadline.passed:
            return None
        turn = self._fresh(left)
        if turn is not None:
            return turn
        if self.full:
            steps = min(len(self.full), left)
            candidate, place = await place_at(self.full, self.places, self.deadline, self.last)
            return _Turn(candidate, steps, place)
        once_more = await self.again(tuple(self.failed.values())) if self.failed else None
        return None if once_more is None else _Turn(once_more, 1)

    def _fresh(self, left: int) -> _Turn | None:
        """Return the next one that has had no turn; None where there is none, or where no calls are left."""
        if left <= 0 or not self.waiting:
            return None
        steps = min(len(self.waiting), left)
        return _Turn(self.waiting.pop(0), steps)

    async def _call(self, turn: _Turn) -> T | Passed | None:
        """Make one call; None where it has failed and another may be made."""
        candidate = turn.candidate
        before = self.failed.pop(candidate.name, None)
        try:
            answer = await self.ask(candidate, self.deadline.share(turn.steps), place=turn.place)
        except ProviderError as error:
            self.last = Failed(candidate, error, 1 if before is None else before.calls + 1)
            self.made += 1
            if not error.elsewhere:
                raise NoAnswer(self.last) from error
            self.failed[candidate.name] = self.last
            return None
        if answer is Passed.UNAFFORDABLE and len(self.running) > 1:  # it has its turn when the other has failed
            self.waiting.insert(0, candidate)
        if answer is Passed.FULL:
            self.full.append(candidate)
            self.failed |= {} if before is None else {candidate.name: before}
        return answer

    async def _hedged(self, turn: _Turn, hedge: Hedge[T]) -> T | Passed | None:
        """Make one call, and a second beside it where it is slow; None where what was made has failed."""
        self._begin(turn)
        try:
            done, _ = await asyncio.wait(self.running, timeout=hedge.after_seconds)
            if not done:
                self.hedge = None
            return await self._first_of(None if done else self._second(hedge), hedge)
        except asyncio.CancelledError:  # the gateway stops: what they hold is put on hold while the ledger is there
            for task in self.running:
                task.cancel()
            if self.running:
                await asyncio.wait(self.running)
            raise
        finally:
            for task in self.running:
                hedge.leave(task)

    async def _first_of(self, second: _Call[T] | None, hedge: Hedge[T]) -> T | Passed | None:
        """Return the first answer of the calls that are running; None where they have failed."""
        ended: NoAnswer | GatewayError | None = None
        while self.running:
            done, _ = await asyncio.wait(self.running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                self.running.remove(task)
                try:
                    answer = task.result()
                except (NoAnswer, GatewayError) as error:  # the call beside it is paid for, and may answer yet
                    ended = ended or error
                    continue
                if answer is not None and not isinstance(answer, Passed):
                    return answer
                if task is second and answer is not None:  # no call was made: the next one is asked in its place
                    hedge.budget.give_back()
                    second = None if ended or answer is Passed.UNAFFORDABLE else self._second(hedge)
        if ended is not None:
            raise ended
        return None

    def _second(self, hedge: Hedge[T]) -> _Call[T] | None:
        """Begin a call beside those that are running; None where nobody is left for it."""
        if not hedge.budget.take():
            return None
        turn = None if self.deadline.passed else self._fresh(self.max_attempts - self.made - len(self.running))
        if turn is None:
            hedge.budget.give_back()
            return None
        return self._begin(turn)

    def _begin(self, turn: _Turn) -> _Call[T]:
        task = asyncio.create_task(self._call(turn))
        place = turn.place
        if place is not None:  # a task that is cancelled before it begins gives nothing back
            task.add_done_callback(lambda _: place.abandoned())
        self.running.add(task)
        return task


async def place_at(
    full: list[Candidate], places: Places, deadline: Deadline, last: Failed | None
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
            raise NoAnswer(last) from last.error
        raise
    candidate = next(each for each in full if each.name == place.deployment)
    full.remove(candidate)
    return candidate, place
