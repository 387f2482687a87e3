"""
The ledger: a reservation before money can be spent, and one ending for each.

    reserve -> settle     the provider answered: this is the charge
            -> release    provably not charged
            -> hold       nobody knows: kept until reconciled  -> settle | release

Why a reservation for each attempt and not for each request: when one attempt is lost and the next one answers, both may
be billed. `reserve` returns only when the reservation is on disk. An ending never fails: when the database is gone, the
answer is bought all the same, so the ending is parked and written as soon as it can be (`parked` counts them). If the
process dies before that, the reservation stays open, and the sweep of whoever lives turns it into a hold.

A reservation is measured by its budgets, and its key is looked at, in the transaction that writes it: what one gateway
refuses or counts, no other one can miss.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

import orjson
from sqlalchemy import select

from gateway.accounting.holds import HeldAttempt, held_attempts
from gateway.accounting.reports import UsageQuery, UsageReport, read_usage
from gateway.accounting.reservation import Reservation, storable
from gateway.accounting.sweeping import OpenAttempt, open_since
from gateway.store import (
    OPENED,
    RESOLVED,
    BoundedDatabase,
    BudgetStanding,
    Database,
    Entry,
    Journal,
    Keys,
    Kind,
    LedgerUnavailable,
    Outcome,
    Posting,
    Verdict,
    ending,
    moves,
    open_database,
)
from providers.contract import LARGEST_MICROUSD, NOTHING, Clock, Money

_MICROS = 1_000_000
#: A sweep looks back this far behind the last one, for entries that were committed late.
_LATE = 3600 * _MICROS


class AttemptRefused(Exception):
    """The ledger does not take an attempt: its id was used before, or a value in it cannot be stored."""


class KeyRefused(AttemptRefused):
    """The key of an attempt is revoked, or its time is over: nothing may be spent with it."""


class OverBudget(AttemptRefused):
    """A hard budget has no room for an attempt: nothing is reserved."""

    def __init__(self, standing: BudgetStanding) -> None:
        """Say which budget it is, and how it stands without the attempt."""
        super().__init__(f"the {standing.period} budget of the {standing.scope} {standing.subject} has no room")
        self.standing = standing


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to one deployment, as the ledger knows it."""

    attempt_id: str
    request_id: str
    prompt_index: int
    tenant: str
    key_id: str
    deployment: str
    provider: str
    model: str
    region: str
    price_id: str
    tags: tuple[tuple[str, str], ...] = ()
    upstream_account: str = ""
    """See `providers.contract.upstream_account`; empty where nobody can be asked about it later."""


class Ledger:
    """Every micro-dollar, in a database. Belongs to one event loop."""

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        wall: Callable[[], float],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        answer_seconds: float = 2.0,
    ) -> Ledger:
        """
        Open a ledger; make its tables where they are missing.

        Args:
            url: `sqlite:///relative/path`, `sqlite:////absolute/path` or `postgresql://user@host/db`.
            wall: seconds since 1970, UTC: what entries are dated with.
            clock: monotonic seconds.
            sleep: waits between the offers of what is parked.
            answer_seconds: how long the database may take over one transaction; a caller waits two of these at most.

        Raises:
            ValueError: the address names no database of a known kind.
            LedgerUnavailable: the database cannot be opened.
        """
        database = await open_database(url, connect_seconds=answer_seconds)
        return cls(BoundedDatabase(database, seconds=answer_seconds), wall=wall, clock=clock, sleep=sleep)

    def __init__(
        self, database: Database, *, wall: Callable[[], float], clock: Clock, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        """Keep the ledger in an open database; see `open`."""
        self.database = database
        """Where all of it is; for reports and for what is kept beside the entries."""
        self._wall = wall
        self._clock = clock
        self._swept_until = 0
        self._open_since: dict[str, float] = {}
        """When the last sweep first saw what it found open, on the monotonic clock."""
        self._sweeping = asyncio.Lock()
        self.new_hold = asyncio.Event()
        """Set when an attempt is put on hold here; whoever waits for it clears it."""
        self.journal = Journal(database, clock=clock, sleep=sleep)
        self.keys = Keys(database, wall)

    @property
    def parked(self) -> int:
        """Endings that wait in memory for the database to come back."""
        return self.journal.parked

    async def reserve(self, attempt: Attempt, amount: Money, *, expires_in: float) -> Reservation:
        """
        Reserve the most that an attempt can cost. When this returns, the reservation is on disk.

        Args:
            attempt: its id is unique for ever.
            amount: not negative.
            expires_in: seconds after which, still open, it counts as abandoned: well beyond the attempt's deadline.

        Raises:
            LedgerUnavailable: nothing is reserved, so nothing may be spent.
            OverBudget: a hard budget has no room for it.
            KeyRefused: its key is no longer good.
            AttemptRefused: the ledger does not take this attempt for another reason.
        """
        if not 0 <= amount.microusd <= LARGEST_MICROUSD:
            raise ValueError(f"reserve from 0 to {LARGEST_MICROUSD} micro-dollars, got {amount.microusd}")
        entry = self._opening(attempt, amount, expires_in)
        try:
            outcome = await self.journal.reserve(entry)
        except LedgerUnavailable as failure:
            if not failure.certain:
                self._undo(entry)
            raise
        except asyncio.CancelledError:
            self._undo(entry)
            raise
        if outcome.verdict is not Verdict.WRITTEN:
            raise _refusal(attempt, outcome)
        return Reservation(self.journal, entry, passed=outcome.budgets, wall=self._wall, on_hold=self.new_hold.set)

    def _opening(self, attempt: Attempt, amount: Money, expires_in: float) -> Entry:
        at = round(self._wall() * _MICROS)
        moved = moves(Kind.RESERVE, phase=OPENED, set_aside=0, amount=amount.microusd, cost=0)
        return Entry(
            attempt.attempt_id,
            OPENED,
            Kind.RESERVE.value,
            amount.microusd,
            0,
            None,
            None,
            None,
            at,
            *moved,
            request_id=attempt.request_id,
            prompt_index=attempt.prompt_index,
            tenant=attempt.tenant,
            key_id=attempt.key_id,
            deployment=attempt.deployment,
            provider=attempt.provider,
            model=attempt.model,
            region=attempt.region,
            price_id=attempt.price_id,
            expires_at=at + round(expires_in * _MICROS),
            tags=_written(attempt.tags) if attempt.tags else "{}",
            upstream_account=attempt.upstream_account or None,
        )

    def _undo(self, entry: Entry) -> None:
        """
        Release what may have been reserved without anybody knowing: no bytes have left.

        Both entries are written, so that it does not matter whether the first one was there, or arrives only later.
        """
        now = round(self._wall() * _MICROS)
        released = ending(entry.attempt_id, Kind.RELEASE, set_aside=entry.amount_microusd, at=now, reason="never_sent")
        self.journal.park(Posting(entry), Posting(released, entry))

    async def sweep(self, *, grace_seconds: float = 5.0) -> int:
        """
        Turn the reservations that nobody has ended in time into holds, and return how many there were.

        Any number of gateways may sweep at once: each reservation is held once. A settlement that arrives later
        resolves that hold.

        Raises:
            LedgerUnavailable: the database is out of reach.
        """
        async with self._sweeping:
            return await self._sweep(grace_seconds)

    async def _sweep(self, grace_seconds: float) -> int:
        now = round(self._wall() * _MICROS)
        since: int | None = min(self._swept_until, now - _LATE)  # the calendar may have been set back
        swept_until, held = now - _LATE, 0
        seen, self._open_since = self._open_since, {}
        while since is not None:
            page = await self.database.read(partial(open_since, since=since))
            left = [found for found in page.open if not self._is_abandoned(found, now, seen, grace_seconds)]
            swept_until = min([swept_until, *(found.at for found in left)])
            holds = [_abandoned(found, now) for found in page.open if found not in left]
            verdicts = await asyncio.gather(*(self.journal.commit(hold) for hold in holds))
            held += sum(verdict is Verdict.WRITTEN for verdict in verdicts)
            since = page.next_since
        if held:
            self.new_hold.set()
        self._swept_until = swept_until
        return held

    def _is_abandoned(self, found: OpenAttempt, now: int, seen: Mapping[str, float], grace_seconds: float) -> bool:
        """
        Whether nobody ends an open reservation any more: by the calendar, or by how long it was seen here.

        Why both: the calendar of the machine that wrote it, or of this one, may have been set to another time since.
        """
        first_seen = self._open_since[found.attempt_id] = seen.get(found.attempt_id, self._clock())
        lasts = (found.expires_at - found.at) / _MICROS + grace_seconds
        return found.expires_at <= now - round(grace_seconds * _MICROS) or self._clock() - first_seen >= lasts

    async def held(self, most: int, *, before: int | None = None) -> list[HeldAttempt]:
        """
        Return the newest attempts on hold.

        Args:
            most: how many.
            before: those alone whose `hold` is below this one.

        Raises:
            LedgerUnavailable: the database is out of reach.
        """
        return await self.database.read(partial(held_attempts, most=most, before=before))

    async def settle_held(
        self, held: HeldAttempt, *, charge: Money, cost: Money, reported: Money | None, upstream_ref: str | None
    ) -> Verdict:
        """
        Charge the tenant for an attempt on hold: the provider has billed it.

        Returns:
            `WRITTEN`, or `CLASHED` where it was resolved before: an attempt is resolved once.

        Raises:
            LedgerUnavailable: it is not written; or, where `certain` is false, nobody knows.
        """
        figure = None if reported is None else reported.microusd
        return await self._resolve(held, Kind.SETTLE, charge, cost, reported=figure, upstream_ref=upstream_ref)

    async def release_held(self, held: HeldAttempt, *, reason: str) -> Verdict:
        """
        Give the money of an attempt on hold back: the provider has not billed it; see `settle_held`.

        Raises:
            LedgerUnavailable: it is not written; or, where `certain` is false, nobody knows.
        """
        return await self._resolve(held, Kind.RELEASE, NOTHING, NOTHING, reason=reason)

    async def _resolve(
        self,
        held: HeldAttempt,
        kind: Kind,
        amount: Money,
        cost: Money,
        *,
        reported: int | None = None,
        upstream_ref: str | None = None,
        reason: str | None = None,
    ) -> Verdict:
        entry = ending(
            held.attempt_id,
            kind,
            set_aside=held.amount_microusd,
            phase=RESOLVED,
            amount=amount.microusd,
            cost=cost.microusd,
            reported=reported,
            upstream_ref=storable(upstream_ref) or None if upstream_ref else None,
            reason=reason,
            at=round(self._wall() * _MICROS),
        )
        return await self.journal.commit(entry)

    async def usage(self, query: UsageQuery) -> UsageReport:
        """
        Add up what was reserved, settled, released and held.

        Raises:
            LedgerUnavailable: the database is out of reach.
        """
        return await self.database.read(partial(read_usage, query=query))

    async def ready(self) -> bool:
        """Whether spending can be recorded, as far as is known."""
        if self.journal.down_seconds is not None:
            return False
        try:
            return await self.database.read(lambda connection: connection.scalar(select(1)) == 1)
        except LedgerUnavailable:
            return False

    async def close(self, *, patience_seconds: float = 5.0) -> None:
        """Write what waits, give what is parked a last chance for that long, and close the database."""
        await self.journal.close(patience_seconds=patience_seconds)
        await self.database.close()


def _written(tags: tuple[tuple[str, str], ...]) -> str:
    """Return tags as they are stored."""
    for tag in tags:
        if not all(text.isprintable() for text in tag):
            raise AttemptRefused(f"the tag {tag!r} cannot be stored: use printable characters only")
    return orjson.dumps(dict(tags)).decode()


def _abandoned(found: OpenAttempt, now: int) -> Entry:
    """Return the hold of a reservation that nobody has ended."""
    return ending(found.attempt_id, Kind.HOLD, set_aside=found.amount_microusd, at=now, reason="abandoned")


def _refusal(attempt: Attempt, outcome: Outcome) -> AttemptRefused:
    """Return why an attempt is not reserved."""
    if outcome.verdict is Verdict.OVER_BUDGET:
        return OverBudget(outcome.budgets[0])
    if outcome.verdict is Verdict.REVOKED:
        return KeyRefused(f"the key {attempt.key_id!r} is revoked, or its time is over")
    return AttemptRefused(f"the ledger does not take attempt {attempt.attempt_id!r}: it is {outcome.verdict}")
