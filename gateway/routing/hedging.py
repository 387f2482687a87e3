"""
A second call before the first has ended: for a caller who would rather pay twice than wait.

The first good answer wins. The other call is not cancelled, since it may be billed already: it goes on, is settled, and
its answer is kept. Off unless the request asks for it or the operator's policy says so, and never more than a small
share of all calls.

Source: Dean and Barroso, "The Tail at Scale", CACM 56 (2), 2013: a hedge after the 95th percentile adds about 5 % load.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.routing.concurrency import Place
from gateway.routing.failover import Ask, NoAnswer, Passed, Places, place_at
from gateway.routing.ranking import Candidate
from providers.contract import Deadline, ProviderError

T = TypeVar("T")

PERCENT = 5
#: Hedges that a gateway may make at once after a long time without any.
BURST = 10


class HedgeBudget:
    """So many hedges for a hundred questions, and one at the start."""

    __slots__ = ("_burst", "_left", "_percent")

    def __init__(self, *, percent: int = PERCENT, burst: int = BURST) -> None:
        """
        Start with room for one.

        Args:
            percent: hedges for a hundred questions; 0 for none.
            burst: hedges that may be saved up.
        """
        self._percent = percent
        self._burst = 100 * burst
        self._left = 100 if percent else 0

    def asked(self) -> None:
        """Count a question."""
        self._left = min(self._burst, self._left + self._percent)

    def take(self) -> bool:
        """Take one; False when there is none left."""
        if self._left < 100:
            return False
        self._left -= 100
        return True

    def give_back(self) -> None:
        """Return one that came to no call."""
        self._left = min(self._burst, self._left + 100)


@dataclass(frozen=True, slots=True)
class Hedge(Generic[T]):
    """When a question is asked a second time, and what becomes of the call that was not waited for."""

    after_seconds: float
    """How long the first call may take alone."""
    budget: HedgeBudget
    leave: Callable[[asyncio.Task[T | Passed]], None]
    """Is given each call that goes on after the answer, or after the question was given up."""


@dataclass(frozen=True, slots=True)
class Running:
    """A call that is under way."""

    candidate: Candidate
    hedge: bool
    """Whether it was made beside another."""


@dataclass(slots=True)
class Race(Generic[T]):
    """The calls for one question, of which two may be under way."""

    candidates: Sequence[Candidate]
    ask: Ask[T]
    places: Places
    hedge: Hedge[T]
    deadline: Deadline
    max_attempts: int
    running: dict[asyncio.Task[T | Passed], Running] = field(default_factory=dict)
    full: list[Candidate] = field(default_factory=list)
    failed: int = 0
    last: ProviderError | None = None
    hedged: bool = False
    hedge_at: float = 0.0
    """When the call that is under way has been alone for long enough, by the deadline's clock."""
    next: Iterator[int] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the first."""
        self.next = iter(range(len(self.candidates)))

    async def run(self) -> T:
        """
        Return the first answer.

        Raises:
            NoAnswer: all of them failed, one refused, or the time ran out.
            Overloaded: nobody was asked, and there will be no place in time.
        """
        try:
            return await self._run()
        except asyncio.CancelledError:  # the gateway stops: what they hold is put on hold while the ledger is there
            for task in self.running:
                task.cancel()
            if self.running:
                await asyncio.wait(self.running)
            raise
        finally:
            for task in self.running:
                self.hedge.leave(task)

    async def _run(self) -> T:
        while self.running or self._start() or await self._queued():
            alone = None if self.hedged else max(0.0, self.hedge_at - self.deadline.clock())
            done, _ = await asyncio.wait(self.running, timeout=alone, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                self.hedged = True
                self._start_hedge()
            for task in done:
                answer = self._ended(task)
                if not isinstance(answer, Passed):
                    return answer
        raise NoAnswer(self.last)

    def _start(self, *, hedge: bool = False) -> bool:
        """Ask the next candidate; False when there is none, or no time."""
        left = self.max_attempts - self.failed - len(self.running)
        index = next(self.next, None) if left > 0 and not self.deadline.passed else None
        if index is None:
            return False
        steps = min(len(self.candidates) - index, left)
        self._begin(Running(self.candidates[index], hedge=hedge), steps, None)
        return True

    async def _queued(self) -> bool:
        """Ask one that had no place as soon as it has one; False when there is none of those, or no time."""
        left = self.max_attempts - self.failed
        if not self.full or left <= 0 or self.deadline.passed:
            return False
        steps = min(len(self.full), left)
        candidate, place = await place_at(self.full, self.places, self.deadline, self.last)
        self._begin(Running(candidate, hedge=False), steps, place)
        return True

    def _begin(self, running: Running, steps: int, place: Place | None) -> None:
        task = asyncio.create_task(self.ask(running.candidate, self.deadline.share(steps), place=place))
        if place is not None:  # a task that is cancelled before it begins gives nothing back
            task.add_done_callback(lambda _: place.abandoned())
        self.running[task] = running
        self.hedge_at = self.deadline.clock() + self.hedge.after_seconds

    def _start_hedge(self) -> None:
        if self.hedge.budget.take() and not self._start(hedge=True):
            self.hedge.budget.give_back()

    def _ended(self, task: asyncio.Task[T | Passed]) -> T | Passed:
        """Return what a call brought; where it made none, ask the next in its place."""
        running = self.running.pop(task)
        try:
            answer = task.result()
        except ProviderError as error:
            self.last = error
            self.failed += 1
            if not error.elsewhere:
                raise NoAnswer(error) from error
            return Passed.OUT
        if answer is Passed.FULL:
            self.full.append(running.candidate)
        if isinstance(answer, Passed) and running.hedge and not self._start(hedge=True):
            self.hedge.budget.give_back()
        return answer
