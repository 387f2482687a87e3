"""
Places for calls: as many at each deployment as it bears, and a queue that is fair to tenants for when they are taken.

A caller takes a free place, or goes to the next deployment, and waits only where all that could answer are full: in the
queues of all of them, for the first place that is free anywhere. Who cannot be served within the deadline is told so on
arrival: that costs microseconds, and the caller may still go elsewhere.

Law: the calls that begin never make more than the limit, and each place is given back exactly once, however the call
ended or its caller left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from gateway.fair_queue import FairQueue
from gateway.problems import Overloaded
from gateway.routing.adaptive_limit import AdaptiveLimit
from providers.contract import Clock, Deadline, Outcome, ProviderError

#: Where the operator has set no maximum: more than any provider has been seen to take; what it bears is learned.
MOST_CALLS = 1000
#: Where the operator has not said how many may wait.
MOST_WAITING = 1000

#: The shortest and the longest wait that a caller is advised of, in seconds.
SHORTEST_WAIT = 1.0
LONGEST_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the operator has set for one deployment, in one process."""

    max_concurrency: int | None = None
    """Calls at once at most; None: as many as it turns out to bear."""
    max_queue: int | None = None
    """Questions that may wait; None: `MOST_WAITING`."""
    min_concurrency: int = 1
    """Calls at once that it is never taken to bear less than."""

    @property
    def most(self) -> int:
        """Calls at once at most."""
        return MOST_CALLS if self.max_concurrency is None else self.max_concurrency

    @property
    def room(self) -> int:
        """How many may wait."""
        return MOST_WAITING if self.max_queue is None else self.max_queue


@dataclass(frozen=True, slots=True)
class ConcurrencyView:
    """How full a deployment is at a moment."""

    limit: int
    """Calls at once that it is taken to bear now."""
    maximum: int
    """The limit's own limit."""
    in_flight: int
    waiting: int


class Place:
    """
    Leave to make one call. It is given back once: as soon as it is said how the call ended, or by the end of `with`.

    `with place:` says it for whoever has not: a `ProviderError` is a failure, no error a success, and anything else
    says nothing about the deployment.
    """

    __slots__ = ("_epoch", "_in_flight", "_limiter", "_open", "_started")

    def __init__(self, limiter: Limiter, epoch: int, in_flight: int, started: float) -> None:
        """Begin; `Limiter` does that."""
        self._limiter = limiter
        self._epoch = epoch
        self._in_flight = in_flight
        self._started = started
        self._open = True

    @property
    def deployment(self) -> str:
        """The name of the deployment that it is a place at."""
        return self._limiter.name

    def succeeded(self, seconds: float | None = None) -> None:
        """Say that the call was answered, and how long that took upstream; None: as long as the place was held."""
        held = self._close()
        if held is not None:
            self._limiter.limit.succeeded(self._epoch, self._in_flight, held if seconds is None else seconds)
            self._limiter.give_back(held)

    def failed(self, error: ProviderError, seconds: float | None = None) -> None:
        """Say how the call failed, and how long that took; a refusal of the question is an answer."""
        held = self._close()
        if held is None:
            return
        limit, outcome = self._limiter.limit, error.outcome
        took = held if seconds is None else seconds
        if outcome is Outcome.OVERLOADED:
            limit.turned_away(self._epoch, self._in_flight)
        elif outcome is Outcome.UNANSWERED:
            limit.unanswered(self._epoch, self._in_flight, took)
        elif outcome is Outcome.REFUSED:
            limit.succeeded(self._epoch, self._in_flight, took)
        self._limiter.give_back(held)

    def abandoned(self) -> None:
        """Say that no call was made, or that it was cancelled."""
        if self._close() is not None:
            self._limiter.give_back()

    def __enter__(self) -> Self:
        """Begin to use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back, if that has not been done."""
        if error is None:
            self.succeeded()
        elif isinstance(error, ProviderError):
            self.failed(error)
        else:
            self.abandoned()

    def _close(self) -> float | None:
        """Return how long it was held; None when it was given back before."""
        if not self._open:
            return None
        self._open = False
        return self._limiter.clock() - self._started


class _Waiter:
    """One who waits in the queues of one or more deployments for the first place that is free."""

    __slots__ = ("future", "queued", "tenant")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self.queued: list[Limiter] = []

    def take(self, place: Place) -> None:
        """Be given a place: the end of waiting everywhere."""
        self.leave()
        self.future.set_result(place)

    def leave(self) -> None:
        """Leave every queue."""
        for limiter in self.queued:
            limiter.queue.discard(self.tenant, self)
        self.queued.clear()

    def pushed_out(self, limiter: Limiter) -> None:
        """Lose the place in one queue to somebody who held less of it."""
        self.queued.remove(limiter)
        if not self.queued:
            self.refuse(limiter.full())

    def refuse(self, problem: Overloaded) -> None:
        """Wait no longer."""
        self.leave()
        if not self.future.done():
            self.future.set_exception(problem)


class Limiter:
    """The places at one deployment. Belongs to one event loop."""

    def __init__(self, name: str, bounds: Bounds, clock: Clock) -> None:
        """Begin with all of them free."""
        self.name = name
        self.clock = clock
        self.limit = AdaptiveLimit(bounds.most, bounds.min_concurrency)
        self.in_flight = 0
        self.queue: FairQueue[_Waiter] = FairQueue(bounds.room)

    def view(self) -> ConcurrencyView:
        """Return how full it is."""
        return ConcurrencyView(self.limit.limit, self.limit.maximum, self.in_flight, len(self.queue))

    def bound(self, bounds: Bounds) -> None:
        """Go by other bounds from now on; who waits and who is at work stays, as far as there is room."""
        self.limit.bound(bounds.most, bounds.min_concurrency)
        self._hand_on()
        for waiter in self.queue.resize(bounds.room):
            waiter.pushed_out(self)

    def try_place(self) -> Place | None:
        """Return a place if one is free and nobody waits for it."""
        if self.in_flight >= self.limit.limit or self.queue:
            return None
        return self._place()

    def give_back(self, held_seconds: float | None = None) -> None:
        """Take a place back after so long, if a call was made, and hand it to who is next; `Place` does that."""
        if held_seconds is not None:
            self.limit.held(held_seconds)
        self.in_flight -= 1
        self._hand_on()

    def calls_per_second(self) -> float | None:
        """Return how many places come free in a second while all are taken; None while nothing is known."""
        mean = self.limit.mean_seconds
        return None if not mean else self.limit.limit / mean

    def full(self) -> Overloaded:
        """Return the problem of who finds no place and no room to wait for one."""
        return _full([self], len(self.queue))

    def _place(self) -> Place:
        self.in_flight += 1
        return Place(self, self.limit.began(self.in_flight), self.in_flight, self.clock())

    def _hand_on(self) -> None:
        while self.in_flight < self.limit.limit and self.queue:
            waiter = self.queue.pop()
            if not waiter.future.done():  # else its caller has left, and has not had the time to leave the queue
                waiter.take(self._place())


class Limiters:
    """The places at every deployment, by name."""

    def __init__(self, bounds: Mapping[str, Bounds], clock: Clock) -> None:
        """Begin with all of them free."""
        self._clock = clock
        self._limiters = {name: Limiter(name, each, clock) for name, each in bounds.items()}

    def __getitem__(self, name: str) -> Limiter:
        """Return the places at one deployment."""
        return self._limiters[name]

    def views(self) -> dict[str, ConcurrencyView]:
        """Return how full each one is, by name."""
        return {name: limiter.view() for name, limiter in self._limiters.items()}

    def renewed(self, wanted: Mapping[str, Bounds], *, afresh: Collection[str] = ()) -> Limiters:
        """
        Return the table for a new configuration.

        Args:
            wanted: the bounds of every deployment in it.
            afresh: names that stand for something else now. Every other known one keeps its places, who is at work
                there and who waits, and goes by its new bounds at once.
        """
        renewed = Limiters({}, self._clock)
        for name, bounds in wanted.items():
            known = None if name in afresh else self._limiters.get(name)
            if known is None:
                known = Limiter(name, bounds, self._clock)
            else:
                known.bound(bounds)
            renewed._limiters[name] = known
        return renewed

    async def place(self, names: Sequence[str], tenant: str, deadline: Deadline) -> Place:
        """
        Return the first place that is free at one of the deployments named, best first.

        Raises:
            Overloaded: none will be in time for a call of the usual length, or there is no room to wait.
        """
        limiters = [self._limiters[name] for name in names]
        for limiter in limiters:
            place = limiter.try_place()
            if place is not None:
                return place
        spare = _spare(limiters, tenant, deadline)
        if spare <= 0:
            raise _full(limiters, _ahead(limiters, tenant))
        waiter = _Waiter(tenant)
        _enqueue(waiter, limiters)
        if not waiter.queued:
            raise _full(limiters, _ahead(limiters, tenant))
        late = asyncio.get_running_loop().call_later(
            spare, lambda: waiter.refuse(_full(limiters, _ahead(limiters, tenant)))
        )
        try:
            return await waiter.future
        except asyncio.CancelledError:
            waiter.leave()
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                waiter.future.result().abandoned()
            raise
        finally:
            late.cancel()


def _enqueue(waiter: _Waiter, limiters: Iterable[Limiter]) -> None:
    """Have *waiter* wait at all of them that have room."""
    for limiter in limiters:
        out = limiter.queue.push(waiter.tenant, waiter)
        if out is waiter:
            continue
        waiter.queued.append(limiter)
        if out is not None:
            out.pushed_out(limiter)


def _ahead(limiters: Iterable[Limiter], tenant: str) -> int:
    """Return how many have their turn before: who waits at several is counted once."""
    return max(limiter.queue.ahead_of(tenant) for limiter in limiters)


def _seconds_for(limiters: Iterable[Limiter], count: int) -> float | None:
    """Return how long it takes until so many places have come free at them together; None while that is not known."""
    rates = [limiter.calls_per_second() for limiter in limiters]
    known = [rate for rate in rates if rate is not None]
    return count / sum(known) if len(known) == len(rates) else None


def _spare(limiters: Iterable[Limiter], tenant: str, deadline: Deadline) -> float:
    """Return how long one may wait so that a usual call can still be made; 0 or less where waiting is in vain."""
    limiters = list(limiters)
    usual = min(limiter.limit.usual_seconds or 0.0 for limiter in limiters)
    spare = deadline.remaining() - usual
    wait = _seconds_for(limiters, _ahead(limiters, tenant) + 1)
    return 0.0 if wait is not None and wait > spare else spare


def _full(limiters: Sequence[Limiter], ahead: int) -> Overloaded:
    """Return the problem of who cannot be served in time, with when it is worth trying again."""
    seconds = _seconds_for(limiters, ahead + 1) or 0.0
    says = "; ".join(
        f"{each.name}: {each.in_flight} calls under way of the {each.limit.limit} that it bears, "
        f"{len(each.queue)} questions waiting"
        for each in limiters
    )
    return Overloaded(
        f"every deployment that could answer is busy, and there is no place in time ({says}). Wait as long as "
        "Retry-After says, allow more time in route.deadline_seconds, or have the operator raise max_concurrency",
        retry_after_seconds=min(LONGEST_WAIT, max(SHORTEST_WAIT, seconds)),
    )
