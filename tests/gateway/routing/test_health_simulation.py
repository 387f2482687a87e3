"""A breaker's life in virtual time: a server that falls ill and gets well, callers, an operator, other replicas."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from gateway.routing.health import BreakerState, Call, Cause, Change, Health, HealthTable, HealthView, early_views
from providers.contract import (
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnanswered,
)

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
SECONDS = 450.0
ILLNESSES = ("dead", "hangs", "unsteady", "slow", "denies", "throttles")
#: The longest that a call takes, and so the longest that a probe may keep others waiting.
LONGEST_CALL = 30.0


@dataclass(frozen=True, slots=True)
class Phase:
    """How the server does from a moment on."""

    begins: float
    how: str


@dataclass(order=True, slots=True)
class UnderWay:
    """A call, and how it ends."""

    ends: float
    number: int
    call: Call = field(compare=False)
    error: ProviderError | None = field(compare=False)
    seconds: float = field(compare=False)
    alone: bool = field(compare=False)
    """Whether it is one that has to be the only one of its kind: a probe, or an early call to a failing one."""


class World:
    """One deployment, its callers, its operator and the other replicas, under one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self.told: list[Change] = []
        table = HealthTable(["it"], lambda: self.now, random.Random(seed), slow_seconds={"it": 5.0}, tell=self._hear)
        self.health: Health = table["it"]
        self.phases = [Phase(0.0, "well")]
        while (begins := self.phases[-1].begins + self.chance.uniform(5, 150)) < SECONDS:
            well = self.phases[-1].how != "well"
            self.phases.append(Phase(begins, "well" if well else self.chance.choice(ILLNESSES)))
        self.calls: list[UnderWay] = []
        self.made: Counter[str] = Counter()
        self.drained = False
        self.number = 0

    def _hear(self, change: Change) -> None:
        """Hold every ejection to its bounds, as it is made."""
        self.told.append(change)
        least, most = {
            None: (0.0, 0.0),
            Cause.SLOW: (10.0, 330.0),
            Cause.OVERLOADED: (0.0, 300.0),
        }.get(change.cause, (30.0, 330.0))
        assert least - 1e-9 <= change.seconds <= most + 1e-9

    @property
    def how(self) -> str:
        """How the server does now."""
        return next(phase.how for phase in reversed(self.phases) if phase.begins <= self.now)

    def outcome(self) -> tuple[ProviderError | None, float]:
        """Return how a call that begins now ends, and how long it takes."""
        quick = self.chance.uniform(0.1, 2.0)
        match self.how:
            case "dead":
                return ProviderFailed("dead"), 0.01
            case "hangs":
                return ProviderUnanswered("out of time"), LONGEST_CALL
            case "unsteady":
                return (ProviderFailed("broke") if self.chance.random() < 0.8 else None), quick
            case "slow":
                return None, self.chance.uniform(6, LONGEST_CALL)
            case "denies":
                return ProviderDenied("402"), 0.1
            case "throttles":
                return ProviderOverloaded("429", retry_after_seconds=self.chance.choice((None, 0.5, 2.0, 900.0))), 0.1
        return (ProviderRefused("no such thing") if self.chance.random() < 0.05 else None), quick

    def ask(self) -> None:
        """Make a call, if the breaker lets it through, and hold it to what the view before has promised."""
        before = self.health.view()
        panicking = self.chance.random() < 0.2
        view = early_views({"it": before}, ["it"]).get("it", before) if panicking else before
        call = self.health.begin(early=panicking)
        allowed = view.state is not OPEN
        assert allowed is (call is not None)
        if call is None:
            return
        assert not self.drained
        freely = before.state is CLOSED or (before.state is OPEN and before.cause in {Cause.SLOW, Cause.UNSTEADY})
        alone = not freely
        assert not (alone and any(each.alone for each in self.calls))
        self.made[before.state.value] += 1
        error, seconds = self.outcome()
        self.number += 1
        heapq.heappush(self.calls, UnderWay(self.now + seconds, self.number, call, error, seconds, alone))

    def end(self) -> None:
        """End the call whose time is over: as the server has it, or because its caller has hung up."""
        ended = heapq.heappop(self.calls)
        if self.chance.random() < 0.05:
            ended.call.abandoned()
        elif ended.error is None:
            ended.call.succeeded(seconds=ended.seconds)
        else:
            ended.call.failed(ended.error)

    def interfere(self) -> None:
        """Do what an operator or another replica may do at any time."""
        match self.chance.randrange(3):
            case 0:
                self.health.hint_open(self.chance.uniform(0, 330))
            case 1:
                self.health.hint_closed()
            case _:
                self.drained = not self.drained and self.chance.random() < 0.3
                self.health.drain("by hand" if self.drained else None)

    def look(self) -> HealthView:
        """Return the view, which always has to make sense."""
        view = self.health.view()
        assert len(self.calls) == view.in_flight
        assert (view.state is OPEN) is (view.retry_after_seconds > 0)
        assert view.retry_after_seconds <= 330.0 + 1e-9
        assert (view.state is CLOSED) is (view.cause is None) is (view.reason is None)
        assert self.drained is (view.cause is Cause.DRAINED)
        assert 0.0 <= view.error_rate <= 1.0
        assert 0.0 <= view.slow_rate <= 1.0
        return view

    def live(self, until: float, *, gap: float, meddled: bool = True) -> None:
        """Let time pass, with a caller every *gap* seconds or so."""
        while self.now < until:
            arrival = self.now + self.chance.expovariate(1 / gap)
            while self.calls and self.calls[0].ends <= arrival:
                self.now = self.calls[0].ends
                self.end()
                self.look()
            self.now = arrival
            if meddled and self.chance.random() < 0.01:
                self.interfere()
            self.ask()
            self.look()


@pytest.mark.parametrize("seed", range(500))
def test_a_breaker_keeps_its_promises_under_any_seed(seed: int) -> None:
    """
    An open breaker lets nothing through, and a half open one a single probe, whatever happens.

    No call is lost count of, and within the longest ejection and a call of getting well it is closed.
    """
    world = World(seed)
    world.live(SECONDS, gap=world.chance.choice((0.7, 2.0, 6.0)))
    world.health.drain(None)
    world.drained = False
    world.phases.append(Phase(world.now, "well"))
    world.live(world.now + 330.0 + 2 * LONGEST_CALL + 20, gap=2.0, meddled=False)
    assert CLOSED is world.look().state
    while world.calls:
        world.end()
    assert 0 == world.look().in_flight
    assert not world.told or world.told[-1].cause is None


@pytest.mark.parametrize("seed", range(100))
def test_a_dead_deployment_gets_five_calls_and_then_probes(seed: int) -> None:
    """In ten minutes of 2 calls a second at most 5 + 1 for each ejection reach it, and nobody waits for it."""
    world = World(seed)
    world.phases = [Phase(0.0, "dead")]
    reached = 0
    for _ in range(1200):
        world.now += 0.5
        call = world.health.begin()
        if call is not None:
            reached += 1
            call.failed(ProviderFailed("dead"))
    # 30 + 60 + 90 + 120 + 150 s are 450 s, and the sixth ejection lasts beyond the ten minutes.
    assert 5 + 5 == reached
