"""Turns under `weighted`: shares hold, without bursts, and nobody waits for ever."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.accounting.pricing import Terms
from gateway.request import Route, Strategy
from gateway.routing.candidates import Candidate, Screening
from gateway.routing.fairness import Turns
from gateway.routing.ranking import rank
from tests.gateway.routing.offers import CLOSED, offer, price

ROUTE = Route(Strategy.WEIGHTED)


def candidates(weights: Mapping[str, int]) -> list[Candidate]:
    """Return deployments of these weights."""
    return [Candidate(offer(name, weight=weight), Terms(price(name, 5000))) for name, weight in weights.items()]


def take(turns: Turns, those: Sequence[Candidate], chance: random.Random | None = None) -> str:
    """Rank those, take the turn of the first, and return its name."""
    views = dict.fromkeys((each.name for each in those), CLOSED)
    ranked, _ = rank(Screening(tuple(those), ()), ROUTE, views, seconds=60, owed=turns.owed, chance=chance)
    turns.taken(ranked)
    return ranked[0].name


def test_the_heavy_one_s_turns_are_spread_over_the_round() -> None:
    """5, 1 and 1 come as a a b a c a a, and then again."""
    turns, three = Turns(), candidates({"a": 5, "b": 1, "c": 1})
    assert "aabacaa" * 2 == "".join(take(turns, three) for _ in range(14))
    assert {"a": 0, "b": 0, "c": 0} == turns.owed


weights = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 20), min_size=1)


@settings(max_examples=50)
@given(weights, st.integers(0, 2**32))
def test_shares_are_exact_after_each_round(shares: dict[str, int], seed: int) -> None:
    """After as many requests as the weights add up to, each has been first as often as its weight says."""
    turns, those, total = Turns(), candidates(shares), sum(shares.values())
    firsts = Counter(take(turns, those, random.Random(seed)) for _ in range(total))
    assert {name: weight for name, weight in shares.items() if weight} == dict(firsts)


@settings(max_examples=50)
@given(weights)
def test_shares_hold_within_a_round_as_well(shares: dict[str, int]) -> None:
    """At no moment is anybody further from its part than the number of deployments."""
    turns, those, total = Turns(), candidates(shares), sum(shares.values())
    firsts: Counter[str] = Counter()
    for asked in range(1, total + 1):
        firsts[take(turns, those)] += 1
        for name, weight in shares.items():
            assert abs(firsts[name] - asked * weight / total) <= len(shares)


def test_weight_nothing_is_asked_when_there_is_nobody_else() -> None:
    """Beside others it is last; alone, or among its like, it is asked."""
    turns = Turns()
    assert {"a"} == {take(turns, candidates({"a": 1, "z": 0})) for _ in range(20)}
    assert "z" == take(turns, candidates({"z": 0}))
    chance = random.Random(1)
    assert {"y", "z"} == {take(turns, candidates({"y": 0, "z": 0}), chance) for _ in range(20)}


def test_who_was_away_is_not_made_up_to() -> None:
    """After a hundred requests without it, it has its part again and no more."""
    turns = Turns()
    for _ in range(100):
        take(turns, candidates({"a": 1, "b": 1}))
    firsts = Counter(take(turns, candidates({"a": 1, "b": 1, "back": 1})) for _ in range(30))
    assert {"a": 10, "b": 10, "back": 10} == firsts


def test_debts_stay_small_whoever_may_be_asked() -> None:
    """Over 20,000 requests, each of which leaves out whom it likes, nobody is owed more than a few rounds."""
    chance, turns = random.Random(11), Turns()
    shares = {"a": 7, "b": 3, "c": 2, "d": 1}
    most = 0
    for _ in range(20_000):
        names = chance.sample("abcd", chance.randint(1, 4))
        take(turns, candidates({name: shares[name] for name in names}), chance)
        most = max(most, *(abs(owed) for owed in turns.owed.values()))
        assert 0 == sum(turns.owed.values())
    assert most <= 3 * sum(shares.values())


def test_turns_are_renewed_where_everybody_stays() -> None:
    """One that leaves would take its debt along, so the round begins anew; one that joins owes nothing."""
    turns = Turns()
    take(turns, candidates({"a": 1, "b": 2}))
    assert turns.owed == turns.renewed(["a", "b", "new"]).owed
    assert {} == turns.renewed(["a"]).owed
    other = turns.renewed(["a", "b"])
    take(other, candidates({"a": 1, "b": 2}))
    assert turns.owed != other.owed
