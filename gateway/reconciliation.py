"""
Asking the providers about what is on hold, as the configuration says: this gateway or another, whoever has the lease.

How one question is asked and what its answer means is `accounting/reconciling.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.accounting import Account, Cadence, HeldAttempt, Ledger, Reconciler, Resolution, Result
from gateway.accounting.price_book import PriceBook
from gateway.routing.deployments import Offer
from gateway.settings import ReconcileSettings
from gateway.store.leases import Lease
from providers.contract import Clock, Provider

Count = Callable[[HeldAttempt, Result, Resolution], None]
"""Told of every attempt that was asked about what came of it, and what was charged."""


#: A lease outlasts a few pauses between rounds, however short they are.
LEAST_LEASE_SECONDS = 60.0


class Reconciliation:
    """What asks at the moment, and its lease. Belongs to one event loop."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        holder: str,
        wall: Callable[[], float],
        clock: Clock,
        count: Count,
        log: Any,
    ) -> None:
        """
        Begin with nobody asking.

        Args:
            ledger: whose holds are cleared up.
            holder: this gateway, unlike any other.
            wall: seconds since 1970, UTC, as the ledger dates its entries.
            clock: monotonic seconds.
            count: see there.
            log: gets a line for every attempt that was cleared up.
        """
        self._ledger = ledger
        self._holder = holder
        self._wall = wall
        self._clock = clock
        self._count = count
        self._log = log
        self._asking: asyncio.Task[None] | None = None
        self._lease: Lease | None = None

    async def begin(self, wanted: ReconcileSettings, accounts: Mapping[str, Account]) -> None:
        """
        Ask these accounts from now on, as often as a configuration says, in the place of those asked before.

        Args:
            wanted: how often, and how late.
            accounts: by the deployment's name.
        """
        await self.end()
        seconds = max(LEAST_LEASE_SECONDS, 3 * wanted.every_seconds)
        lease = Lease(
            self._ledger.database,
            "reconcile",
            holder=self._holder,
            seconds=seconds,
            wall=self._wall,
            longest_seconds=2 * seconds,
        )
        asking = reconciler(
            wanted, self._ledger, accounts, wall=self._wall, clock=self._clock, count=self._count, log=self._log
        )
        self._lease = lease
        self._asking = asyncio.create_task(asking.run(lease.is_mine))

    async def end(self) -> None:
        """Have nobody ask, and let another gateway go on at once."""
        task, self._asking = self._asking, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        if self._lease is not None:
            await self._lease.leave()
            self._lease = None


def accounts_of(
    offers: Iterable[Offer], providers: Mapping[str, Provider], prices: PriceBook, *, at: float
) -> dict[str, Account]:
    """
    Return where attempts may have been charged, by the deployment's name.

    Args:
        offers: the deployments.
        providers: by name.
        prices: of all times.
        at: when, in seconds since 1970, UTC.
    """
    now = round(at * 1_000_000)
    units = {offer.name: price.unit for offer in offers if (price := prices.price_at(offer.name, now)) is not None}
    return {
        offer.name: Account(
            offer.deployment,
            providers[offer.deployment.provider],
            units.get(offer.name),
            offer.upstream_account,
            prices.by_id,
        )
        for offer in offers
    }


def reconciler(
    wanted: ReconcileSettings,
    ledger: Ledger,
    accounts: Mapping[str, Account],
    *,
    wall: Callable[[], float],
    clock: Clock,
    count: Count,
    log: Any,
) -> Reconciler:
    """
    Return who clears up what is on hold, as often as a configuration says.

    Args:
        wanted: how often, and how late.
        ledger: whose holds.
        accounts: by the deployment's name.
        wall: seconds since 1970, UTC, as the ledger dates its entries.
        clock: monotonic seconds.
        count: see there.
        log: gets a line for every attempt that was cleared up.
    """
    cadence = Cadence(every=wanted.every_seconds, first=wanted.first_seconds, absent=wanted.absent_seconds)
    return Reconciler(ledger, accounts, cadence, wall=wall, clock=clock, sleep=asyncio.sleep, count=count, log=log)
