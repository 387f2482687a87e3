"""
What it costs to rank 50 deployments once, in microseconds of CPU, beside a sort of the same 50 by one key.

Ours filters by health and price, weighs speed, errors and turns, breaks ties by chance and says why somebody is out;
the sort knows prices alone, and is the least that any order costs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from statistics import median

from gateway.accounting.pricing import Price, Terms
from gateway.request import Route, Strategy
from gateway.routing.candidates import Candidate, Screening
from gateway.routing.deployments import Offer
from gateway.routing.health import BreakerState, HealthView
from gateway.routing.router import Router
from providers.contract import Capabilities, Deployment, Model, Money, PriceUnit, PromptKind
from tests.benchmarks.contender import WrongAnswer
from tests.benchmarks.rounds import take_turns
from tests.benchmarks.stage import Stage, Work
from tests.benchmarks.table import Aim, Row

NAME = "ranking 50 deployments"
MASKGATE, BESIDE = "maskgate", "sorted by one key"
DEPLOYMENTS = 50
SEED = 20261120
#: The design names no aim; these are what 50 deployments may take of W7's millisecond and a half.
AIMS = {
    Strategy.CHEAPEST: Aim(100, "us", at_most=True),
    Strategy.PRIORITY: Aim(100, "us", at_most=True),
    Strategy.WEIGHTED: Aim(150, "us", at_most=True),
    Strategy.FASTEST: Aim(250, "us", at_most=True),
    Strategy.BALANCED: Aim(250, "us", at_most=True),
}


def named(strategy: Strategy) -> str:
    """Return what a comparison is called in the table."""
    return f"{NAME}, {strategy.value}"


def screening(chance: random.Random) -> Screening:
    """Return as many deployments, of prices, priorities and weights of their own."""
    model = Model("sam-3", "sam3", Capabilities(frozenset(PromptKind), points=True, boxes=True))
    candidates = []
    for index in range(DEPLOYMENTS):
        deployment = Deployment(f"deployment-{index:02}", "runflow", model.name, f"region-{index % 9}")
        offer = Offer(deployment, model, chance.randint(0, 3), chance.randint(1, 9))
        usd = Money(chance.randint(1000, 9000))
        price = Price(offer.name, usd, PriceUnit.SUCCESS, "2026-11-01", "this benchmark")
        candidates.append(Candidate(offer, Terms(price)))
    return Screening(tuple(candidates), ())


def ours(strategy: Strategy) -> Callable[[], list[str]]:
    """Return what ranks by *strategy*, with a history of each deployment."""
    chance = random.Random(SEED)
    those = screening(chance)
    names = [candidate.name for candidate in those.candidates]
    router = Router(names, time.monotonic, chance)
    views = {name: HealthView(BreakerState.CLOSED, None, 0.0, chance.randint(0, 20)) for name in names}
    for name in names:
        for _ in range(20):
            router.noted(name, chance.uniform(0.2, 3.0), ok=True)
    route = Route(strategy)
    return lambda: [each.name for each in router.ranked(those, route, views, seconds=30.0).candidates]


def plainly() -> Callable[[], list[str]]:
    """Return what sorts by price alone."""
    those = screening(random.Random(SEED)).candidates
    return lambda: [each.name for each in sorted(those, key=lambda candidate: candidate.terms.price.usd.microusd)]


def measure(stage: Stage) -> list[Row]:
    """Take turns of CPU time in this process, strategy by strategy."""
    rows = []
    for strategy, aim in AIMS.items():
        rank, sort = ours(strategy), plainly()
        if set(rank()) != set(sort()):
            raise WrongAnswer(f"{strategy.value} has lost somebody")
        turns = {
            MASKGATE: partial(_cpu_us, rank, stage.seconds / 8),
            BESIDE: partial(_cpu_us, sort, stage.seconds / 8),
        }
        spent = take_turns(turns, rounds=stage.rounds)
        detail = {name: {"cpu_us": median(each)} for name, each in spent.items()}
        rows.append(Row(named(strategy), BESIDE, aim, tuple(spent[MASKGATE]), detail))
    return rows


def _cpu_us(work: Callable[[], list[str]], seconds: float) -> float:
    """Do *work* for so many seconds; return the CPU microseconds that it takes once."""
    until = time.monotonic() + seconds
    done, before = 0, time.process_time()
    while time.monotonic() < until:
        work()
        done += 1
    return (time.process_time() - before) * 1_000_000 / done


WORK = Work(NAME, tuple((BESIDE, aim) for aim in AIMS.values()), measure)
