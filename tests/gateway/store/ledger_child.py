"""
A gateway's worth of spending, to be killed: reserves and ends attempts and says so on stdout, each after the fact.

Lines: `reserve ID`, `settle ID`, `release ID`, `hold ID`; `refuse ID` where a budget has no room.
Arguments: the ledger's URL, a seed, a name for the ids.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time

from gateway.accounting import Attempt, Ledger, OverBudget
from providers.contract import Money

CALLERS = 12


def say(line: str) -> None:
    """Write a line in one piece."""
    os.write(1, f"{line}\n".encode())


async def spend(ledger: Ledger, rng: random.Random, name: str) -> None:
    """Reserve and end attempts for ever."""
    number = 0
    while True:
        number += 1
        attempt_id = f"{name}-{number:06d}"
        attempt = Attempt(attempt_id, "seg", 0, "acme", "key", "eu", "runflow", "sam-3", "eu", "eu@2026-01-01")
        try:
            reservation = await ledger.reserve(attempt, Money(5000), expires_in=30)
        except OverBudget:
            say(f"refuse {attempt_id}")
            continue
        say(f"reserve {attempt_id}")
        ending = rng.choice(["settle", "release", "hold"])
        if ending == "settle":
            await reservation.settle(charge=Money(4000), cost=Money(4500), reported=Money(4500), upstream_ref="run")
        elif ending == "release":
            await reservation.release("refused")
        else:
            await reservation.hold("unanswered", upstream_ref=None)
        say(f"{ending} {attempt_id}")


async def main(url: str, seed: int, name: str) -> None:
    """Spend with several callers at once."""
    ledger = await Ledger.open(url, wall=time.time, clock=time.monotonic)
    async with asyncio.TaskGroup() as callers:
        for caller in range(CALLERS):
            callers.create_task(spend(ledger, random.Random(seed * 1000 + caller), f"{name}-{caller}"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
