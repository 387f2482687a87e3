"""
A gateway that takes its turn under a key, gets as far as it is told, and then stands still, to be killed.

Arguments: the database's URL, and how far: `begun`, `open`, `released`, `held`, `settled` or `finished`. It says
`ready` on stdout.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from gateway.accounting import Attempt, Ledger
from gateway.store import open_database
from gateway.store.remembered import Claim, Remembered, RememberedAnswer, Turn
from providers.contract import Money

CLAIM = Claim("acme", "k", "print", "seg_first", "own_first")
LEASE_SECONDS = 30.0
ANSWER = RememberedAnswer("seg_first", 200, (("content-type", "application/json"),), b'{"id":"seg_first"}')


async def spend(ledger: Ledger, how_far: str) -> None:
    """Make one attempt, and end it as told."""
    attempt = Attempt("att_1", "seg_first", 0, "acme", "key", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01")
    reservation = await ledger.reserve(attempt, Money(5000), expires_in=LEASE_SECONDS)
    if how_far == "released":
        await reservation.release("refused")
    elif how_far == "held":
        await reservation.hold("unanswered", upstream_ref="run")
    elif how_far in {"settled", "finished"}:
        await reservation.settle(charge=Money(4000), cost=Money(4500), reported=Money(4500), upstream_ref="run")


async def main(url: str, how_far: str) -> None:
    """Go as far as told, and stand still."""
    remembered = Remembered(await open_database(url), time.time, ttl_seconds=86_400)
    assert await remembered.begin(CLAIM, lease_seconds=LEASE_SECONDS) is Turn.BEGUN
    ledger = await Ledger.open(url, wall=time.time, clock=time.monotonic)
    if how_far != "begun":
        await spend(ledger, how_far)
    if how_far == "finished":
        assert await remembered.finish(CLAIM, ANSWER)
    os.write(1, b"ready\n")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
