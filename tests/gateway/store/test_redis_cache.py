"""The connection to Redis: what is written is read, and a Redis that fails costs little and breaks nothing."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis as Raw

from gateway.store.redis_cache import (
    CONNECTIONS,
    FAILURES_TO_PAUSE,
    PAUSE_SECONDS,
    CacheLeftAlone,
    CacheUnavailable,
    RedisCache,
)
from gateway.telemetry.logs import make_logger
from providers.contract import Resource
from tests.gateway.store.slow_proxy import SlowProxy
from tests.servers import Redis
from tests.shortages import no_descriptors

#: Longer than in service: a test machine that is busy is no Redis that is slow.
READ_SECONDS = 0.4
#: Too late for a read, in time for the connection that it came on.
LATE_SECONDS = 0.7

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


@asynccontextmanager
async def opened(url: str, clock: Callable[[], float], log: io.StringIO) -> AsyncIterator[RedisCache]:
    """Open a cache for a while."""
    cache = RedisCache(url, clock=clock, log=make_logger(log), read_seconds=READ_SECONDS)
    await cache.open()
    try:
        yield cache
    finally:
        await cache.close()


@asynccontextmanager
async def raw(redis: Redis) -> AsyncIterator[Raw]:
    """Reach the server beside the cache."""
    async with Raw.from_url(redis.url) as client:
        yield client


async def fail_until_left_alone(cache: RedisCache) -> None:
    """Read in vain as often as it takes, and see that the next read is not even tried."""
    for _ in range(FAILURES_TO_PAUSE):
        assert cache.in_use
        with pytest.raises(CacheUnavailable) as failure:
            await cache.get(["k"])
        assert not isinstance(failure.value, CacheLeftAlone)
    await assert_left_alone(cache)


async def assert_left_alone(cache: RedisCache) -> None:
    """See that nothing is asked: no call is begun."""
    assert not cache.in_use
    before = set(cache._under_way)
    with pytest.raises(CacheLeftAlone):
        await cache.get(["k"])
    assert not cache._under_way - before


async def try_again(cache: RedisCache, clock: HandClock) -> None:
    """Let the pause pass; the read that comes then is not made to wait for the try it begins."""
    clock.now += PAUSE_SECONDS
    with pytest.raises(CacheLeftAlone):
        await cache.get(["k"])
    while cache._under_way:
        await asyncio.wait(set(cache._under_way))


def events(log: io.StringIO) -> list[tuple[str, str]]:
    """Return what was logged."""
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [(line["event"], line["use"]) for line in lines]


async def test_what_is_written_is_read_with_the_rest_of_its_time(
    redis_server: Redis, clock: HandClock, log: io.StringIO
) -> None:
    """Values come back in the order of their keys, whatever bytes they are, and say how long they stay."""
    keys = [uuid.uuid4().hex for _ in range(3)]
    async with opened(redis_server.url, clock, log) as cache:
        await cache.set(keys[0], b"\x00\xff\r\n", seconds=60)
        await cache.set(keys[2], b"", seconds=1e6)
        first, absent, last = await cache.get(keys)
    assert first is not None
    assert last is not None
    assert (b"\x00\xff\r\n", None, b"") == (first.data, absent, last.data)
    assert first.seconds is not None
    assert last.seconds is not None
    assert 0 < first.seconds <= 60 < last.seconds <= 1e6
    assert "" == log.getvalue()


async def test_an_expired_value_is_gone(redis_server: Redis, clock: HandClock, log: io.StringIO) -> None:
    """A value is there no longer when its time is over, be it shorter than a millisecond."""
    key = uuid.uuid4().hex
    async with opened(redis_server.url, clock, log) as cache:
        await cache.set(key, b"short", seconds=0.0001)
        while await cache.get([key]) != [None]:
            pass
        assert cache.in_use


async def test_a_value_of_another_type_is_none(redis_server: Redis, clock: HandClock, log: io.StringIO) -> None:
    """A list under the key is no value; a value that somebody has made stay has no end."""
    key, other = uuid.uuid4().hex, uuid.uuid4().hex
    async with opened(redis_server.url, clock, log) as cache, raw(redis_server) as client:
        await client.rpush(key, "a")
        await client.set(other, b"stays")
        listed, stays = await cache.get([key, other])
    assert listed is None
    assert stays is not None
    assert (b"stays", None) == (stays.data, stays.seconds)


async def test_the_address_cannot_change_what_comes(redis_server: Redis, clock: HandClock, log: io.StringIO) -> None:
    """Options in the address leave bytes bytes, and one try one try."""
    url = f"{redis_server.url}?decode_responses=true&retry_on_timeout=true&socket_timeout=60&protocol=2"
    key = uuid.uuid4().hex
    async with opened(url, clock, log) as cache:
        await cache.set(key, b"\xff", seconds=60)
        (value,) = await cache.get([key])
        options = cache._client.connection_pool.connection_kwargs
    assert value is not None
    assert b"\xff" == value.data
    assert (1.0, 3, False) == (options["socket_timeout"], options["protocol"], options["retry_on_timeout"])


@pytest.mark.parametrize("url", ["http://127.0.0.1:6379", "127.0.0.1:6379", "redis://127.0.0.1:port", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    """Another scheme, or a port that is no number, is found before anything is connected to."""
    with pytest.raises(ValueError, match=r"Redis URL|Port"):
        RedisCache(url, clock=HandClock(), log=make_logger(io.StringIO()))


async def test_stopped_at_start_and_there_later(own_redis: Redis, clock: HandClock, log: io.StringIO) -> None:
    """A Redis that is not there at the start is left alone at once, tried every 5 s, and used when it is there."""
    own_redis.stop()
    async with opened(own_redis.url, clock, log) as cache:
        await assert_left_alone(cache)
        await try_again(cache, clock)
        await assert_left_alone(cache)
        own_redis.start()
        await assert_left_alone(cache)
        await try_again(cache, clock)
        assert cache.in_use
        await cache.set("k", b"v", seconds=60)
        (value,) = await cache.get(["k"])
    assert value is not None
    assert [
        ("redis_left_alone", "read"),
        ("redis_left_alone", "write"),
        ("redis_in_use_again", "read"),
        ("redis_in_use_again", "write"),
    ] == events(log)


async def test_killed_under_way(own_redis: Redis, clock: HandClock, log: io.StringIO) -> None:
    """After a kill, three reads fail and no further one is tried; what was kept is gone, and nothing else."""
    async with opened(own_redis.url, clock, log) as cache:
        await cache.set("k", b"v", seconds=60)
        own_redis.stop(signal.SIGKILL)
        await fail_until_left_alone(cache)
        own_redis.start()
        await try_again(cache, clock)
        assert [None] == await cache.get(["k"])


async def test_restarted_between_two_reads(own_redis: Redis, clock: HandClock, log: io.StringIO) -> None:
    """Connections that a restart has ended are noticed before they are used: no read fails."""
    async with opened(own_redis.url, clock, log) as cache:
        await asyncio.gather(*(cache.get(["k"]) for _ in range(CONNECTIONS)))
        own_redis.stop()
        own_redis.start()
        assert [[None]] * CONNECTIONS == await asyncio.gather(*(cache.get(["k"]) for _ in range(CONNECTIONS)))


async def test_hanging_under_way(own_redis: Redis, clock: HandClock, log: io.StringIO) -> None:
    """A Redis that takes connections and never answers is left alone as one that is gone; then it is used again."""
    async with opened(own_redis.url, clock, log) as cache:
        await cache.set("k", b"v", seconds=60)
        own_redis.send(signal.SIGSTOP)
        await fail_until_left_alone(cache)
        await try_again(cache, clock)
        await assert_left_alone(cache)
        own_redis.send(signal.SIGCONT)
        await try_again(cache, clock)
        (value,) = await cache.get(["k"])
    assert value is not None
    assert b"v" == value.data
    assert [("redis_left_alone", "read"), ("redis_in_use_again", "read")] == events(log)


async def test_fifty_milliseconds_in_service(own_redis: Redis, clock: HandClock, log: io.StringIO) -> None:
    """Where nothing else is said, a question waits for 50 ms in all."""
    cache = RedisCache(own_redis.url, clock=clock, log=make_logger(log))
    own_redis.send(signal.SIGSTOP)
    with pytest.raises(CacheUnavailable, match=r"no answer within 0\.05 s"):
        await cache.get(["k"])
    await cache.close()


async def test_closed_while_it_hangs(own_redis: Redis, clock: HandClock, log: io.StringIO) -> None:
    """Closing ends although reads and writes are under way that nobody will answer, and leaves no task behind."""
    before = asyncio.all_tasks()
    async with opened(own_redis.url, clock, log) as cache:
        own_redis.send(signal.SIGSTOP)
        write = asyncio.create_task(cache.set("k", b"v", seconds=60))
        read = asyncio.create_task(cache.get(["k"]))
        await asyncio.wait({read})
        assert cache._under_way
    assert isinstance(read.exception(), CacheUnavailable)
    await asyncio.wait({write})
    assert isinstance(write.exception(), CacheUnavailable)
    assert before == asyncio.all_tasks()


async def test_many_reads_at_once_of_a_redis_that_hangs(own_redis: Redis, clock: HandClock, log: io.StringIO) -> None:
    """Each of a hundred reads at once ends in vain, far more than there are connections; one pause follows."""
    async with opened(own_redis.url, clock, log) as cache:
        own_redis.send(signal.SIGSTOP)
        reads = await asyncio.gather(*(cache.get(["k"]) for _ in range(100)), return_exceptions=True)
        assert {CacheUnavailable} == {type(read) for read in reads}
        await assert_left_alone(cache)
    assert [("redis_left_alone", "read")] == events(log)


async def test_slow(redis_server: Redis, clock: HandClock, log: io.StringIO) -> None:
    """A Redis that answers late is left alone for as long as it is slow, and its late answers mislead nobody."""
    mine, other = uuid.uuid4().hex, uuid.uuid4().hex
    async with SlowProxy(redis_server.port) as proxy, opened(proxy.url, clock, log) as cache:
        await cache.set(mine, b"mine", seconds=60)
        await cache.set(other, b"other", seconds=60)
        proxy.seconds = LATE_SECONDS
        for key in (mine, mine, mine):
            with pytest.raises(CacheUnavailable):
                await cache.get([key])
        await try_again(cache, clock)
        await assert_left_alone(cache)
        proxy.seconds = 0
        await try_again(cache, clock)
        (value,) = await cache.get([other])
    assert value is not None
    assert b"other" == value.data


async def test_one_failure_or_two_change_nothing(redis_server: Redis, clock: HandClock, log: io.StringIO) -> None:
    """Only failures in a row count: two, a success and two more leave Redis in use."""
    async with SlowProxy(redis_server.port) as proxy, opened(proxy.url, clock, log) as cache:
        for _ in range(2):
            proxy.seconds = LATE_SECONDS
            for _ in range(FAILURES_TO_PAUSE - 1):
                with pytest.raises(CacheUnavailable):
                    await cache.get(["k"])
            proxy.seconds = 0
            await asyncio.wait(set(cache._under_way))
            assert [None] == await cache.get(["absent"])
        assert cache.in_use
    assert "" == log.getvalue()


async def test_a_redis_that_is_full_still_answers(own_redis: Redis, clock: HandClock, log: io.StringIO) -> None:
    """Refused writes are given up for a while, and reads go on."""
    async with opened(own_redis.url, clock, log) as cache, raw(own_redis) as client:
        await cache.set("k", b"v", seconds=60)
        await client.config_set("maxmemory", "1")
        for _ in range(FAILURES_TO_PAUSE):
            with pytest.raises(CacheUnavailable, match="OutOfMemory"):
                await cache.set("other", b"v", seconds=60)
        with pytest.raises(CacheLeftAlone):
            await cache.set("other", b"v", seconds=60)
        (value,) = await cache.get(["k"])
        assert value is not None
        assert cache.in_use
        await client.config_set("maxmemory", "0")
        clock.now += PAUSE_SECONDS
        await cache.set("other", b"v", seconds=60)
    assert [("redis_left_alone", "write"), ("redis_in_use_again", "write")] == events(log)


async def test_a_read_whose_caller_goes_ends_by_itself(redis_server: Redis, clock: HandClock, log: io.StringIO) -> None:
    """A cancelled caller leaves nothing behind, and the next one has his own answer."""
    key = uuid.uuid4().hex
    async with SlowProxy(redis_server.port) as proxy, opened(proxy.url, clock, log) as cache:
        await cache.set(key, b"mine", seconds=60)
        proxy.seconds = 0.02
        gone = asyncio.create_task(cache.get(["absent"]))
        await asyncio.sleep(0)
        assert cache._under_way
        gone.cancel()
        await asyncio.wait({gone})
        proxy.seconds = 0
        (value,) = await cache.get([key])
    assert gone.cancelled()
    assert value is not None
    assert b"mine" == value.data


async def test_a_missing_descriptor_is_told_as_our_own(redis_server: Redis, log: io.StringIO) -> None:
    """Redis was not at fault that it could not be connected to."""
    told: list[Resource] = []
    cache = RedisCache(redis_server.url, clock=time.monotonic, log=make_logger(log), short=told.append)
    with no_descriptors():
        await cache.open()
    await cache.close()
    assert {Resource.DESCRIPTORS} == set(told)
