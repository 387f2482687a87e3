"""
A breaker's life in virtual time: a server that falls ill and gets well, callers, an operator, other replicas.

In half of the lives something free is asked first, by somebody who may be late, and of a server that may lie: what it
answers may have nothing to do with how its calls end.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.routing.first_word import FREE_PROBE_SECONDS, LATE_SECONDS
from gateway.routing.health import (
    BreakerState,
    Call,
    Cause,
    Change,
    FreeCall,
    Health,
    HealthTable,
    HealthView,
    early_views,
)
from providers.contract import (
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnanswered,
    ProviderUnreachable,
)
from tests.tiers import by_tier

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
SECONDS = 450.0
ILLNESSES = ("dead", "hangs", "unsteady", "slow", "denies", "throttles")
#: The longest that a call takes, and so the longest that a probe may keep others waiting.
LONGEST_CALL = 30.0
#: How the free answer and the truth are related.
HONESTIES = ("honest", "always passes", "always fails", "as it falls", "refuses")
#: Between two looks of who asks something free.
LOOK_SECONDS = 0.25
#: So long a free probe keeps real calls waiting.
HELD_SECONDS = FREE_PROBE_SECONDS + LATE_SECONDS


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


@dataclass(frozen=True, slots=True)
class Asked:
    """A free probe under way, and how it ends."""

    began: float
    ends: float
    call: FreeCall
    error: ProviderError | None


class World:
    """One deployment, its callers, its operator and the other replicas, under one seed."""

    def __init__(self, seed: int, *, honesty: str | None = None) -> None:
        """Begin a life; *honesty* is that of the free answers, None where nothing free can be asked."""
        self.chance = random.Random(seed)
        self.luck = random.Random(f"{seed}/free")
        self.now = 0.0
        self.told: list[Change] = []
        table = HealthTable(["it"], lambda: self.now, random.Random(seed), slow_seconds={"it": 5.0}, tell=self._hear)
        table.offer_free_probes([] if honesty is None else ["it"])
        self.health: Health = table["it"]
        self.phases = [Phase(0.0, "well")]
        while (begins := self.phases[-1].begins + self.chance.uniform(5, 150)) < SECONDS:
            well = self.phases[-1].how != "well"
            self.phases.append(Phase(begins, "well" if well else self.chance.choice(ILLNESSES)))
        self.calls: list[UnderWay] = []
        self.made: Counter[str] = Counter()
        self.drained = False
        self.number = 0
        self.honesty = honesty
        self.asked: Asked | None = None
        self.looks_at = LOOK_SECONDS
        self.free: Counter[str] = Counter()
        self.failed_free = 0
        """In a row, with no real call between that has found out."""

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
        if alone and self.asked is not None:
            assert self.now >= self.asked.began + HELD_SECONDS
        self.made[before.state.value] += 1
        error, seconds = self.outcome()
        self.number += 1
        heapq.heappush(self.calls, UnderWay(self.now + seconds, self.number, call, error, seconds, alone))

    def end(self) -> None:
        """End the call whose time is over: as the server has it, or because its caller has hung up."""
        ended = heapq.heappop(self.calls)
        if self.chance.random() < 0.05:
            ended.call.abandoned()
            return
        if ended.alone:
            self.failed_free = 0
        if ended.error is None:
            ended.call.succeeded(seconds=ended.seconds)
        else:
            ended.call.failed(ended.error)

    def free_outcome(self) -> tuple[ProviderError | None, float]:
        """Return how a free probe that begins now ends, and how long it takes; some are overdue."""
        quick = self.luck.uniform(0.01, 1.0)
        error = self.luck.choice((ProviderFailed("500"), ProviderDenied("401"), ProviderUnreachable("refused")))
        match self.honesty:
            case "always passes":
                return None, quick
            case "always fails":
                return error, quick
            case "refuses":
                return ProviderRefused("404"), quick
            case "as it falls":
                wide = (None, error, ProviderOverloaded("429"), ProviderUnanswered("late"))
                return self.luck.choice(wide), self.luck.choice((quick, FREE_PROBE_SECONDS, HELD_SECONDS + 3.0))
        match self.how:
            case "dead":
                return ProviderUnreachable("dead"), 0.01
            case "hangs":
                return ProviderUnanswered("out of time"), FREE_PROBE_SECONDS
            case "denies":
                return ProviderDenied("401"), quick
        return None, quick

    def look_who_is_due(self) -> None:
        """Do what the prober does: end what is over, and begin what is due; now and again it is kept from it."""
        asked, self.looks_at = self.asked, self.now + LOOK_SECONDS
        if self.luck.random() < 0.02:
            self.looks_at += self.luck.uniform(0, 3)
        if asked is not None and asked.ends <= self.now:
            before, self.asked = self.health.view(), None
            if asked.error is None:
                asked.call.passed()
            else:
                asked.call.failed(asked.error)
            self.heard_free(before, asked)
        call = self.health.begin_free()
        if call is None:
            return
        view = self.health.view()
        assert not self.drained
        assert OPEN is view.state
        assert not any(each.alone for each in self.calls)
        assert self.asked is None or self.now >= self.asked.began + HELD_SECONDS
        assert self.failed_free < 3
        if self.asked is not None:
            return  # the real one asks one at a time, however late it is
        self.free["asked"] += 1
        error, seconds = self.free_outcome()
        self.asked = Asked(self.now, self.now + seconds, call, error)

    def heard_free(self, before: HealthView, asked: Asked) -> None:
        """Hold what follows from a free answer to what was promised: at most a real call, or another ejection."""
        after = self.health.view()
        late = self.now >= asked.began + HELD_SECONDS
        if late or self.drained or before.cause is None:
            return
        if asked.error is None or isinstance(asked.error, ProviderRefused):
            assert CLOSED is not after.state
            assert before.retry_after_seconds == 0 or after.retry_after_seconds <= before.retry_after_seconds
        else:
            self.free["failed"] += 1
            self.failed_free += 1
            assert OPEN is after.state
            assert after.reason is not None

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

    def next_event(self) -> float:
        """Return when something happens next that is no arrival."""
        ends = self.calls[0].ends if self.calls else float("inf")
        return ends if self.honesty is None else min(ends, self.looks_at)

    def live(self, until: float, *, gap: float, meddled: bool = True) -> None:
        """Let time pass, with a caller every *gap* seconds or so."""
        while self.now < until:
            arrival = self.now + self.chance.expovariate(1 / gap)
            while (moment := self.next_event()) <= arrival:
                self.now = max(self.now, moment)
                if self.calls and self.calls[0].ends <= self.now:
                    self.end()
                else:
                    self.look_who_is_due()
                self.look()
            self.now = arrival
            if meddled and self.chance.random() < 0.01:
                self.interfere()
            self.ask()
            self.look()


@by_tier(fast=25, slow=475)
def test_a_breaker_keeps_its_promises_under_any_seed(seeds: Iterator[int]) -> None:
    """
    An open breaker lets nothing through, and a half open one a single probe, whatever happens.

    No call is lost count of, and within the longest ejection and a call of getting well it is closed.
    """
    for seed in seeds:
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


@by_tier(fast=25, slow=475)
def test_free_probes_leave_every_promise_as_it_is(seeds: Iterator[int]) -> None:
    """
    With free probes before the real ones, be they honest, late or lies, one thing is asked at a time.

    What they say opens nothing to everybody, and keeps nobody away for more than three ejections after getting well.
    """
    for seed in seeds:
        world = World(seed, honesty=HONESTIES[seed % len(HONESTIES)])
        world.live(SECONDS, gap=world.chance.choice((0.7, 2.0, 6.0)))
        world.health.drain(None)
        world.drained = False
        world.phases.append(Phase(world.now, "well"))
        ejections = 1 if world.honesty in {"honest", "always passes", "refuses"} else 4
        until = world.now + ejections * (330.0 + HELD_SECONDS) + 2 * LONGEST_CALL + 20
        world.live(until, gap=2.0, meddled=False)
        assert CLOSED is world.look().state
        assert not world.told or world.told[-1].cause is None


def test_the_lives_have_free_probes_of_every_kind() -> None:
    """In each kind of life free probes are made, and where they can fail some do."""
    for honesty in HONESTIES:
        made: Counter[str] = Counter()
        for seed in range(20):
            world = World(seed, honesty=honesty)
            world.live(SECONDS, gap=2.0)
            made += world.free
        assert made["asked"] > 20
        assert (honesty in {"always passes", "refuses"}) is (made["failed"] == 0)


@by_tier(fast=10, slow=90)
def test_no_caller_meets_a_dead_deployment_but_after_three_free_probes(seeds: Iterator[int]) -> None:
    """In an hour of 2 calls a second 5 reach it, and then one for every three free probes that failed."""
    for seed in seeds:
        world = World(seed, honesty="honest")
        world.phases = [Phase(0.0, "dead")]
        reached = 0
        while world.now < 3600:
            world.now += 0.25
            world.look_who_is_due()
            call = world.health.begin() if world.now % 0.5 == 0 else None
            if call is not None:
                reached += 1
                call.failed(ProviderFailed("dead"))
                world.failed_free = 0
        # Ejections last 30, 60, 90 ... 300 s: the fourth real one ends after some 300 s, the others take 1200 or more.
        assert 5 + 1 <= reached <= 5 + 4
        assert 3 * (reached - 5) <= world.free["failed"] <= 3 * (reached - 5) + 3


@by_tier(fast=10, slow=90)
def test_a_dead_deployment_gets_five_calls_and_then_probes(seeds: Iterator[int]) -> None:
    """In ten minutes of 2 calls a second at most 5 + 1 for each ejection reach it, and nobody waits for it."""
    for seed in seeds:
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
