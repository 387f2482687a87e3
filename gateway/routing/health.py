"""
What each deployment did lately, and whether it may be asked now.

Health is a breaker (`breaker.py`) with what is known beside it: how many calls are under way, whether the operator has
drained the deployment, and what another replica found.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from gateway.routing.breaker import Breaker, Ticket
from gateway.routing.health_view import BreakerState, Cause, HealthView, early_views
from providers.contract import Clock, Outcome, ProviderError

__all__ = ["BreakerState", "Call", "Cause", "Change", "FreeCall", "Health", "HealthTable", "HealthView", "early_views"]

#: What a caller is told to wait for a drained deployment. Nobody knows until when it is: long enough to do no harm.
DRAINED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Change:
    """A deployment's breaker that opened, stays open for longer, or closed."""

    deployment: str
    cause: Cause | None
    """Why it is open; None: it is closed again."""
    reason: str | None
    """The same in words."""
    seconds: float
    """For how long it is open from now on; 0 when closed."""


class Call:
    """One call that the breaker let through; it ends exactly once, in one of three ways."""

    __slots__ = ("_health", "_ticket")

    def __init__(self, health: Health, ticket: Ticket) -> None:
        """Belong to *health*; the *ticket* says as what it was let through."""
        self._health = health
        self._ticket = ticket

    @property
    def may_be_made(self) -> bool:
        """Whether it still may be made: the breaker may have opened since, or the operator drained the deployment."""
        return self._health.still_admits(self._ticket)

    def succeeded(self, *, seconds: float | None = None) -> None:
        """Say that it answered, and how long that took; None: not for the breaker to judge by."""
        self._health.end(self._ticket, None, seconds)

    def failed(self, error: ProviderError) -> None:
        """
        Say how it failed.

        A refusal is an answer: the request was at fault, not the deployment. A store beside the provider is neither.
        """
        if error.of_storage:
            self.abandoned()
        else:
            self._health.end(self._ticket, None if error.outcome is Outcome.REFUSED else error, None)

    def abandoned(self) -> None:
        """Take it back: it was cancelled, and says nothing about the deployment."""
        self._health.abandon(self._ticket)


class FreeCall:
    """One free probe that the breaker let through; it ends once, in one of two ways, or is taken for late."""

    __slots__ = ("_health", "_number")

    def __init__(self, health: Health, number: int) -> None:
        """Belong to *health*, whose breaker counts it by this number."""
        self._health = health
        self._number = number

    def passed(self) -> None:
        """Say that nothing speaks against a real call, which is to find out."""
        self._health.end_free(self._number, None)

    def failed(self, error: ProviderError) -> None:
        """Say how it failed. A refusal is an answer: whoever refuses the question has been reached."""
        self._health.end_free(self._number, None if error.outcome is Outcome.REFUSED else error)


class Health:
    """The breaker and the counters of one deployment."""

    def __init__(
        self,
        clock: Clock,
        chance: random.Random,
        *,
        slow_seconds: float | None = None,
        tell: Callable[[Cause | None, str | None, float], None] | None = None,
    ) -> None:
        """
        Start closed.

        Args:
            clock: monotonic seconds.
            chance: spreads the ends of ejections.
            slow_seconds: calls that take longer are slow; None: five times as long as usual is.
            tell: is told of each change of the breaker; see `Change`.
        """
        self._clock = clock
        self._breaker = Breaker(clock, chance, slow_seconds=slow_seconds)
        self._tell = tell
        self._in_flight = 0
        self._drained: str | None = None
        self._hinted_until = 0.0
        self._view: HealthView | None = None
        self._view_until = 0.0

    def view(self) -> HealthView:
        """Return what the router has to know. While nothing happens to a closed one, that is one look at the clock."""
        if self._view is not None and self._clock() < self._view_until:
            return self._view
        view = self._view = self._look()
        window = self._breaker.window
        moment = min(window.changes_at(self._clock()), self._hinted_until if view.hinted else float("inf"))
        self._view_until = moment if view.state is BreakerState.CLOSED else 0.0
        return view

    def begin(self, *, early: bool = False) -> Call | None:
        """Count a call that is about to be made; None when it may not be. For *early* ones see `early_views`."""
        ticket = None if self._drained is not None else self._breaker.admit(early=early)
        if ticket is None:
            return None
        self._view = None
        self._in_flight += 1
        return Call(self, ticket)

    def still_admits(self, ticket: Ticket) -> bool:
        """Whether a call that was let through may still be made; `Call` asks it."""
        return self._drained is None and self._breaker.still_admits(ticket)

    def end(self, ticket: Ticket, error: ProviderError | None, seconds: float | None) -> None:
        """Count how a call ended; `Call` says it."""
        self._view = None
        self._in_flight -= 1
        breaker, changes = self._breaker, self._breaker.changes
        if error is None:
            breaker.succeeded(ticket, seconds)
            self._hinted_until = 0.0
        else:
            breaker.failed(ticket, error)
        self._tell_since(changes)

    def abandon(self, ticket: Ticket) -> None:
        """Count a call out; `Call` says it."""
        self._view = None
        self._in_flight -= 1
        self._breaker.abandoned(ticket)

    def offer_free_probe(self, *, offered: bool) -> None:
        """Say whether there is somebody who asks something free when an ejection has run out."""
        self._breaker.offer_free_probe(offered=offered)

    def begin_free(self) -> FreeCall | None:
        """Begin a free probe; None where it is not the time for one. It counts as no call under way."""
        number = None if self._drained is not None else self._breaker.admit_free()
        return None if number is None else FreeCall(self, number)

    def end_free(self, number: int, error: ProviderError | None) -> None:
        """Count how a free probe ended; `FreeCall` says it."""
        changes = self._breaker.changes
        self._breaker.free_ended(number, error)
        self._tell_since(changes)

    def drain(self, reason: str | None) -> None:
        """Let no call through from now on, for this reason; None: let them through again. Those under way go on."""
        self._view = None
        self._drained = reason

    def set_slow_seconds(self, seconds: float | None) -> None:
        """Tell slow calls by another figure from now on; see `__init__`."""
        self._breaker.set_slow_seconds(seconds)

    def hint_open(self, seconds: float) -> None:
        """Note that another replica leaves it alone for so long: reason to ask it last here, but no proof."""
        self._view = None
        self._hinted_until = self._clock() + seconds

    def hint_closed(self) -> None:
        """Note that another replica has seen it well: when it is open here, a probe may find out soon."""
        self._view = None
        self._hinted_until = 0.0
        self._breaker.sooner()

    def _tell_since(self, changes: int) -> None:
        """Tell of the breaker if there is news since it counted so many changes."""
        breaker = self._breaker
        if self._tell is not None and breaker.changes != changes:
            self._tell(breaker.cause, breaker.reason, breaker.wait_seconds)

    def _look(self) -> HealthView:
        breaker = self._breaker
        window, state = breaker.window, breaker.state
        cause, reason, wait = breaker.cause, breaker.reason, breaker.wait_seconds
        early = breaker.early_seconds if state is BreakerState.OPEN else None
        if self._drained is not None:
            state, cause, reason = BreakerState.OPEN, Cause.DRAINED, f"drained: {self._drained}"
            wait, early = DRAINED_SECONDS, None
        calls = window.calls
        return HealthView(
            state,
            reason,
            wait,
            self._in_flight,
            cause=cause,
            open_seconds=breaker.open_seconds,
            openings=breaker.openings,
            calls=calls,
            error_rate=window.failures / calls if calls else 0.0,
            slow_rate=window.slow / calls if calls else 0.0,
            hinted=self._clock() < self._hinted_until,
            early_after_seconds=early,
        )


class HealthTable:
    """The health of every deployment, by name."""

    def __init__(
        self,
        names: Iterable[str],
        clock: Clock,
        chance: random.Random,
        *,
        slow_seconds: Mapping[str, float] | None = None,
        tell: Callable[[Change], None] | None = None,
    ) -> None:
        """
        Start with all of them closed.

        Args:
            names: of the deployments.
            clock: monotonic seconds.
            chance: spreads the ends of ejections.
            slow_seconds: what takes longer is slow, by name, where the operator says so.
            tell: is told whenever a breaker opens or closes, in the middle of a request: it has to be quick.
        """
        self._clock = clock
        self._chance = chance
        self._tell = tell
        self._drained: Mapping[str, str] = {}
        slow = slow_seconds or {}
        self._health = {name: self._new(name, slow.get(name)) for name in names}

    def __getitem__(self, name: str) -> Health:
        """Return the health of one deployment."""
        return self._health[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is such a deployment."""
        return name in self._health

    @property
    def names(self) -> tuple[str, ...]:
        """The deployments' names."""
        return tuple(self._health)

    def views(self) -> dict[str, HealthView]:
        """Return every deployment's view, by name."""
        return {name: health.view() for name, health in self._health.items()}

    def drain(self, drained: Mapping[str, str]) -> None:
        """Have these be drained, and no others: the operator's reasons by name. Other names mean nothing here."""
        self._drained = drained
        for name, health in self._health.items():
            health.drain(drained.get(name))

    def offer_free_probes(self, names: Collection[str]) -> None:
        """Have these be asked something free when an ejection has run out, and no others; see `probing.py`."""
        for name, health in self._health.items():
            health.offer_free_probe(offered=name in names)

    def renewed(
        self,
        names: Iterable[str],
        *,
        afresh: Collection[str] = (),
        slow_seconds: Mapping[str, float] | None = None,
    ) -> HealthTable:
        """
        Return the table for another set of deployments; requests under way go on with the one that they began with.

        Args:
            names: of the deployments. Those that are in this table keep their health, which both tables then share.
            afresh: those of them that have become others, and begin closed.
            slow_seconds: as at the start.
        """
        table = HealthTable((), self._clock, self._chance, tell=self._tell)
        slow = slow_seconds or {}
        for name in names:
            known = None if name in afresh else self._health.get(name)
            health = known or table._new(name, None)
            health.set_slow_seconds(slow.get(name))
            table._health[name] = health
        table.drain(self._drained)
        return table

    def _new(self, name: str, slow_seconds: float | None) -> Health:
        told = self._tell

        def tell(cause: Cause | None, reason: str | None, seconds: float) -> None:
            if told is not None:
                told(Change(name, cause, reason, seconds))

        return Health(self._clock, self._chance, slow_seconds=slow_seconds, tell=tell)
