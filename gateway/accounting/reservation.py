"""
The life of one reservation in this process.

Use it as an async context manager around the call that it pays for: whatever leaves the block, an error or a
cancellation included, leaves no reservation open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from gateway.store import BudgetStanding, Entry, Journal, Kind, Outcome, Verdict, ending
from providers.contract import NOTHING, Money

_MICROS = 1_000_000
_LONGEST_TEXT = 256
_WELL = frozenset({Verdict.WRITTEN, Verdict.RESOLVED, Verdict.HELD})

_log = logging.getLogger(__name__)


class AlreadyResolved(Exception):
    """A reservation was to be ended a second time."""


class Reservation:
    """Money set aside for one attempt. Ends once; each way to end it returns when that is on disk, or parked."""

    __slots__ = ("_ended_as", "_journal", "_on_hold", "_opening", "_wall", "amount", "attempt_id", "passed")

    def __init__(
        self,
        journal: Journal,
        opening: Entry,
        *,
        passed: tuple[BudgetStanding, ...] = (),
        wall: Callable[[], float],
        on_hold: Callable[[], None],
    ) -> None:
        """
        Stand for a reservation that is on disk; `Ledger.reserve` makes them.

        Args:
            journal: what its ending is written to.
            opening: the entry that is on disk.
            passed: see the attribute.
            wall: seconds since 1970, UTC.
            on_hold: called when it has ended in a hold.
        """
        self._journal = journal
        self._on_hold = on_hold
        self._opening = opening
        self._wall = wall
        self._ended_as: Kind | None = None
        self.attempt_id = opening.attempt_id
        self.amount = Money(opening.amount_microusd)
        """The most that can be charged for the attempt."""
        self.passed = passed
        """The soft budgets that stand above their limit with this reservation."""

    async def settle(self, *, charge: Money, cost: Money, reported: Money | None, upstream_ref: str | None) -> None:
        """
        Charge the tenant: the provider has answered.

        Args:
            charge: to the tenant, at most what was reserved; `pricing.charge` caps it.
            cost: what is owed to the provider.
            reported: the provider's own figure, where it gave one.
            upstream_ref: the provider's name for the call.

        Raises:
            AlreadyResolved: the reservation has ended before.
            ValueError: an amount is negative or beyond the reservation; the reservation stays open.
        """
        if not NOTHING <= charge <= self.amount:
            raise ValueError(f"charge from 0 to the reserved {self.amount.microusd} micro-dollars, got {charge}")
        if cost < NOTHING:
            raise ValueError(f"a cost is not negative, got {cost}")
        figure = None if reported is None or reported < NOTHING else reported.microusd
        await self._ended(Kind.SETTLE, charge, cost, reported=figure, upstream_ref=upstream_ref)

    def release(self, reason: str) -> asyncio.Future[Outcome | None]:
        """
        Give the money back: the provider has provably not charged.

        Returns:
            What is done when that is on disk, or parked. Who reserves anew in this process need not wait for it: the
            new reservation is written after it, or together with it. What a crash takes with it is found open, and
            held until it is reconciled.

        Raises:
            AlreadyResolved: the reservation has ended before.
        """
        return self._ended(Kind.RELEASE, NOTHING, NOTHING, reason=reason)

    async def hold(self, reason: str, *, upstream_ref: str | None = None) -> None:
        """
        Keep the money set aside: nobody knows whether the provider has charged.

        Raises:
            AlreadyResolved: the reservation has ended before.
        """
        await self._ended(Kind.HOLD, self.amount, self.amount, reason=reason, upstream_ref=upstream_ref)
        self._on_hold()

    async def __aenter__(self) -> Self:
        """Enter the block that the reservation pays for."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hold what was left open. The entry is with the journal before anything can cancel the wait for it."""
        if self._ended_as is None:
            await self.hold("left_open")

    def _ended(
        self,
        kind: Kind,
        amount: Money,
        cost: Money,
        *,
        reported: int | None = None,
        reason: str | None = None,
        upstream_ref: str | None = None,
    ) -> asyncio.Future[Outcome | None]:
        if self._ended_as is not None:
            raise AlreadyResolved(f"attempt {self.attempt_id} has ended as {self._ended_as}, so it cannot {kind}")
        entry = ending(
            self.attempt_id,
            kind,
            set_aside=self.amount.microusd,
            amount=amount.microusd,
            cost=cost.microusd,
            reported=reported,
            upstream_ref=storable(upstream_ref) or None if upstream_ref else None,
            reason=None if reason is None else storable(reason),
            at=round(self._wall() * _MICROS),
        )
        self._ended_as = kind
        written = self._journal.keep(entry, self._opening)
        written.add_done_callback(partial(_look, entry))
        return written


def _look(entry: Entry, written: asyncio.Future[Outcome | None]) -> None:
    """Say so where an ending was refused: its answer goes to the caller all the same."""
    outcome = None if written.cancelled() else written.result()
    if outcome is not None and outcome.verdict not in _WELL:  # the sweep or a reconciliation came first
        _log.error("the ending of attempt %s is refused as %s: %s", entry.attempt_id, outcome.verdict, entry)


def storable(text: str) -> str:
    """Return a text from outside as every database takes it: printable and not too long."""
    if text.isprintable() and len(text) <= _LONGEST_TEXT:  # nearly every one
        return text
    return "".join(character for character in text[:_LONGEST_TEXT] if character.isprintable())
