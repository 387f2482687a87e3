"""Putting on hold what a crash has left open, for as long as the gateway runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.accounting.ledger import Ledger
from gateway.store import LedgerUnavailable
from gateway.store.leases import Lease
from providers.contract import Sleep

#: Between two sweeps.
SWEEP_SECONDS = 10.0


async def sweep_forever(
    ledger: Ledger, lease: Lease, *, grace_seconds: Callable[[], float], sleep: Sleep, log: Any
) -> None:
    """
    Sweep at the start, and then every now and again, until cancelled.

    At the start every gateway looks once, since the one that crashed may still have the lease; then one of them does it
    for all.

    Args:
        ledger: whose open reservations are looked at.
        lease: says who sweeps for all.
        grace_seconds: how long after its time, at the moment, an open reservation is taken for abandoned.
        sleep: waits between two sweeps.
        log: told what was held, and that the database was out of reach.
    """
    mine = True
    while True:
        try:
            held = await ledger.sweep(grace_seconds=grace_seconds()) if mine else 0
        except LedgerUnavailable as error:
            log.warning("sweep_failed", reason=str(error))
        else:
            if held:
                log.warning("reservations_abandoned", held=held)
        await sleep(SWEEP_SECONDS)
        mine = await lease.is_mine()
