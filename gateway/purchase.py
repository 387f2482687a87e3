"""What a question has with it on its way: what answers it, what is left of its money, and what was tried so far."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.accounting import Ledger, Reservation
from gateway.accounting.alerts import Alerts
from gateway.accounting.drift import DriftWatch
from gateway.accounting.price_book import PriceBook
from gateway.accounting.quote_tokens import QuotedCall
from gateway.cache.flight import Flights
from gateway.cache.store import AnswerCache
from gateway.fitting.fitter import Fitter
from gateway.problems import GatewayError
from gateway.request import Answer, AttemptReport, SegmentationRequest
from gateway.routing.concurrency import Limiters
from gateway.routing.deployments import Catalogue, Offer
from gateway.routing.doubt import DoubtWatch
from gateway.routing.explanation import Explained
from gateway.routing.health import HealthTable
from gateway.routing.hedging import HedgeBudget
from gateway.routing.ranking import Candidate, Exclusion
from gateway.routing.retry_budget import RetryBudget
from gateway.routing.router import Router
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.shortages import Shortages
from gateway.uses import Uses
from providers.contract import NOTHING, Clock, Decoders, Money, Provider, Question, Sleep, Workers


@dataclass(frozen=True, slots=True)
class Services:
    """What the flow works with; built once, in app.py."""

    ledger: Ledger
    providers: Mapping[str, Provider]
    offers: Sequence[Offer]
    prices: PriceBook
    catalogue: Catalogue
    health: HealthTable
    router: Router
    places: Limiters
    retries: RetryBudget
    doubt: DoubtWatch
    hedges: HedgeBudget
    cache: AnswerCache
    flights: Flights[Answer]
    workers: Workers
    decoders: Decoders
    metrics: Metrics
    alerts: Alerts
    drift: DriftWatch
    uncharged: Callable[[str, Money], None]
    """Is told of a deployment, and of what a call to it came to beyond what was reserved."""
    shortages: Shortages
    log: Any
    chance: random.Random
    """Spreads what would otherwise happen at once."""
    clock: Clock
    wall: Callable[[], float]
    """Seconds since 1970, UTC: which prices hold, and when budgets begin anew."""
    new_id: Callable[[str], str]
    """Makes an id with that prefix."""
    uses: Uses
    """Counts who works with these: what a reload has replaced is closed when nobody does any more."""
    sleep: Sleep = asyncio.sleep


@dataclass(slots=True)
class Purse:
    """One request's money, over all its questions and attempts."""

    left: Money | None
    """Of its `max_charge_usd`; None is no ceiling."""
    in_doubt: Money = NOTHING
    """What its calls have put on hold."""

    def take(self, amount: Money) -> bool:
        """Put *amount* aside; False when there is not that much."""
        if self.left is None:
            return True
        if amount > self.left:
            return False
        self.left = self.left - amount
        return True

    def give_back(self, amount: Money) -> None:
        """Return what was put aside and not spent."""
        if self.left is not None:
            self.left = self.left + amount


@dataclass(frozen=True, slots=True)
class PaidCall:
    """A call that is under way, and paid for."""

    candidate: Candidate
    reservation: Reservation
    started: float
    """Monotonic seconds."""


@dataclass(slots=True)
class Purchase:
    """One question on its way through the deployments, and the attempts so far."""

    request: SegmentationRequest
    index: int
    purse: Purse
    fitter: Fitter
    promised: Sequence[QuotedCall] | None = None
    """Who may be asked and for how much, in this order, where the caller holds a quote."""
    attempts: list[AttemptReport] = field(default_factory=list)
    under_way: list[PaidCall] = field(default_factory=list)
    endings: list[asyncio.Future[Any]] = field(default_factory=list)
    """Done when the releases of its failed attempts are on disk, or parked."""
    unfit: list[Exclusion] = field(default_factory=list)
    """Deployments that were not asked after all: the picture could not be made to fit them."""
    unaffordable: dict[str, GatewayError | None] = field(default_factory=dict)
    """Deployments for which there was no money: the problem of the budget; None: the request's own ceiling."""
    left_behind: set[str] = field(default_factory=set)
    """Deployments that a call of somebody else waits for, for longer than this question can."""
    early: frozenset[str] = frozenset()
    """Who may be asked before its time, since most are out."""
    doubtful: bool = False
    """Whether one of its calls may have been billed without an answer, so that another one could cost it twice."""
    objection: str | None = None
    """Why a further call was not made although somebody was left to ask."""
    explanation: tuple[Explained, ...] = ()
    """Where each deployment came in the order that was gone by, for a request that wants to know."""

    @property
    def question(self) -> Question:
        """What is asked."""
        return self.request.questions[self.index]

    @property
    def order(self) -> list[str] | None:
        """The names of whom the quote promises, in its order."""
        return None if self.promised is None else [call.deployment for call in self.promised]
