"""
Router, breaker, places, retry budget, doubt limit and hedges together, under virtual time, with seeded faults.

Minutes of traffic over deployments that die, hang, throttle and slow down pass in milliseconds. Whatever happens, the
laws below hold; a run that breaks one names its seed, and the seed alone plays it again.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.accounting.pricing import Terms, most
from gateway.problems import Overloaded
from gateway.request import Route, Strategy
from gateway.routing.again import Failed, pause_seconds
from gateway.routing.concurrency import Bounds, Limiters, Place
from gateway.routing.doubt import DoubtLimits, DoubtWatch
from gateway.routing.failover import Hedge, NoAnswer, Passed, first_answer
from gateway.routing.health import BreakerState, HealthTable, early_views
from gateway.routing.hedging import HedgeBudget
from gateway.routing.ranking import Candidate, Screening
from gateway.routing.retry_budget import RetryBudget
from gateway.routing.router import Router
from providers.contract import (
    NOTHING,
    Deadline,
    Money,
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderUnanswered,
    ProviderUnreachable,
)
from tests.gateway.routing.offers import offer, price
from tests.gateway.routing.virtual_loop import run_virtually
from tests.tiers import by_tier

NAMES = ("eu", "us", "far")
QUESTIONS = 60
DEADLINE_SECONDS = 12.0
PER_REQUEST = Money(12_000)
#: From then on every deployment is well.
HEALED_AT = 90.0


@dataclass(frozen=True, slots=True)
class Weather:
    """What a deployment does from a moment on."""

    at: float
    seconds: float
    """What an answer takes, about."""
    failing: float = 0.0
    """The share of its calls that fail."""
    error: type[ProviderError] = ProviderFailed


def forecast(chance: random.Random) -> list[Weather]:
    """Return a deployment's faults, and its recovery."""
    kinds = (ProviderFailed, ProviderUnanswered, ProviderUnreachable, ProviderOverloaded, ProviderDenied)
    weather, at = [Weather(0.0, 0.2)], 0.0
    while (at := at + chance.uniform(3, 40)) < HEALED_AT:
        failing = chance.choice((0.0, 0.0, 0.3, 1.0, 1.0))
        seconds = chance.choice((0.05, 0.2, 0.2, 2.0, 30.0))
        weather.append(Weather(at, seconds, failing, chance.choice(kinds)))
    return [*weather, Weather(HEALED_AT, 0.2)]


@dataclass
class World:
    """One run: deployments with their weather, and a gateway's routing in front of them."""

    seed: int
    chance: random.Random = field(init=False)
    weather: dict[str, list[Weather]] = field(init=False)
    calls: Counter[str] = field(default_factory=Counter)
    """Calls under way, by deployment."""
    most_at_once: int = 0
    questions: int = 0
    hedges: int = 0
    """Calls begun while another one for the same question was under way."""
    in_vain: int = 0
    """Further calls after one in doubt that brought nothing."""
    begun: list[tuple[float, str]] = field(default_factory=list)
    """Every call: when, and at which deployment."""
    left: list[asyncio.Task[str | Passed | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Draw the weather, and open the gateway."""
        self.chance = random.Random(self.seed)
        self.weather = {name: forecast(self.chance) for name in NAMES}
        clock = asyncio.get_running_loop().time
        self.clock = clock
        self.health = HealthTable(NAMES, clock, self.chance)
        self.router = Router(NAMES, clock, self.chance)
        self.places = Limiters({name: Bounds(self.chance.choice((3, 20)), 50) for name in NAMES}, clock)
        self.percent, self.at_least = self.chance.choice(((20, 3), (5, 0), (0, 0)))
        self.retries = RetryBudget(clock, percent=self.percent, at_least=self.at_least)
        self.doubt = DoubtWatch(DoubtLimits(PER_REQUEST, None), clock)
        self.hedges_left = HedgeBudget()
        offers = {name: offer(name, 5000, priority=index) for index, name in enumerate(NAMES)}
        self.candidates = tuple(Candidate(each, Terms(price(name, 5000))) for name, each in offers.items())

    def now(self, name: str) -> Weather:
        """Return a deployment's weather."""
        return [each for each in self.weather[name] if each.at <= self.clock()][-1]

    async def upstream(self, name: str, deadline: Deadline) -> str:
        """Be the deployment."""
        weather = self.now(name)
        self.begun.append((self.clock(), name))
        self.calls[name] += 1
        self.most_at_once = max(self.most_at_once, self.calls[name])
        try:
            fails = self.chance.random() < weather.failing
            takes = weather.seconds * self.chance.uniform(0.5, 1.5)
            if fails and weather.error is not ProviderUnanswered:
                takes = 0.01
            await asyncio.sleep(min(takes, deadline.remaining()))
            if fails:
                raise weather.error(f"{name} {weather.error.__name__}", retry_after_seconds=2.0)
            if deadline.passed:
                raise ProviderUnanswered(f"{name} hung")
            return name
        finally:
            self.calls[name] -= 1


@dataclass
class Asking:
    """One question on its way, as the flow leads it."""

    world: World
    early: frozenset[str]
    doubtful: bool = False
    in_doubt: Money = NOTHING
    calls: list[str] = field(default_factory=list)
    under_way: int = 0

    async def ask(self, candidate: Candidate, deadline: Deadline, /, *, place: Place | None) -> str | Passed:
        """Make one call and account for it."""
        world, name = self.world, candidate.name
        place = world.places[name].try_place() if place is None else place
        if place is None:
            return Passed.FULL
        with place:
            amount = most(candidate.terms, seconds=deadline.remaining())
            repeated = self.doubtful or name in self.calls
            objection = world.doubt.objection(self.in_doubt, amount) if self.doubtful else None
            if repeated and not (world.retries.allows() and objection is None):
                place.abandoned()
                return Passed.OUT
            closed = world.health[name].view().state is not BreakerState.OPEN or name in self.early
            call = world.health[name].begin(early=name in self.early)
            if call is None:
                place.abandoned()
                return Passed.OUT
            assert closed, "an open breaker has let a call through"
            started = world.clock()
            self.calls.append(name)
            world.hedges += self.under_way > 0
            self.under_way += 1
            try:
                answer = await world.upstream(name, deadline)
            except ProviderError as error:
                call.failed(error)
                world.router.noted(name, world.clock() - started, ok=False)
                world.in_vain += repeated
                if repeated:
                    world.retries.in_vain()
                if error.may_have_charged:
                    self.doubtful = True
                    self.in_doubt += amount
                    world.doubt.note(amount)
                raise
            finally:
                self.under_way -= 1
            seconds = world.clock() - started
            call.succeeded(seconds=seconds)
            world.router.noted(name, seconds, ok=True)
            return answer


async def one_question(world: World, strategy: Strategy, hedge_after: float | None) -> str | None:
    """Lead one question through it, and hold it against the laws of one question."""
    deadline = Deadline.after(DEADLINE_SECONDS, world.clock)
    views = world.health.views()
    early = early_views(views, NAMES)
    ranking = world.router.ranked(
        Screening(world.candidates, ()), Route(strategy), views | early, seconds=deadline.remaining()
    )
    world.questions += 1
    world.retries.asked()
    world.hedges_left.asked()
    asking = Asking(world, frozenset(early))

    async def places(names: Sequence[str], deadline: Deadline) -> Place:
        return await world.places.place(names, "acme", deadline)

    async def again(failed: Sequence[Failed]) -> Candidate | None:
        for each in failed if world.retries.allows() else ():
            view, left = world.health[each.candidate.name].view(), deadline.remaining()
            pause = pause_seconds(each, view, seconds=left, chance=world.chance)
            if pause is not None and each.calls == 1 and not each.error.may_have_charged:
                await asyncio.sleep(pause)
                return each.candidate
        return None

    try:
        hedge: Hedge[str] | None = (
            None if hedge_after is None else Hedge(hedge_after, world.hedges_left, world.left.append)
        )
        answer: str | None = await first_answer(
            ranking.candidates, asking.ask, places, again, deadline=deadline, max_attempts=3, hedge=hedge
        )
    except (NoAnswer, Overloaded):
        answer = None
    assert world.clock() <= deadline.at + 1e-6, "a question outlived its deadline"
    assert len(asking.calls) <= 3, "more calls than attempts"
    most_often = max(Counter(asking.calls).values(), default=0)
    assert most_often <= 2, "a deployment was asked too often for a question"
    assert asking.in_doubt <= PER_REQUEST, "more money in doubt than a request may have"
    return answer


async def run(seed: int) -> World:
    """Play one run to its end."""
    world = World(seed)
    strategy, hedge_after = world.chance.choice(tuple(Strategy)), world.chance.choice((None, None, 0.5))
    asked: list[asyncio.Task[str | None]] = []
    for _ in range(QUESTIONS):
        await asyncio.sleep(world.chance.expovariate(QUESTIONS / HEALED_AT))
        burst = 8 if world.chance.random() < 0.1 else 1
        asked += [asyncio.create_task(one_question(world, strategy, hedge_after)) for _ in range(burst)]
    await asyncio.gather(*asked)
    await asyncio.gather(*world.left, return_exceptions=True)
    assert all(calls == 0 for calls in world.calls.values()), "a call is still under way"
    assert all(view.in_flight == 0 for view in world.health.views().values()), "health counts a call that has ended"
    assert all(view.in_flight == 0 for view in world.places.views().values()), "a place was not given back"
    assert world.most_at_once <= 20, "more calls at once than there are places"
    assert world.hedges <= 0.05 * world.questions + 1, "more hedges than a twentieth"
    allowed = world.questions * world.percent // 100 + world.at_least
    at_once = world.most_at_once if allowed else 0  # those that were under way when the last one was spent
    assert world.in_vain <= allowed + at_once, "the retry budget was overdrawn"
    await asyncio.sleep(max(0.0, HEALED_AT - world.clock()) + 330)  # the longest ejection, and its jitter
    for _ in range(20):
        assert await one_question(world, strategy, hedge_after) is not None, "all are well, and nobody answers"
    return world


@by_tier(fast=50, slow=450)
def test_the_laws_hold_whatever_the_deployments_do(seeds: Iterator[int]) -> None:
    """Many runs of some hundred questions: each ends in time, within its limits, and leaves nothing behind."""
    for seed in seeds:
        run_virtually(run(seed))


def test_a_seed_plays_the_same_run_again() -> None:
    """Two runs of one seed make the same calls at the same moments."""
    first, second = run_virtually(run(7)), run_virtually(run(7))
    assert len(first.begun) > QUESTIONS
    assert first.begun == second.begun
