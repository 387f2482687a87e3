"""What the router remembers, and where traffic goes in the end, under a clock that is wound by hand."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from gateway.request import Route, Strategy
from gateway.routing.ranking import EXPLORED_SHARE, Screening
from gateway.routing.router import Router
from tests.gateway.routing.offers import CLOSED, PricedOffer, offer, opened, question, screen

Seconds = Callable[[str, float], float]
"""What a call to a deployment takes that begins at a moment."""


def slower_where_free(factor: int, name: str, _at: float) -> float:
    """Return what a call takes: a second, and *factor* seconds where it is free."""
    return float(factor if name == "free" else 1)


@dataclass
class Traffic:
    """Requests at equal distances, each asked of whoever is ranked first, for as long as that takes."""

    offers: Sequence[PricedOffer]
    strategy: Strategy
    seconds: Seconds
    seed: int = 1
    now: float = 0.0
    firsts: list[tuple[float, str]] = field(default_factory=list)
    under_way: list[tuple[float, float, str]] = field(default_factory=list)
    """When each call ends, when it began, and whose it is: a heap."""

    def __post_init__(self) -> None:
        """Open the router."""
        names = [each.name for each in self.offers]
        self.router = Router(names, lambda: self.now, random.Random(self.seed))
        self.screening: Screening = screen(question(), Route(), self.offers)
        self.in_flight = Counter(dict.fromkeys(names, 0))

    def run(self, *, until: float, every: float) -> None:
        """Send a request *every* so many seconds."""
        at = self.now
        while at < until:
            while self.under_way and self.under_way[0][0] <= at:
                self.now, began, name = heapq.heappop(self.under_way)
                self.in_flight[name] -= 1
                self.router.noted(name, self.now - began, ok=True)
            self.now = at
            views = {name: replace(CLOSED, in_flight=count) for name, count in self.in_flight.items()}
            first = self.router.ranked(self.screening, Route(self.strategy), views, seconds=60).candidates[0].name
            self.firsts.append((at, first))
            self.in_flight[first] += 1
            heapq.heappush(self.under_way, (at + self.seconds(first, at), at, first))
            at += every

    def share(self, name: str, since: float, until: float) -> float:
        """Return the part of the requests between two moments that went to one deployment."""
        asked = [first for at, first in self.firsts if since <= at < until]
        return asked.count(name) / len(asked)


@pytest.mark.parametrize("us", [5000, 5001, 5200])
@pytest.mark.parametrize("strategy", [Strategy.FASTEST, Strategy.BALANCED])
def test_two_like_regions_that_slow_down_under_load_share_it(strategy: Strategy, us: int) -> None:
    """
    In every five seconds each of them has about half of the requests: traffic does not swing to and fro.

    A price that differs by less than matters changes nothing about that; a region that becomes three times slower is
    left all the same.
    """
    chance = random.Random(us)
    slower = {"eu": 1.0, "us": 1.0}
    traffic = Traffic([offer("eu", 5000), offer("us", us)], strategy, lambda _name, _at: 0.0, seed=us)
    traffic.seconds = lambda name, _at: (
        0.2 * slower[name] * (1 + traffic.in_flight[name] / 4) * chance.uniform(0.8, 1.25)
    )
    traffic.run(until=60, every=0.05)
    shares = [traffic.share("eu", since, since + 5) for since in range(10, 60, 5)]
    assert all(0.35 <= share <= 0.65 for share in shares), shares
    slower["eu"] = 3.0
    traffic.run(until=90, every=0.05)
    assert traffic.share("eu", 70, 90) <= 0.35


def slow_between(name: str, since: float, until: float, usual: float = 0.2) -> Seconds:
    """Return what calls take where one deployment is ten times slower for a while."""
    chance = random.Random(0)
    return lambda asked, at: usual * chance.uniform(0.8, 1.25) * (10 if asked == name and since <= at < until else 1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("every", [0.02, 0.1])
@pytest.mark.parametrize("strategy", [Strategy.FASTEST, Strategy.BALANCED])
def test_traffic_leaves_one_that_slows_down_and_comes_back(strategy: Strategy, every: float, seed: int) -> None:
    """Nine tenths and more are elsewhere after 10 s, and 30 s after its recovery it has about its share again."""
    traffic = Traffic([offer("a"), offer("b")], strategy, slow_between("a", 20, 50), seed)
    traffic.run(until=110, every=every)
    assert traffic.share("a", 30, 50) <= 0.1
    assert 0.3 <= traffic.share("a", 80, 110) <= 0.7


@pytest.mark.parametrize("seed", range(3))
def test_one_that_has_recovered_is_found_by_few_requests_as_well(seed: int) -> None:
    """With two requests a second, a small part of which explore, traffic comes back a little later."""
    traffic = Traffic([offer("a"), offer("b")], Strategy.FASTEST, slow_between("a", 20, 50), seed)
    traffic.run(until=400, every=0.5)
    assert traffic.share("a", 30, 50) <= 0.1
    assert traffic.share("a", 250, 400) >= 0.2


def test_a_slow_one_is_asked_by_one_call_at_a_time() -> None:
    """While it stays slow, those that explore it and those that spill over are a few in a hundred."""
    traffic = Traffic([offer("a"), offer("b")], Strategy.FASTEST, slow_between("a", 0, 1000))
    traffic.run(until=60, every=0.1)
    assert 0 < traffic.share("a", 10, 60) <= 0.04


def test_free_but_slow_against_fast_but_dear_is_a_matter_of_both() -> None:
    """Under `balanced` 5000 micro-dollars buy up to six times the time of a free call, and not ten times."""
    for factor, first in ((4, "free"), (10, "paid")):
        traffic = Traffic(
            [offer("free", 0), offer("paid", 5000)],
            Strategy.BALANCED,
            partial(slower_where_free, factor),
        )
        traffic.run(until=100, every=1.0)
        assert traffic.share(first, 20, 100) >= 0.9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("strategy", [Strategy.CHEAPEST, Strategy.PRIORITY, Strategy.FASTEST, Strategy.BALANCED])
def test_nobody_starves_among_equals(strategy: Strategy, seed: int) -> None:
    """Ten deployments that differ in nothing but their names have about a tenth each."""
    offers = [offer(f"d{index}") for index in range(10)]
    traffic = Traffic(offers, strategy, lambda _name, _at: 0.2, seed)
    traffic.run(until=50, every=0.05)
    shares = [traffic.share(each.name, 0, 50) for each in offers]
    assert 0.05 <= min(shares)
    assert max(shares) <= 0.15


def test_one_seed_is_one_history() -> None:
    """Two routers with the same seed send the same traffic to the same places; another seed does not."""
    runs = []
    for seed in (7, 7, 8):
        traffic = Traffic([offer("a"), offer("b"), offer("c")], Strategy.FASTEST, slow_between("a", 5, 10), seed)
        traffic.run(until=20, every=0.05)
        runs.append(traffic.firsts)
    assert runs[0] == runs[1] != runs[2]


@pytest.fixture
def router() -> Router:
    """Three deployments that nobody knows yet, at a clock that stands."""
    return Router(["a", "b", "c"], lambda: 0.0, random.Random(1))


OFFERS = [offer("a", weight=5), offer("b"), offer("c")]
VIEWS = dict.fromkeys("abc", CLOSED)
WEIGHTED = Route(Strategy.WEIGHTED)


def first(router: Router, order: list[str] | None = None) -> str:
    """Return who is asked first under `weighted`."""
    screening = screen(question(), WEIGHTED, OFFERS)
    return router.ranked(screening, WEIGHTED, VIEWS, seconds=60, order=order).candidates[0].name


def test_a_preview_takes_no_turn_and_draws_no_lot(router: Router) -> None:
    """However many quotes are asked for, the next request goes where it would have gone."""
    other = Router(["a", "b", "c"], lambda: 0.0, random.Random(1))
    for _ in range(20):
        for strategy in Strategy:
            screening = screen(question(), Route(strategy), OFFERS)
            other.previewed(screening, Route(strategy), VIEWS, seconds=60)
    assert [first(router) for _ in range(50)] == [first(other) for _ in range(50)]


def test_a_promised_order_takes_no_turn(router: Router) -> None:
    """It was not the weights that chose."""
    other = Router(["a", "b", "c"], lambda: 0.0, random.Random(1))
    assert ["c"] * 9 == [first(other, ["c", "a", "b"]) for _ in range(9)]
    assert [first(router) for _ in range(7)] == [first(other) for _ in range(7)]


def test_an_explanation_is_of_the_moment_of_the_ranking(router: Router) -> None:
    """The turn that the request takes is not in what it was weighed by; without a wish there is no explanation."""
    screening = screen(question(), WEIGHTED, OFFERS)
    views = VIEWS | {"b": opened(9.0)}
    ranking = router.ranked(screening, WEIGHTED, views, seconds=60, explain=True)
    assert [("a", 1, 5), ("c", 2, 1), ("b", None, 1)] == [
        (each.deployment, each.rank, each.weighed.owed) for each in ranking.explained if each.weighed
    ]
    assert () == router.ranked(screening, WEIGHTED, views, seconds=60).explained


def test_what_is_known_of_those_that_stay_goes_on() -> None:
    """After a reload the history of one that stays is the same one, and of one that begins afresh it is empty."""
    now = [0.0]
    old = Router(["a", "b", "gone"], lambda: now[0], random.Random(1))
    for name in ("a", "b", "gone"):
        for _ in range(20):
            old.noted(name, 3.0, ok=True)
    new = old.renewed(["a", "b", "new"], afresh=["b"])
    assert [3.0, None, None] == [new.p95_seconds(name) for name in ("a", "b", "new")]
    now[0] = 1.0
    for _ in range(100):
        old.noted("a", 9.0, ok=True)  # a request that began before the reload ends after it
    assert 9.0 == new.p95_seconds("a")
    with pytest.raises(KeyError):
        new.noted("gone", 1.0, ok=True)


def test_turns_go_on_where_all_stay(router: Router) -> None:
    """A reload that adds nobody and drops nobody does not begin the round anew; one that drops somebody does."""
    assert ["a", "a"] == [first(router) for _ in range(2)]
    assert first(router.renewed(["a", "b", "c"])) in {"b", "c"}
    assert "a" == first(router.renewed(["a", "b"]))


def test_little_is_explored() -> None:
    """Of the requests under `fastest`, one in twenty at most asks somebody for exploration's sake."""
    router = Router(["a", "b"], lambda: 0.0, random.Random(3))
    router.noted("a", 0.1, ok=True)
    offers = [offer("a", 1), offer("b", 2)]
    screening = screen(question(), Route(), offers)
    explored = [
        router.ranked(screening, Route(Strategy.FASTEST), VIEWS, seconds=60).candidates[0].explored for _ in range(4000)
    ]
    assert EXPLORED_SHARE / 2 <= sum(explored) / len(explored) <= EXPLORED_SHARE * 1.5
