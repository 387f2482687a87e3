"""
Clearing up what is on hold: the provider is asked what became of each attempt, and the hold is settled or released.

One gateway does it for all, where a lease says which one; and were there two of them, an attempt is resolved once, by
whoever comes first.

Each attempt has its own next look: one that cannot be read keeps no other waiting, and is asked about ever more rarely.
Each account (an endpoint and a credential) is asked by itself, a few calls at a time, so that a slow one keeps no other
waiting; one that fails several times in a row rests for a while.

A hold remembers the account that it was made with. The deployment that has this account now is asked, whatever it is
called; where none has it, the deployment of the attempt's name is, and only believed if it has billed the attempt. An
attempt whose deployment is gone from the configuration is left alone, since nobody knows its key.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.accounting.holds import HeldAttempt
from gateway.accounting.ledger import Ledger
from gateway.accounting.price_ids import price_of
from gateway.accounting.pricing import Price
from gateway.accounting.resolution import UNRESOLVED, Resolution, resolve
from gateway.store import LedgerUnavailable, Verdict
from providers.contract import (
    Clock,
    Deadline,
    Deployment,
    Fate,
    Found,
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

#: Questions to one account at a time.
AT_ONCE = 4

#: Failures in a row after which an account rests, and how long at most, in seconds.
FAILURES_IN_A_ROW = 3
LONGEST_REST_SECONDS = 20.0

#: Absence is believed once it was said twice, so far apart, in seconds on the monotonic clock: the calendar may jump.
ABSENT_AGAIN_SECONDS = 5.0

#: Attempts of which the next question's time is remembered; one that is forgotten is asked about sooner.
_MOST_REMEMBERED = 20_000

_MICROS = 1_000_000


class Result(StrEnum):
    """What came of one question about one attempt: a closed set, for metrics."""

    SETTLED = "settled"
    RELEASED = "released"
    UNKNOWN = "unknown"
    """No word yet, too early to believe that it never came there, or the word of another account."""
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
    """What its price is counted in now; None where it has none."""
    upstream_account: str = ""
    """The deployment's `upstream_account`."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    """The price book, by the prices' ids."""


@dataclass(slots=True)
class _Look:
    """When an attempt is asked about next; all on the monotonic clock."""

    due: float
    pause: float
    """Before the question after that, in seconds."""
    first_seen: float
    absent_since: float | None = None
    """When the provider first said that it knows nothing of it."""


@dataclass(slots=True)
class _Queue:
    """What one account is to be asked about, and how it has answered so far."""

    account: Account
    waiting: dict[str, HeldAttempt] = field(default_factory=dict)
    failures: int = 0
    """In a row."""
    rests_until: float = 0.0
    """On the monotonic clock."""
    asking: asyncio.Task[int] | None = None


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
        count: Callable[[HeldAttempt, Result, Resolution], None],
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
            count: told what came of every question, with how the hold ended.
            log: gets a line for every attempt that was cleared up.
        """
        self._ledger = ledger
        self._by_name = accounts
        self._by_account: dict[tuple[str, str | None], Account] = {
            (each.deployment.provider, each.upstream_account): each
            for each in reversed(list(accounts.values()))
            if each.upstream_account
        }
        self._cadence = cadence
        self._wall = wall
        self._clock = clock
        self._sleep = sleep
        self._count = count
        self._log = log
        self._looks: OrderedDict[str, _Look] = OrderedDict()
        self._queues: dict[Hashable, _Queue] = {}
        self._older_than: int | None = None
        self._cleared: set[str] = set()
        """What was cleared up since the last page was begun to be read, and may still stand on it."""
        self._was_due = False
        """Whether there was anything to ask about in the last round."""

    async def run(self, may: Callable[[], Awaitable[bool]] | None = None) -> None:
        """
        Go round after round, until cancelled.

        Args:
            may: asked before each round but the first whether it is this gateway's to do, such as `Lease.hold`; None:
                always. The first is anybody's, since whoever had the lease may just have died with it.
        """
        first = True
        try:
            while True:
                self._ledger.new_hold.clear()  # another gateway's round finds it as well
                try:
                    if may is None or await may() or first:
                        self._ask_about(await self._next_page())
                    else:
                        self._looks.clear()
                except LedgerUnavailable as error:
                    self._log.warning("reconciliation_failed", reason=str(error))
                first = False
                await self._sleep(min(self._cadence.every, 1.0))  # however many come, a round a second is enough
                try:
                    async with asyncio.timeout(self._until_next()):
                        await self._ledger.new_hold.wait()
                except TimeoutError:
                    continue
        finally:
            await self._stop()

    async def round(self, *, force: bool = False) -> int:
        """
        Ask about every attempt whose time has come, and return how many were cleared up.

        Args:
            force: ask about all that are on hold, whenever their time would come.

        Raises:
            LedgerUnavailable: the database is out of reach.
        """
        cleared = 0
        try:
            async for page in self._all_pages() if force else self._one_page():
                cleared += sum(await asyncio.gather(*self._ask_about(page, force=force)))
        finally:
            await self._stop()
        return cleared

    async def _one_page(self) -> AsyncIterator[list[HeldAttempt]]:
        yield await self._next_page()

    async def _all_pages(self) -> AsyncIterator[list[HeldAttempt]]:
        """Yield every attempt on hold, newest first."""
        page = await self._ledger.held(PAGE)
        while page:
            yield page
            page = await self._ledger.held(PAGE, before=page[-1].hold) if len(page) == PAGE else []

    async def _next_page(self) -> list[HeldAttempt]:
        """Return the newest attempts on hold, and a stretch of the older ones, which moves on from round to round."""
        self._cleared.clear()
        newest = await self._ledger.held(PAGE)
        if len(newest) < PAGE:
            self._older_than = None
            return newest
        before = min(newest[-1].hold, self._older_than or newest[-1].hold)
        older = await self._ledger.held(PAGE, before=before)
        self._older_than = older[-1].hold if len(older) == PAGE else None
        return [*newest, *older]

    def _ask_about(self, page: list[HeldAttempt], *, force: bool = False) -> list[asyncio.Task[int]]:
        """Have every account asked about those attempts of a page whose time has come; return who asks."""
        now = self._clock()
        for held in sorted(page, key=lambda held: held.hold):
            account = self._account_of(held)
            if held.attempt_id in self._cleared or account is None or not (force or self._look(held).due <= now):
                continue
            key = (account.deployment.provider, account.upstream_account or account.deployment.name)
            queue = self._queues.setdefault(key, _Queue(account))
            if queue.rests_until <= now and len(queue.waiting) < 2 * PAGE:
                queue.waiting.setdefault(held.attempt_id, held)
        self._forget_all_but(page)
        ready = [queue for queue in self._queues.values() if queue.waiting]
        self._was_due = bool(ready)
        for queue in ready:
            if queue.asking is None or queue.asking.done():
                queue.asking = asyncio.create_task(self._ask(queue, force=force))
        return [queue.asking for queue in ready if queue.asking is not None]

    def _account_of(self, held: HeldAttempt) -> Account | None:
        """Return who is asked about an attempt; None where the configuration names nobody any more."""
        named = self._by_name.get(held.deployment)
        if named is not None and named.deployment.provider != held.provider:
            named = None
        if named is not None and named.upstream_account == held.upstream_account:
            return named
        made_with = self._by_account.get((held.provider, held.upstream_account))
        if made_with is not None:
            return made_with
        return named if named is not None and named.deployment.model == held.model else None

    async def _ask(self, queue: _Queue, *, force: bool) -> int:
        """Ask one account about its attempts, a few at a time; one at a time where the last one failed."""
        at_once = AT_ONCE if queue.failures == 0 else 1
        return sum(await asyncio.gather(*(self._ask_in_turn(queue, force=force) for _ in range(at_once))))

    async def _ask_in_turn(self, queue: _Queue, *, force: bool) -> int:
        """Ask about what waits, one after another, until nothing does or the account has to rest."""
        cleared = 0
        while queue.waiting:
            held = queue.waiting.pop(next(iter(queue.waiting)))
            self._look(held).due = math.inf  # not again before it is answered
            result, resolution = await self._result(held, queue.account, force=force)
            self._count(held, result, resolution)
            cleared += result in {Result.SETTLED, Result.RELEASED}
            if result is not Result.FAILED:
                queue.failures = 0
                continue
            self._postpone(held)
            queue.failures += 1
            if queue.failures >= FAILURES_IN_A_ROW:
                rest = max(self._cadence.first, 1.0) * 2 ** min(queue.failures - FAILURES_IN_A_ROW, 10)
                queue.rests_until = self._clock() + min(rest, LONGEST_REST_SECONDS)
                queue.waiting.clear()  # each is found in the ledger again
        return cleared

    async def _result(self, held: HeldAttempt, account: Account, *, force: bool) -> tuple[Result, Resolution]:
        """Ask about one attempt; see `_clear_up`. The ledger out of reach is a failure, too."""
        try:
            return await self._clear_up(held, account, force=force)
        except LedgerUnavailable as error:
            self._log.warning("reconciliation_failed", reason=str(error))
            return Result.FAILED, UNRESOLVED

    async def _clear_up(self, held: HeldAttempt, account: Account, *, force: bool) -> tuple[Result, Resolution]:
        """Ask about one attempt, and resolve its hold where that is possible."""
        found = await self._found(held, account)
        if found is None:
            return Result.FAILED, UNRESOLVED
        believed = found.fate is Fate.ABSENT and self._is_absence_believed(held, force=force)
        same = held.upstream_account in {None, account.upstream_account}  # None: made before that was kept
        price = account.prices.get(price_of(held.price_id))
        resolution = resolve(found, held, price, account.unit, believe_absence=believed, same_account=same)
        if resolution is None:
            at_most = self._cadence.absent - self._age(held) if found.fate is Fate.ABSENT and same else None
            self._postpone(held, at_most=at_most)
            return Result.UNKNOWN, UNRESOLVED
        verdict = await self._written(held, found, resolution)
        self._looks.pop(held.attempt_id, None)
        self._cleared.add(held.attempt_id)
        if verdict is not Verdict.WRITTEN:
            return Result.BEATEN, UNRESOLVED
        self._log.info(
            "attempt_reconciled",
            attempt_id=held.attempt_id,
            deployment=held.deployment,
            fate=found.fate.value,
            charged_microusd=resolution.charge.microusd,
        )
        return (Result.RELEASED if resolution.release else Result.SETTLED), resolution

    async def _found(self, held: HeldAttempt, account: Account) -> Found | None:
        """Return the provider's word; None where it cannot be had."""
        deadline = Deadline.after(ANSWER_SECONDS, self._clock)
        try:
            return await account.provider.look_up(
                account.deployment, attempt_id=held.attempt_id, upstream_ref=held.upstream_ref, deadline=deadline
            )
        except ProviderError as error:
            self._log.warning(
                "look_up_failed", deployment=held.deployment, attempt_id=held.attempt_id, reason=error.message
            )
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

    def _age(self, held: HeldAttempt) -> float:
        """Return for how many seconds an attempt has been on hold: by the calendar, or by what was seen of it here."""
        look = self._looks.get(held.attempt_id)
        seen = 0.0 if look is None else self._clock() - look.first_seen
        return max(self._wall() - held.held_at / _MICROS, seen)

    def _is_absence_believed(self, held: HeldAttempt, *, force: bool) -> bool:
        """Whether it is late enough for an attempt that its provider knows nothing of to have never come there."""
        look, now = self._look(held), self._clock()
        if look.absent_since is None:
            look.absent_since = now
        again = now - look.absent_since >= min(self._cadence.absent, ABSENT_AGAIN_SECONDS)
        return self._age(held) >= self._cadence.absent and (again or force)

    def _look(self, held: HeldAttempt) -> _Look:
        """Return when an attempt is asked about next; one that is new here by when it was put on hold."""
        look = self._looks.get(held.attempt_id)
        if look is None:
            now, first = self._clock(), self._cadence.first
            age = max(0.0, self._wall() - held.held_at / _MICROS)
            look = self._looks[held.attempt_id] = _Look(now + first - age, max(first, 0.1), now)
            if len(self._looks) > _MOST_REMEMBERED:
                self._looks.popitem(last=False)
        return look

    def _postpone(self, held: HeldAttempt, *, at_most: float | None = None) -> None:
        """Ask about an attempt again after a pause, which doubles each time."""
        look = self._look(held)
        wait = look.pause if at_most is None else min(look.pause, max(0.0, at_most))
        look.due, look.pause = self._clock() + wait, min(2 * look.pause, LONGEST_PAUSE_SECONDS)
        self._looks.move_to_end(held.attempt_id)

    def _forget_all_but(self, page: list[HeldAttempt]) -> None:
        """Forget the attempts that would be due and are not on hold any more, or far back in the ledger."""
        now, here = self._clock(), {held.attempt_id for held in page}
        for name in [name for name, look in self._looks.items() if look.due <= now and name not in here]:
            del self._looks[name]

    def _until_next(self) -> float:
        """Return the seconds to the next round, when no new hold comes: until somebody is due, at most `every`."""
        if self._older_than is not None and self._was_due:
            return 0.0  # and further back there may be more
        now = self._clock()
        soonest = min((look.due for look in self._looks.values()), default=now + self._cadence.every)
        return max(0.0, min(soonest - now, self._cadence.every))

    async def _stop(self) -> None:
        """Have nobody ask any more."""
        asking = [queue.asking for queue in self._queues.values() if queue.asking is not None]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
