"""
What ranking remembers from one request to the next: how fast deployments were, whose turn it is, and chance.

The decisions are `ranking.rank`'s, which remembers nothing.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from gateway.request import Route, Strategy
from gateway.routing.candidates import Candidate, Exclusion, Screening
from gateway.routing.explanation import Explained, explanation
from gateway.routing.fairness import Turns
from gateway.routing.health import HealthView
from gateway.routing.latency import LatencyTable, Pace
from gateway.routing.ranking import NOBODY, by_the_second, rank
from gateway.routing.scoring import TIMED
from providers.contract import Clock


@dataclass(frozen=True, slots=True)
class Ranking:
    """Who may be asked now, in order, and why the others may not."""

    candidates: list[Candidate]
    exclusions: list[Exclusion]
    """Of those who could have answered."""
    explained: tuple[Explained, ...] = ()
    """Every deployment, those included that could not have answered; empty where nobody asked for it."""


class Router:
    """Ranks, and remembers what came of it."""

    def __init__(
        self,
        names: Collection[str],
        clock: Clock,
        chance: random.Random,
        *,
        latencies: LatencyTable | None = None,
        turns: Turns | None = None,
    ) -> None:
        """
        Begin with no history, or go on with one.

        Args:
            names: of every deployment.
            clock: monotonic seconds.
            chance: breaks ties and explores; its seed decides all of it.
            latencies: the histories to go on with.
            turns: the turns to go on with.
        """
        self._clock = clock
        self._chance = chance
        self._latencies = latencies or LatencyTable(names, clock)
        self._turns = turns or Turns()

    def ranked(
        self,
        screening: Screening,
        route: Route,
        health: Mapping[str, HealthView],
        *,
        seconds: float,
        order: Sequence[str] | None = None,
        explain: bool = False,
    ) -> Ranking:
        """
        Order the candidates that are about to be asked.

        Ties go by chance, a small part of the requests explores, and under `weighted` the first one's turn is taken.

        Args:
            screening: who could answer.
            route: the caller's strategy and ceiling.
            health: every deployment's view, by name.
            seconds: the longest that a call may take.
            order: the names in the order that a quote has promised; None: as the strategy says.
            explain: whether to say what each was weighed by.
        """
        ranking = self._rank(screening, route, health, seconds, order, chance=self._chance, explain=explain)
        if route.strategy is Strategy.WEIGHTED and order is None and ranking.candidates:
            self._turns.taken(ranking.candidates)
        return ranking

    def previewed(
        self,
        screening: Screening,
        route: Route,
        health: Mapping[str, HealthView],
        *,
        seconds: float,
        order: Sequence[str] | None = None,
        explain: bool = False,
    ) -> Ranking:
        """Order the candidates as `ranked` would and leave no trace: no turn is taken, nobody is explored for it."""
        return self._rank(screening, route, health, seconds, order, chance=None, explain=explain)

    def noted(self, name: str, seconds: float, *, ok: bool) -> None:
        """Remember how a call ended, after so many seconds from its beginning."""
        self._latencies[name].note(seconds, ok=ok)

    def usual_seconds(self, name: str) -> float | None:
        """Return what an answer usually takes; None while nobody knows."""
        return self._latencies[name].pace().usual_seconds

    def p95_seconds(self, name: str) -> float | None:
        """Return what 95 of 100 late answers took at most: when to hedge; None while there are too few of them."""
        return self._latencies[name].p95_seconds()

    def renewed(self, names: Collection[str], *, afresh: Collection[str] = ()) -> Router:
        """Return a router for these deployments that goes on with what is known of those that are here already."""
        turns = self._turns.renewed(names)
        return Router(
            names, self._clock, self._chance, latencies=self._latencies.renewed(names, afresh=afresh), turns=turns
        )

    def _rank(
        self,
        screening: Screening,
        route: Route,
        health: Mapping[str, HealthView],
        seconds: float,
        order: Sequence[str] | None,
        *,
        chance: random.Random | None,
        explain: bool,
    ) -> Ranking:
        paces: Mapping[str, Pace] = NOBODY
        timed = route.strategy in TIMED or any(by_the_second(each) for each in screening.candidates)
        if explain or timed:  # the others do not look at it
            paces = self._latencies.paces(candidate.name for candidate in screening.candidates)
        owed = self._turns.owed
        candidates, exclusions = rank(
            screening, route, health, seconds=seconds, order=order, paces=paces, owed=owed, chance=chance
        )
        explained: tuple[Explained, ...] = ()
        if explain:
            explained = explanation(
                screening,
                candidates,
                exclusions,
                route.strategy,
                health,
                seconds=seconds,
                paces=paces,
                owed=owed,
            )
        return Ranking(candidates, exclusions, explained)
