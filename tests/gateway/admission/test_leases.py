"""Limits that several gateways share through Redis: they hold together, and a Redis that fails stops nobody."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from fractions import Fraction
from pathlib import Path

import pytest
from redis.asyncio import Redis as Raw

from gateway.admission import Admission, Limits
from gateway.admission.leases import LEASE_SECONDS, SharedLimits
from gateway.ids import new_ids
from gateway.problems import RateLimited
from gateway.request import UNLIMITED, Caller, RateLimit
from gateway.store.redis_leases import ASK_SECONDS, RedisLeases
from gateway.telemetry.logs import make_logger
from tests.gateway.admission.structured_fields import parse_list
from tests.gateway.store.slow_proxy import SlowProxy
from tests.servers import Redis

CHILD = Path(__file__).with_name("limits_child.py")
ROOT = CHILD.parents[3]
#: Longer than in service: a test machine that is busy is no Redis that is slow.
ENOUGH = 0.5

pytestmark = pytest.mark.needs("redis")


class HandClock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


@pytest.fixture
def tenant() -> str:
    """A tenant whom no other test knows."""
    return uuid.uuid4().hex


@asynccontextmanager
async def gateway(
    url: str,
    clock: Callable[[], float] = time.monotonic,
    log: io.StringIO | None = None,
    *,
    ask_seconds: float = ENOUGH,
) -> AsyncIterator[Limits]:
    """Open one gateway's part of the limits."""
    ids = new_ids(time.time)
    logger = make_logger(io.StringIO() if log is None else log)
    leases = RedisLeases(url, replica=ids("replica"), clock=clock, log=logger, ask_seconds=ask_seconds)
    shared = SharedLimits(leases, clock=clock, new_id=ids)
    await shared.open()
    try:
        yield Limits(clock=clock, shared=shared)
    finally:
        await shared.close()


@contextmanager
def child(what: str, url: str, tenant: str, *numbers: float) -> Iterator[subprocess.Popen[bytes]]:
    """Run a gateway's worth of asking in a process of its own."""
    command = [sys.executable, str(CHILD), what, url, tenant, *map(str, numbers)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert b"ready\n" == process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def go(process: subprocess.Popen[bytes]) -> None:
    """Let a process begin."""
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()


def heard(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the numbers of its next line."""
    assert process.stdout is not None
    return list(map(int, process.stdout.readline().split()))


async def admitted(limits: Limits, who: Caller, tries: int) -> int:
    """Return how many of so many requests, one after the other, come in."""
    count = 0
    for _ in range(tries):
        try:
            async with limits.admit(who):
                count += 1
        except RateLimited:
            pass
    return count


async def enter(stack: AsyncExitStack, limits: Limits, who: Caller) -> Admission:
    """Come in and stay until the stack ends."""
    return await stack.enter_async_context(limits.admit(who))


def caller(tenant: str, key: str = "key_1", *, limit: RateLimit, key_limit: RateLimit = UNLIMITED) -> Caller:
    """Return a caller with those limits."""
    return Caller(tenant, key, tenant_limit=limit, key_limit=key_limit)


@pytest.mark.slow
def test_two_processes_admit_one_limit_together(redis_server: Redis, tenant: str) -> None:
    """Limit 100 a second, 300 offered by two processes: what comes in is the burst and the rate, and hardly less."""
    seconds, rate, burst = 3.0, 100, 100
    numbers = (150, seconds, rate, burst, 0)
    with (
        child("offer", redis_server.url, tenant, *numbers, 1) as one,
        child("offer", redis_server.url, tenant, *numbers, 2) as two,
    ):
        begun = time.monotonic()
        for process in (one, two):
            go(process)
        counts = [heard(process) for process in (one, two)]
        spent = time.monotonic() - begun
    total = sum(count[0] for count in counts)
    assert total <= burst + rate * (spent + LEASE_SECONDS)
    # On a machine of its own it is within 1 %; on a busy one a process stands still while leases lapse.
    assert total >= 0.95 * (burst + rate * seconds)
    assert min(count[0] for count in counts) > 0


async def test_a_lease_serves_many_requests(own_redis: Redis, tenant: str) -> None:
    """Five hundred requests as fast as they go, far below the limit: all come in, with far fewer calls of Redis."""
    who = caller(tenant, limit=RateLimit(Fraction(5000), 5000))
    async with gateway(own_redis.url) as limits, Raw.from_url(own_redis.url) as raw:
        assert 500 == await admitted(limits, who, 500)
        calls = (await raw.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert 1 <= calls <= 250


async def test_a_refusal_consumes_nothing_of_the_other_limit(redis_server: Redis, tenant: str) -> None:
    """What one gateway's key is refused for the tenant's sake, another gateway's request of that key may use."""
    slow = Fraction(1, 3600)
    async with gateway(redis_server.url) as one, gateway(redis_server.url) as two:
        tight = caller(tenant, "key_1", limit=RateLimit(slow, 2), key_limit=RateLimit(slow, 4))
        assert 2 == await admitted(one, tight, 20)
        assert 0 == await admitted(two, tight, 20)
        key_alone = Caller(tenant, "key_1", key_limit=RateLimit(slow, 4))
        assert 2 == await admitted(two, key_alone, 20)
        tenant_alone = Caller(tenant, "key_2", tenant_limit=RateLimit(slow, 2))
        assert 0 == await admitted(two, tenant_alone, 20)


async def test_headers_tell_what_all_gateways_have_left(redis_server: Redis, tenant: str) -> None:
    """After three requests at one gateway and one at another, that one says that one of five is left."""
    who = caller(tenant, limit=RateLimit(Fraction(1, 3600), 5, 4))
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(gateway(redis_server.url))
        two = await stack.enter_async_context(gateway(redis_server.url))
        for _ in range(3):
            await enter(stack, one, who)
        entry = await enter(stack, two, who)
        assert [("tenant", {"r": 1, "t": 3600}), ("tenant-concurrency", {"r": 0})] == parse_list(
            entry.headers["RateLimit"]
        )
        refused = two.admit(who)
        with pytest.raises(RateLimited, match="4 requests at a time"):
            await refused.__aenter__()
        assert ("tenant-concurrency",) == refused.violated


async def test_never_more_at_a_time_than_the_limit(redis_server: Redis, tenant: str) -> None:
    """Sixty tasks at two gateways: never more than 7 are inside, and 7 were; then either gateway can have all 7."""
    who, inside, most = caller(tenant, limit=RateLimit(concurrency=7)), 0, 0

    async def work(limits: Limits) -> None:
        nonlocal inside, most
        for _ in range(30):
            try:
                async with limits.admit(who):
                    inside += 1
                    most = max(most, inside)
                    await asyncio.sleep(0.001)
                    inside -= 1
            except RateLimited:
                await asyncio.sleep(0.001)

    async with gateway(redis_server.url) as one, gateway(redis_server.url) as two:
        await asyncio.gather(*(work(limits) for limits in (one, two) for _ in range(30)))
        assert 7 == most
        for limits in (one, two):
            async with AsyncExitStack() as stack:
                taken = 0
                while taken < 7:  # the other one gives its places back within a tenth of a second
                    try:
                        await enter(stack, limits, who)
                        taken += 1
                    except RateLimited:
                        await asyncio.sleep(0.01)
                with pytest.raises(RateLimited):
                    await enter(stack, limits, who)


async def test_a_gateway_that_is_closed_leaves_its_places_at_once(redis_server: Redis, tenant: str) -> None:
    """What it held until then, another may take with its first call."""
    who = caller(tenant, limit=RateLimit(concurrency=3))
    async with gateway(redis_server.url) as one:
        async with gateway(redis_server.url) as two, AsyncExitStack() as stack:
            for _ in range(3):
                await enter(stack, two, who)
            assert 0 == await admitted(one, who, 1)
        await asyncio.sleep(0.03)  # for as long it is believed that no place is free
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await enter(stack, one, who)


async def test_places_of_a_killed_process_come_free(redis_server: Redis, tenant: str) -> None:
    """While it lives it keeps them, though it does nothing; after kill -9 they are free when its time is over."""
    who = caller(tenant, limit=RateLimit(concurrency=3))
    with child("hold", redis_server.url, tenant, 0, 0, 0, 0, 3, 0) as holder:
        go(holder)
        assert [3] == await asyncio.to_thread(heard, holder)
        async with gateway(redis_server.url) as limits, Raw.from_url(redis_server.url) as raw:
            written = await raw.hgetall(f"maskgate:limits:{{{tenant}}}:places:tenant:{tenant}")
            while written == await raw.hgetall(f"maskgate:limits:{{{tenant}}}:places:tenant:{tenant}"):
                assert 0 == await admitted(limits, who, 1)  # until it has written them anew
                await asyncio.sleep(0.05)
            holder.kill()
            while not await admitted(limits, who, 1):  # noqa: ASYNC110 - it is Redis that lets the time pass
                await asyncio.sleep(0.05)
            assert 1 == await admitted(limits, who, 1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_redis_fails_under_way(own_redis: Redis, tenant: str, number: signal.Signals) -> None:
    """Killed or hanging: each gateway goes on with what its own use leaves, and shares again when Redis is back."""
    clock, log = HandClock(), io.StringIO()
    who = caller(tenant, limit=RateLimit(Fraction(1, 3600), 10, 10))
    async with (
        gateway(own_redis.url, clock, log, ask_seconds=ASK_SECONDS) as one,
        gateway(own_redis.url, clock, ask_seconds=ASK_SECONDS) as two,
    ):
        assert (4, 3) == (await admitted(one, who, 4), await admitted(two, who, 3))
        if number is signal.SIGSTOP:
            own_redis.send(number)
        else:
            own_redis.stop(number)
        async with asyncio.timeout(30):
            assert (6, 7) == (await admitted(one, who, 30), await admitted(two, who, 30))
            assert (None, None) == (one.shared, two.shared)
            if number is signal.SIGSTOP:
                own_redis.send(signal.SIGCONT)
            else:
                own_redis.start()
            clock.now += 7200
            while one.shared is None or two.shared is None:  # noqa: ASYNC110 - looking is what begins the try
                await asyncio.sleep(0.01)
        if number is signal.SIGSTOP:  # it has lost nothing: 7 of 10 were taken under its eyes, and its clock goes on
            assert 3 >= await admitted(one, who, 30) + await admitted(two, who, 30)
        else:
            assert (2, 2) == (await admitted(one, who, 30), await admitted(two, who, 30))
    lines = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert ["redis_left_alone", "redis_in_use_again"] == lines


async def test_many_at_once_while_redis_hangs(own_redis: Redis, tenant: str) -> None:
    """Sixty requests of a limit of fifty that come while Redis hangs: fifty come in, and one pause follows."""
    log, who = io.StringIO(), caller(tenant, limit=RateLimit(Fraction(1, 3600), 50))
    async with gateway(own_redis.url, HandClock(), log, ask_seconds=ASK_SECONDS) as limits:
        own_redis.send(signal.SIGSTOP)
        for _ in range(3):
            counts = await asyncio.gather(*(admitted(limits, who, 1) for _ in range(20)))
            assert sum(counts) in {10, 20}
        assert limits.shared is None
        assert 0 == await admitted(limits, who, 1)
    assert 1 == len(log.getvalue().splitlines())


async def test_a_lost_reply_is_not_taken_twice(redis_server: Redis, tenant: str) -> None:
    """The request whose reply is lost comes in by local leave; the next one has the token that was taken for it."""
    clock, who = HandClock(), caller(tenant, limit=RateLimit(Fraction(1, 3600), 5))
    async with SlowProxy(redis_server.port) as proxy, gateway(proxy.url, clock, ask_seconds=ASK_SECONDS) as one:
        proxy.seconds = 0.2
        assert 1 == await admitted(one, who, 1)
        proxy.seconds = 0
        assert 1 == await admitted(one, who, 1)
        async with gateway(redis_server.url) as two:
            assert 4 == await admitted(two, who, 10)


async def test_a_caller_who_goes_while_redis_is_asked_leaves_nothing(own_redis: Redis, tenant: str) -> None:
    """Cancelled in the middle, it has no place and no token, and the next one is served."""
    who = caller(tenant, limit=RateLimit(Fraction(100), 100, 1))
    async with gateway(own_redis.url, HandClock()) as limits:
        own_redis.send(signal.SIGSTOP)
        gone = asyncio.create_task(admitted(limits, who, 1))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait({gone})
        assert gone.cancelled()
        own_redis.send(signal.SIGCONT)
        entry = limits.admit(who)
        async with entry:
            assert ("tenant-concurrency", {"r": 0}) in parse_list(entry.headers["RateLimit"])
        assert 1 == await admitted(limits, who, 1)


async def test_a_limit_that_is_changed_holds_everywhere(redis_server: Redis, tenant: str) -> None:
    """Lowered at both gateways, the new number of places holds for both together."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(gateway(redis_server.url))
        two = await stack.enter_async_context(gateway(redis_server.url))
        for _ in range(3):
            await enter(stack, one, caller(tenant, limit=RateLimit(concurrency=5)))
        lowered = caller(tenant, limit=RateLimit(concurrency=3))
        assert (0, 0) == (await admitted(two, lowered, 3), await admitted(one, lowered, 3))
        raised = caller(tenant, limit=RateLimit(concurrency=4))
        assert 1 == await admitted(two, raised, 1)
        paced = caller(tenant, limit=RateLimit(Fraction(1, 3600), 2))
        assert (1, 1, 0) == (
            await admitted(two, paced, 1),
            await admitted(one, paced, 2),
            await admitted(two, paced, 2),
        )


async def test_a_limit_that_is_changed_while_redis_is_asked(redis_server: Redis, tenant: str) -> None:
    """The reply is about the old limit: nobody comes in by it, and the new one is asked for."""
    old, new = (caller(tenant, limit=RateLimit(Fraction(1, 3600), burst)) for burst in (5, 2))
    async with gateway(redis_server.url) as limits:
        first = asyncio.create_task(admitted(limits, old, 1))
        await asyncio.sleep(0)
        assert not limits.admit(new).try_enter()
        assert 1 == await first
        assert 0 == await admitted(limits, new, 3)
