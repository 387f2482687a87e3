"""What replicas share in Redis: tokens are taken once and exactly, places are a truth that can be told again."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction

import pytest
import uvloop
from redis.asyncio import Redis as Raw

from gateway.store.redis_cache import FAILURES_TO_PAUSE, PAUSE_SECONDS
from gateway.store.redis_leases import ASK_SECONDS, LeasesUnavailable, PlaceWish, RedisLeases, TokenWish
from gateway.telemetry.logs import make_logger
from tests.gateway.store.slow_proxy import SlowProxy
from tests.servers import Redis

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
def clock() -> HandClock:
    """A clock for the pauses."""
    return HandClock()


@pytest.fixture
def log() -> io.StringIO:
    """Where the log lines are."""
    return io.StringIO()


@pytest.fixture
def tenant() -> str:
    """A tenant whom no other test knows."""
    return uuid.uuid4().hex


@asynccontextmanager
async def opened(
    url: str, clock: Callable[[], float], log: io.StringIO, *, replica: str = "one"
) -> AsyncIterator[RedisLeases]:
    """Open leases for a while."""
    leases = RedisLeases(url, replica=replica, clock=clock, log=make_logger(log), ask_seconds=ENOUGH)
    await leases.open()
    try:
        yield leases
    finally:
        await leases.close()


async def take(leases: RedisLeases, tenant: str, wish: TokenWish, lease: str | None = None) -> tuple[bool, int, int]:
    """Ask for tokens; return whether they were granted, how many, and how far the TAT lies ahead in microseconds."""
    reply = await leases.take(tenant, lease or uuid.uuid4().hex, [wish])
    (grant,) = reply.grants
    return reply.granted, grant.amount, grant.state


def places(limit: int, *, in_use: int = 0, most: int, sequence: int, least: int = 0) -> PlaceWish:
    """Return a wish for places."""
    return PlaceWish("tenant", limit, in_use, least, most, sequence)


async def hold(leases: RedisLeases, tenant: str, wish: PlaceWish) -> tuple[bool, int, int]:
    """Write places; return whether they were granted, how many are held, and how many nobody holds."""
    reply = await leases.take(tenant, "", [wish])
    (grant,) = reply.grants
    return reply.granted, grant.amount, grant.state


@pytest.mark.parametrize(
    ("rate", "burst"),
    [
        (Fraction(100), 100),
        (Fraction(1, 3), 7),
        (Fraction("33.333333"), 34),
        (Fraction(999_983, 1_000_003), 8999),
        (Fraction(1, 86400), 100),
        (Fraction(10**6), 10**6),
    ],
)
async def test_a_first_lease_is_exact(
    redis_server: Redis, clock: HandClock, log: io.StringIO, tenant: str, rate: Fraction, burst: int
) -> None:
    """A whole bucket gives what is wanted, and lies ahead by exactly that many steps, rounded down to a microsecond."""
    wanted = max(1, burst * 2 // 3)
    async with opened(redis_server.url, clock, log) as leases:
        taken = await take(leases, tenant, TokenWish("key", rate, burst, 1, wanted))
        assert (True, wanted, int(wanted * 10**6 / rate)) == taken
        granted, rest, _ = await take(leases, tenant, TokenWish("key", rate, burst, 1, burst))
        assert granted == (rest > 0)
        assert rest >= burst - wanted


@pytest.mark.parametrize("rate", [Fraction(33333, 7), Fraction("1234.567"), Fraction(200_000)])
async def test_in_the_long_run_exactly_the_rate(
    redis_server: Redis, clock: HandClock, log: io.StringIO, tenant: str, rate: Fraction
) -> None:
    """Greedy for a while: all that was taken is what came in that time, and how far the TAT lies ahead at the end."""
    burst = 100_000
    wish = TokenWish("key", rate, burst, 0, burst)
    async with opened(redis_server.url, clock, log) as leases, Raw.from_url(redis_server.url) as raw:
        before = await microseconds(raw)
        total = (await take(leases, tenant, wish))[1]
        begun = await microseconds(raw)
        while (ended := await microseconds(raw)) < begun + 300_000:
            total += (await take(leases, tenant, wish))[1]
        _, amount, ahead = await take(leases, tenant, wish)
        after = await microseconds(raw)
    total += amount
    assert rate * (ended - begun + ahead) <= total * 10**6 <= rate * (after - before + ahead + 1)
    assert burst - 1 < rate * Fraction(ahead + 1, 10**6) <= burst + rate * Fraction(1, 10**6)


async def microseconds(raw: Raw) -> int:
    """Return the server's time."""
    seconds, us = await raw.time()
    return int(seconds) * 10**6 + int(us)


async def test_the_same_lease_takes_once(redis_server: Redis, clock: HandClock, log: io.StringIO, tenant: str) -> None:
    """Asked again under the same id, Redis says the same again; under another, the bucket has lost it once."""
    wish = TokenWish("key", Fraction(1, 3600), 10, 1, 4)
    async with opened(redis_server.url, clock, log) as leases:
        first = await take(leases, tenant, wish, "lease-1")
        assert first == await take(leases, tenant, wish, "lease-1")
        assert (True, 4, first[2]) == first
        assert [4, 2, 0] == [(await take(leases, tenant, wish))[1] for _ in range(3)]


async def test_a_lease_whose_reply_came_too_late_takes_once(
    redis_server: Redis, clock: HandClock, log: io.StringIO, tenant: str
) -> None:
    """Redis has done it, nobody heard: asked again under the same id it says so, and takes nothing more."""
    wish = TokenWish("key", Fraction(1, 3600), 10, 1, 4)
    async with SlowProxy(redis_server.port) as proxy, opened(proxy.url, clock, log) as leases:
        proxy.seconds = 0.3
        with pytest.raises(LeasesUnavailable, match=r"no answer within 0\.05 s"):
            await leases.take(tenant, "lease-1", [wish], seconds=ASK_SECONDS)
        proxy.seconds = 0
        assert (True, 4) == (await take(leases, tenant, wish, "lease-1"))[:2]
        assert [4, 2, 0] == [(await take(leases, tenant, wish))[1] for _ in range(3)]


def test_a_busy_event_loop_is_not_taken_for_a_slow_redis(
    redis_server: Redis, clock: HandClock, log: io.StringIO, tenant: str
) -> None:
    """A reply that lies in the socket when this process comes back to it counts: uvloop looks at its timers first."""
    wish = TokenWish("key", Fraction(1, 3600), 10, 1, 4)

    async def ask_and_be_busy() -> bool:
        async with opened(redis_server.url, clock, log) as leases:
            await leases.take(uuid.uuid4().hex, "lease-0", [wish])  # so that the script is there
            asking = asyncio.create_task(leases.take(tenant, "lease-1", [wish], seconds=ASK_SECONDS))
            await asyncio.sleep(0)
            time.sleep(4 * ASK_SECONDS)  # noqa: ASYNC251 - this is what is tried
            return (await asking).granted and leases.in_use

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(ask_and_be_busy())


async def test_all_or_nothing(redis_server: Redis, clock: HandClock, log: io.StringIO, tenant: str) -> None:
    """One wish that cannot be granted keeps the others from being granted, whichever it is."""
    full = TokenWish("tenant", Fraction(1, 3600), 3, 1, 3)
    slow = TokenWish("key", Fraction(1, 3600), 5, 1, 5)
    async with opened(redis_server.url, clock, log) as leases:
        assert (True, 3) == (await take(leases, tenant, full))[:2]
        for wishes in ([full, slow], [slow, full]):
            reply = await leases.take(tenant, uuid.uuid4().hex, wishes)
            assert (False, {0}) == (reply.granted, {grant.amount for grant in reply.grants})
        crowded = PlaceWish("key", 2, 2, 1, 3, 1)
        reply = await leases.take(tenant, uuid.uuid4().hex, [slow, crowded])
        assert (False, 0, 2) == (reply.granted, reply.grants[0].amount, reply.grants[1].amount)
        reply = await leases.take(tenant, uuid.uuid4().hex, [full, PlaceWish("key", 2, 0, 1, 1, 2)])
        assert not reply.granted
        assert (True, 2, 0) == await hold(leases, tenant, PlaceWish("key", 2, 0, 0, 2, 3))  # nothing was held till now
        assert (True, 5) == (await take(leases, tenant, slow))[:2]


async def test_places_of_all_replicas_together(
    redis_server: Redis, clock: HandClock, log: io.StringIO, tenant: str
) -> None:
    """What one replica holds the other cannot have; what it gives back it can."""
    async with (
        opened(redis_server.url, clock, log) as one,
        opened(redis_server.url, clock, log, replica="two") as two,
    ):
        assert (True, 3, 2) == await hold(one, tenant, places(5, most=3, sequence=1))
        assert (True, 2, 0) == await hold(two, tenant, places(5, most=4, sequence=1, least=1))
        assert (False, 2, 0) == await hold(two, tenant, places(5, in_use=2, most=4, sequence=2, least=1))
        assert (True, 1, 2) == await hold(one, tenant, places(5, most=1, sequence=2))
        assert (True, 4, 0) == await hold(two, tenant, places(5, in_use=2, most=4, sequence=3, least=1))


async def test_requests_that_are_there_are_counted(
    redis_server: Redis, clock: HandClock, log: io.StringIO, tenant: str
) -> None:
    """After an outage more may be inside than is allowed: that is written as it is, and nobody else comes in."""
    async with (
        opened(redis_server.url, clock, log) as one,
        opened(redis_server.url, clock, log, replica="two") as two,
    ):
        assert (True, 2, 0) == await hold(one, tenant, places(2, in_use=2, most=2, sequence=1))
        assert (True, 2, 0) == await hold(two, tenant, places(2, in_use=2, most=2, sequence=1))
        assert (False, 1, 0) == await hold(one, tenant, places(2, in_use=1, most=2, sequence=2, least=1))


async def test_an_older_number_changes_nothing(
    redis_server: Redis, clock: HandClock, log: io.StringIO, tenant: str
) -> None:
    """A write that comes after a later one is as if it had never come."""
    async with (
        opened(redis_server.url, clock, log) as one,
        opened(redis_server.url, clock, log, replica="two") as two,
    ):
        await hold(one, tenant, places(5, most=5, sequence=8))
        await hold(one, tenant, places(5, most=1, sequence=7))
        assert (False, 0, 0) == await hold(two, tenant, places(5, most=1, sequence=1, least=1))


async def test_places_of_a_silent_replica_come_free(
    redis_server: Redis, clock: HandClock, log: io.StringIO, tenant: str
) -> None:
    """A replica that has not written for its time holds nothing, and its entry is gone."""
    async with opened(redis_server.url, clock, log) as leases, Raw.from_url(redis_server.url) as raw:
        now, key = await microseconds(raw), f"maskgate:limits:{{{tenant}}}:places:tenant"
        await raw.hset(key, mapping={"silent": f"4:{now - 1}:9", "lives": f"1:{now + 10**8}:9"})
        assert (True, 4, 0) == await hold(leases, tenant, places(5, most=5, sequence=1))
        assert {b"lives", b"one"} == set(await raw.hkeys(key))


async def test_nothing_stays_for_ever(redis_server: Redis, clock: HandClock, log: io.StringIO, tenant: str) -> None:
    """Every key goes by itself: a bucket soon after it is whole, places and leases after seconds."""
    async with opened(redis_server.url, clock, log) as leases, Raw.from_url(redis_server.url) as raw:
        await take(leases, tenant, TokenWish("key", Fraction(1, 10), 3, 1, 2))
        await hold(leases, tenant, places(5, most=5, sequence=1))
        left = {
            key.decode().split("}:")[1].split(":")[0]: await raw.pttl(key) async for key in raw.scan_iter(f"*{tenant}*")
        }
    assert {"tokens", "places", "lease"} == left.keys()
    assert 18_000 < left["tokens"] <= 21_000
    assert 0 < left["places"] <= 3_000
    assert 0 < left["lease"] <= 1_000


async def test_a_server_that_forgot_the_script(
    own_redis: Redis, clock: HandClock, log: io.StringIO, tenant: str
) -> None:
    """The script is brought again, and the bucket is as it was."""
    wish = TokenWish("key", Fraction(1, 3600), 3, 1, 1)
    async with opened(own_redis.url, clock, log) as leases, Raw.from_url(own_redis.url) as raw:
        assert (True, 1) == (await take(leases, tenant, wish))[:2]
        await raw.script_flush()
        assert [True, True, False] == [(await take(leases, tenant, wish))[0] for _ in range(3)]


async def fail_until_left_alone(leases: RedisLeases, seconds: float = ENOUGH) -> None:
    """Ask in vain as often as it takes."""
    for _ in range(FAILURES_TO_PAUSE):
        assert leases.in_use
        with pytest.raises(LeasesUnavailable):
            await leases.take("acme", uuid.uuid4().hex, [TokenWish("key", Fraction(1), 1, 0, 1)], seconds=seconds)
    assert not leases.in_use


async def try_again(leases: RedisLeases, clock: HandClock) -> None:
    """Let the pause pass; whoever looks then is not made to wait for the try."""
    clock.now += PAUSE_SECONDS
    assert not leases.in_use
    while leases._under_way:
        await asyncio.wait(set(leases._under_way))


def events(log: io.StringIO) -> list[str]:
    """Return what was logged about limits."""
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {"limits"} == {line["use"] for line in lines}
    return [line["event"] for line in lines]


async def test_gone_at_the_start_and_there_later(own_redis: Redis, clock: HandClock, log: io.StringIO) -> None:
    """A Redis that is not there is left alone at once, tried every 5 s, and used when it is there."""
    own_redis.stop()
    async with opened(own_redis.url, clock, log) as leases:
        used = [leases.in_use]
        await try_again(leases, clock)
        used.append(leases.in_use)
        own_redis.start()
        await try_again(leases, clock)
        assert [False, False, True] == [*used, leases.in_use]
        assert (await take(leases, "acme", TokenWish("key", Fraction(1), 1, 1, 1)))[0]
    assert ["redis_left_alone", "redis_in_use_again"] == events(log)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_killed_or_hanging_under_way(
    own_redis: Redis, clock: HandClock, log: io.StringIO, number: signal.Signals
) -> None:
    """After three calls in vain nobody asks; when it is back it is asked again."""
    async with opened(own_redis.url, clock, log) as leases:
        if number is signal.SIGSTOP:
            own_redis.send(number)
        else:
            own_redis.stop(number)
        await fail_until_left_alone(leases, ASK_SECONDS)
        if number is signal.SIGSTOP:
            own_redis.send(signal.SIGCONT)
        else:
            own_redis.start()
        await try_again(leases, clock)
        assert leases.in_use
        assert (await take(leases, "globex", TokenWish("key", Fraction(1), 1, 1, 1)))[0]
    assert ["redis_left_alone", "redis_in_use_again"] == events(log)


async def test_read_only(own_redis: Redis, clock: HandClock, log: io.StringIO) -> None:
    """A server that became a replica refuses each lease at once and is left alone; as a primary it is used again."""
    async with opened(own_redis.url, clock, log) as leases, Raw.from_url(own_redis.url) as raw:
        await raw.replicaof("127.0.0.1", "1")
        await fail_until_left_alone(leases)
        assert "READONLY" in log.getvalue() or "read only" in log.getvalue()
        await raw.replicaof("NO", "ONE")
        await try_again(leases, clock)
        assert (await take(leases, "acme", TokenWish("key", Fraction(1), 1, 1, 1)))[0]


async def test_closed_while_it_hangs(own_redis: Redis, clock: HandClock, log: io.StringIO) -> None:
    """Closing ends although calls are under way that nobody will answer, and leaves no task behind."""
    before = asyncio.all_tasks()
    async with opened(own_redis.url, clock, log) as leases:
        own_redis.send(signal.SIGSTOP)
        with pytest.raises(LeasesUnavailable):
            await leases.take("acme", "", [places(1, most=1, sequence=1)], seconds=0.01)
        assert leases._under_way
    assert before == asyncio.all_tasks()


@pytest.mark.parametrize("url", ["http://127.0.0.1:6379", "127.0.0.1:6379", "redis://127.0.0.1:port", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    """Another scheme, or a port that is no number, is found before anything is connected to."""
    with pytest.raises(ValueError, match=r"Redis URL|Port"):
        RedisLeases(url, replica="one", clock=HandClock(), log=make_logger(io.StringIO()))
