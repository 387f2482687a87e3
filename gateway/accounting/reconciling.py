"""
Clearing up what is on hold: the provider is asked what became of each attempt, and the hold is settled or released.

One gateway does it for all, where a lease says which one; and were there two of them, an attempt is resolved once, by
whoever comes first. It is polite: one call at a time for each deployment, none after one that failed until the next
round, and ever rarer ones for an attempt of which there is no word. A deployment that is gone from the configuration is
left alone, since nobody knows its key.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.accounting.holds import HeldAttempt
from gateway.accounting.ledger import Ledger
from gateway.accounting.price_ids import read_price_id
from gateway.store import LedgerUnavailable, Verdict
from providers.contract import (
    NOTHING,
    Clock,
    Deadline,
    Deployment,
    Fate,
    Found,
    Money,
    PriceUnit,
    Provider,
    ProviderError,
)

#: Attempts read from the ledger in one round: the newest, and as many again further back, a stretch a round.
PAGE = 200

#: Longest time between two questions about one attempt, in seconds.
LONGEST_PAUSE_SECONDS = 3600.0

#: How long one question to a provider may take.
ANSWER_SECONDS = 10.0

#: Attempts of which the next question's time is remembered; one that is forgotten is asked about sooner.
_MOST_REMEMBERED = 20_000

_MICROS = 1_000_000


class Result(StrEnum):
    """What came of one question about one attempt: a closed set, for metrics."""

    SETTLED = "settled"
    RELEASED = "released"
    UNKNOWN = "unknown"
    """No word yet, or too early to believe that it never came there."""
    FAILED = "failed"
    """The provider could not be asked."""
    BEATEN = "beaten"
    """Somebody else has resolved it meanwhile."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """When attempts on hold are asked about, in seconds."""

    every: float
    """Between two rounds."""
    first: float
    """From the hold to the first question: most runs that outlast their caller end shortly after."""
    absent: float
    """From the hold until a provider is believed that knows nothing of an attempt: the request may still be on its way,
    or its record late."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where an attempt may have been charged."""

    deployment: Deployment
    provider: Provider
    unit: PriceUnit | None
    """What its price is counted in; None where it has none."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a hold ends."""

    charge: Money
    """To the tenant; nothing for a release."""
    cost: Money
    """Owed to the provider."""
    reported: Money | None
    release: bool


def resolve(found: Found, held: HeldAttempt, unit: PriceUnit | None, *, believe_absence: bool) -> Resolution | None:
    """
    Say how a hold ends by what was found; None where it stays. Pure.

    The tenant is charged by the terms of the reservation, and never more than it set aside. Where the provider gives no
    figure that is all of it, and the cost is what these terms make it from.

    Args:
        found: the provider's word.
        held: the attempt.
        unit: what its deployment's price is counted in.
        believe_absence: whether it is late enough to believe that the attempt never came there.
    """
    amount, terms = Money(held.amount_microusd), read_price_id(held.price_id)
    unreported = Resolution(amount, terms.cost(amount), None, release=False)
    if found.fate is Fate.CHARGED:
        if found.cost is None or found.cost < NOTHING:  # a negative figure is no bill
            return unreported
        return Resolution(terms.charge(found.cost, amount), found.cost, found.cost, release=False)
    if found.fate is Fate.NOT_CHARGED:
        if unit is PriceUnit.REQUEST:  # the operator's price says that a call is owed for, however it ended
            return unreported
        return Resolution(NOTHING, NOTHING, None, release=True)
    if found.fate is Fate.ABSENT and believe_absence:
        return Resolution(NOTHING, NOTHING, None, release=True)
    return None


@dataclass(slots=True)
class _Patience:
    """When an attempt is asked about next."""

    due: float
    """On the monotonic clock."""
    pause: float
    """Before the question after that, in seconds."""


class Reconciler:
    """Asks about what is on hold, round after round. Belongs to one event loop."""

    def __init__(
        self,
        ledger: Ledger,
        accounts: Mapping[str, Account],
        cadence: Cadence,
        *,
        wall: Callable[[], float],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
        count: Callable[[HeldAttempt, Result, Money], None],
        log: Any,
    ) -> None:
        """
        Prepare; `run` or `round` begins.

        Args:
            ledger: whose holds are cleared up.
            accounts: by the deployment's name.
            cadence: when.
            wall: seconds since 1970, UTC, as the ledger dates its entries.
            clock: monotonic seconds.
            sleep: waits between rounds.
            count: told what came of every question, with what was charged.
            log: gets a line for every attempt that was cleared up.
        """
        self._ledger = ledger
        self._accounts = accounts
        self._cadence = cadence
        self._wall = wall
        self._clock = clock
        self._sleep = sleep
        self._count = count
        self._log = log
        self._patience: OrderedDict[str, _Patience] = OrderedDict()
        self._older_than: int | None = None

    async def run(self, may: Callable[[], Awaitable[bool]] | None = None) -> None:
        """
        Go round after round, until cancelled.

        Args:
            may: asked before each round but the first whether it is this gateway's to do, such as `Lease.hold`; None:
                always. The first is anybody's, since whoever had the lease may just have died with it.
        """
        first = True
        while True:
            self._ledger.new_hold.clear()  # another gateway's round finds it as well
            try:
                if may is None or await may() or first:
                    await self.round()
                else:
                    self._patience.clear()
            except LedgerUnavailable as error:
                self._log.warning("reconciliation_failed", reason=str(error))
            first = False
            await self._sleep(min(self._cadence.every, 1.0))  # however many holds come, a round a second is enough
            try:
                async with asyncio.timeout(self._until_next()):
                    await self._ledger.new_hold.wait()
            except TimeoutError:
                continue

    async def round(self, *, force: bool = False) -> int:
        """
        Ask about every attempt whose time has come, and return how many were cleared up.

        Args:
            force: ask about all that are on hold, whenever their time would come.

        Raises:
            LedgerUnavailable: the database is out of reach.
        """
        due: defaultdict[str, list[HeldAttempt]] = defaultdict(list)
        page = await self._all_held() if force else await self._next_page()
        for held in page:
            if self._is_known(held) and (self._is_due(held) or force):
                due[held.deployment].append(held)
        self._forget_all_but(page)
        cleared = await asyncio.gather(*(self._ask_in_turn(attempts) for attempts in due.values()))
        return sum(cleared)

    async def _all_held(self) -> list[HeldAttempt]:
        """Return every attempt on hold, newest first."""
        page = found = await self._ledger.held(PAGE)
        while len(page) == PAGE:
            page = await self._ledger.held(PAGE, before=page[-1].hold)
            found = [*found, *page]
        return found

    async def _next_page(self) -> list[HeldAttempt]:
        """Return the newest attempts on hold, and a stretch of the older ones, which moves on from round to round."""
        newest = await self._ledger.held(PAGE)
        if len(newest) < PAGE:
            return newest
        before = min(newest[-1].hold, self._older_than or newest[-1].hold)
        older = await self._ledger.held(PAGE, before=before)
        self._older_than = older[-1].hold if len(older) == PAGE else None
        return [*newest, *older]

    async def _ask_in_turn(self, attempts: list[HeldAttempt]) -> int:
        """Ask one deployment about its attempts, oldest first, until it cannot be asked."""
        account = self._accounts[attempts[0].deployment]
        cleared = 0
        for held in (waiting := deque(reversed(attempts))).copy():
            try:
                result, charge = await self._clear_up(held, account)
            except LedgerUnavailable as error:
                self._log.warning("reconciliation_failed", reason=str(error))
                result, charge = Result.FAILED, NOTHING
            self._count(held, result, charge)
            if result is Result.FAILED:
                for each in waiting:
                    self._postpone(each)
                break
            waiting.popleft()
            cleared += result in {Result.SETTLED, Result.RELEASED}
        return cleared

    async def _clear_up(self, held: HeldAttempt, account: Account) -> tuple[Result, Money]:
        """Ask about one attempt, and resolve its hold where that is possible."""
        found = await self._found(held, account)
        if found is None:
            return Result.FAILED, NOTHING
        age = self._wall() - held.held_at / _MICROS
        resolution = resolve(found, held, account.unit, believe_absence=age >= self._cadence.absent)
        if resolution is None:
            self._postpone(held, at_most=self._cadence.absent - age if found.fate is Fate.ABSENT else None)
            return Result.UNKNOWN, NOTHING
        verdict = await self._written(held, found, resolution)
        self._patience.pop(held.attempt_id, None)
        if verdict is not Verdict.WRITTEN:
            return Result.BEATEN, NOTHING
        self._log.info(
            "attempt_reconciled",
            attempt_id=held.attempt_id,
            deployment=held.deployment,
            fate=found.fate.value,
            charged_microusd=resolution.charge.microusd,
        )
        return (Result.RELEASED if resolution.release else Result.SETTLED), resolution.charge

    async def _found(self, held: HeldAttempt, account: Account) -> Found | None:
        """Return the provider's word; None where it cannot be had."""
        deadline = Deadline.after(ANSWER_SECONDS, self._clock)
        try:
            return await account.provider.look_up(
                account.deployment, attempt_id=held.attempt_id, upstream_ref=held.upstream_ref, deadline=deadline
            )
        except ProviderError as error:
            self._log.warning("look_up_failed", deployment=held.deployment, reason=error.message)
        except Exception:  # noqa: BLE001 - an adapter may be anybody's code, and the others' holds wait
            self._log.exception("adapter_defect", deployment=held.deployment, attempt_id=held.attempt_id)
        return None

    async def _written(self, held: HeldAttempt, found: Found, resolution: Resolution) -> Verdict:
        """Write the end of a hold."""
        if resolution.release:
            return await self._ledger.release_held(held, reason=f"reconciled_{found.fate.value}")
        return await self._ledger.settle_held(
            held,
            charge=resolution.charge,
            cost=resolution.cost,
            reported=resolution.reported,
            upstream_ref=found.upstream_ref or held.upstream_ref,
        )

    def _is_known(self, held: HeldAttempt) -> bool:
        """Whether the configuration still says of the attempt's deployment what it said then."""
        account = self._accounts.get(held.deployment)
        if account is None:
            return False
        return (account.deployment.provider, account.deployment.model) == (held.provider, held.model)

    def _is_due(self, held: HeldAttempt) -> bool:
        """Whether it is time to ask about an attempt."""
        patience = self._patience.get(held.attempt_id)
        if patience is None:
            age = self._wall() - held.held_at / _MICROS
            self._remember(held, in_seconds=self._cadence.first - age, pause=max(self._cadence.first, 0.1))
            patience = self._patience[held.attempt_id]
        return patience.due <= self._clock()

    def _postpone(self, held: HeldAttempt, *, at_most: float | None = None) -> None:
        """Ask about an attempt again after a pause, which doubles each time."""
        pause = self._patience[held.attempt_id].pause
        wait = pause if at_most is None else min(pause, max(0.0, at_most))
        self._remember(held, in_seconds=wait, pause=min(2 * pause, LONGEST_PAUSE_SECONDS))

    def _remember(self, held: HeldAttempt, *, in_seconds: float, pause: float) -> None:
        self._patience[held.attempt_id] = _Patience(self._clock() + in_seconds, pause)
        self._patience.move_to_end(held.attempt_id)
        while len(self._patience) > _MOST_REMEMBERED:
            self._patience.popitem(last=False)

    def _forget_all_but(self, page: list[HeldAttempt]) -> None:
        """Forget the attempts that would be due and are not on hold any more, or far back in the ledger."""
        now, here = self._clock(), {held.attempt_id for held in page}
        gone = [name for name, patience in self._patience.items() if patience.due <= now and name not in here]
        for name in gone:
            del self._patience[name]

    def _until_next(self) -> float:
        """Return the seconds to the next round, when no new hold comes: until somebody is due, at most `every`."""
        now = self._clock()
        soonest = min((patience.due for patience in self._patience.values()), default=now + self._cadence.every)
        return max(0.0, min(soonest - now, self._cadence.every))
