"""
A gateway's worth of asking under shared limits.

It says `ready`, waits for a line, and then, by its first argument:

- `offer`: asks at random, and says how many requests came in: `ADMITTED REFUSED`.
- `hold`: takes as many places as it gets, says how many, and keeps them until it is killed.

Further arguments: Redis' URL, the tenant, requests a second (offered), seconds, and the limit as three numbers:
requests a second, burst, requests at a time; 0 for none. Last a seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from contextlib import AsyncExitStack
from fractions import Fraction

from gateway.admission import Limits
from gateway.admission.leases import SharedLimits
from gateway.ids import new_ids
from gateway.problems import RateLimited
from gateway.request import Caller, RateLimit
from gateway.store.redis_leases import RedisLeases
from gateway.telemetry.logs import make_logger


async def offer(limits: Limits, caller: Caller, per_second: float, seconds: float, rng: random.Random) -> str:
    """Ask at random moments, as many callers together do; return how many came in and how many did not."""
    admitted = refused = 0
    due = time.monotonic()
    end = due + seconds
    while True:
        due += rng.expovariate(per_second)
        if due >= end:
            return f"{admitted} {refused}"
        await asyncio.sleep(max(0, due - time.monotonic()))  # after a standstill what is overdue comes at once
        try:
            async with limits.admit(caller):
                admitted += 1
        except RateLimited:
            refused += 1


async def hold(limits: Limits, caller: Caller) -> str:
    """Take all places; return how many."""
    async with AsyncExitStack() as stack:
        taken = 0
        try:
            while True:
                await stack.enter_async_context(limits.admit(caller))
                taken += 1
        except RateLimited:
            os.write(1, f"{taken}\n".encode())
        await asyncio.Event().wait()
    return ""


async def main(what: str, url: str, tenant: str, *numbers: str) -> None:
    """Do as the arguments say."""
    per_second, seconds, rate, burst, places, seed = map(float, numbers)
    limit = RateLimit(Fraction(rate) or None, int(burst) or None, int(places) or None)
    ids = new_ids(time.time)
    leases = RedisLeases(
        url, replica=ids("replica"), clock=time.monotonic, log=make_logger(sys.stderr), ask_seconds=0.5
    )
    shared = SharedLimits(leases, clock=time.monotonic, new_id=ids)
    await shared.open()
    caller = Caller(tenant, "key_1", tenant_limit=limit)
    limits = Limits(clock=time.monotonic, shared=shared)
    os.write(1, b"ready\n")
    await asyncio.to_thread(sys.stdin.readline)
    rng = random.Random(int(seed))
    said = await (offer(limits, caller, per_second, seconds, rng) if what == "offer" else hold(limits, caller))
    os.write(1, f"{said}\n".encode())
    await shared.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
