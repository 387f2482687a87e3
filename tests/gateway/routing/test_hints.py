"""What replicas tell each other of health: through a real Redis, as advice, and without it nothing is amiss."""

from __future__ import annotations

import asyncio
import io
import json
import random
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis as Raw

from gateway.routing.health import BreakerState, Cause, HealthTable
from gateway.routing.hints import Hints
from gateway.store.hints import Hint, HintsUnavailable
from gateway.store.redis_cache import RedisCache
from gateway.store.redis_hints import RedisHints
from gateway.telemetry.logs import make_logger
from providers.contract import ProviderDenied, ProviderFailed, ProviderOverloaded
from tests.servers import Redis

#: Longer than in service: a test machine that is busy is no Redis that is slow.
READ_SECONDS = 0.4

pytestmark = pytest.mark.needs("redis")


@dataclass
class Clock:
    """A clock that is wound by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return the seconds it shows."""
        return self.now


class Least(random.Random):
    """Chance at its lower end."""

    def random(self) -> float:
        """Return the least there is."""
        return 0.0


@dataclass
class Replica:
    """What one gateway has of hints."""

    board: RedisHints
    table: HealthTable
    hints: Hints
    log: io.StringIO

    async def exchange(self) -> None:
        """Tell and listen once."""
        await self.hints.tell()
        await self.hints.listen()

    def fail(self, name: str, times: int = 5) -> None:
        """Make that many calls that fail."""
        for _ in range(times):
            call = self.table[name].begin()
            assert call is not None
            call.failed(ProviderFailed("it broke"))

    def succeed(self, name: str) -> None:
        """Make a call that brings an answer."""
        call = self.table[name].begin()
        assert call is not None
        call.succeeded()


@pytest.fixture
def clock() -> Clock:
    """What both replicas' breakers go by; their hints' time is Redis' own."""
    return Clock()


@pytest.fixture
def name() -> str:
    """A deployment that no other test knows."""
    return f"eu-{uuid.uuid4().hex}"


@asynccontextmanager
async def joined(url: str, name: str, clock: Callable[[], float], *, replica: str) -> AsyncIterator[Replica]:
    """Run a replica for a while."""
    log = io.StringIO()
    cache = RedisCache(url, clock=time.monotonic, log=make_logger(log), read_seconds=READ_SECONDS)
    await cache.open()
    board, tables = RedisHints(cache), list[HealthTable]()
    hints = Hints(board, replica=replica, table=lambda: tables[-1])
    tables.append(HealthTable([name, "other"], clock, Least(), tell=hints.note))
    try:
        yield Replica(board, tables[-1], hints, log)
    finally:
        await cache.close()


@pytest.fixture
async def one(redis_server: Redis, name: str, clock: Clock) -> AsyncIterator[Replica]:
    """A replica."""
    async with joined(redis_server.url, name, clock, replica="gw_one") as replica:
        yield replica


@pytest.fixture
async def two(redis_server: Redis, name: str, clock: Clock) -> AsyncIterator[Replica]:
    """Another replica."""
    async with joined(redis_server.url, name, clock, replica="gw_two") as replica:
        yield replica


async def test_what_opens_here_is_asked_last_elsewhere(one: Replica, two: Replica, name: str, clock: Clock) -> None:
    """The other one is told for how long, goes on letting calls through, and finds out for itself."""
    one.fail(name)
    await one.exchange()
    await two.exchange()
    view = two.table[name].view()
    assert (True, BreakerState.CLOSED) == (view.hinted, view.state)
    assert not two.table["other"].view().hinted
    assert not one.table[name].view().hinted
    clock.now += 29
    assert two.table[name].view().hinted
    clock.now += 1.1
    assert not two.table[name].view().hinted


async def test_a_hint_is_taken_in_once(one: Replica, two: Replica, name: str) -> None:
    """What a success of our own has outdone does not come back with the next look."""
    one.fail(name)
    await one.exchange()
    await two.exchange()
    two.succeed(name)
    await two.exchange()
    assert not two.table[name].view().hinted


async def test_what_closes_here_is_tried_soon_elsewhere(one: Replica, two: Replica, name: str, clock: Clock) -> None:
    """A single call finds out, long before its own time."""
    one.fail(name)
    await one.exchange()
    clock.now += 30
    two.fail(name)
    await two.exchange()
    one.succeed(name)
    await one.exchange()
    await two.exchange()
    assert BreakerState.HALF_OPEN is two.table[name].view().state
    two.succeed(name)
    assert BreakerState.CLOSED is two.table[name].view().state


@pytest.mark.parametrize("error", [ProviderDenied("402"), ProviderOverloaded("429", retry_after_seconds=30.0)])
async def test_nothing_certain_is_tried_sooner(
    one: Replica, two: Replica, name: str, clock: Clock, error: ProviderDenied | ProviderOverloaded
) -> None:
    """A denial and a `Retry-After` of our own hold, whatever the others have seen."""
    one.fail(name)
    await one.exchange()
    clock.now += 30
    call = two.table[name].begin()
    assert call is not None
    call.failed(error)
    one.succeed(name)
    await one.exchange()
    await two.exchange()
    assert (BreakerState.OPEN, 30.0) == (two.table[name].view().state, two.table[name].view().retry_after_seconds)


async def test_short_pauses_are_not_told(one: Replica, name: str) -> None:
    """Most would hear of them when they are over; and what nobody was told is not taken back either."""
    call = one.table[name].begin()
    assert call is not None
    call.failed(ProviderOverloaded("429", retry_after_seconds=1.0))
    await one.hints.tell()
    assert [] == await one.board.read([name])


async def test_hints_go_by_themselves(one: Replica, name: str) -> None:
    """They are in Redis for as long as they hold, and what is read says how long that still is."""
    one.fail(name)
    await one.hints.tell()
    (hint,) = await one.board.read([name, "other"])
    assert (name, "gw_one", 1, "failing") == (hint.deployment, hint.replica, hint.number, hint.cause)
    assert 0.0 < hint.seconds <= 30.0
    await one.board.tell(Hint(name, "gw_one", 2, None, 0.001))
    for _ in range(200):
        if not await one.board.read([name]):
            break
        await asyncio.sleep(0.005)
    assert [] == await one.board.read([name])
    assert [] == await one.board.read([])


@pytest.mark.parametrize(
    "written",
    [b"", b"\xff", b"[]", b"7", b'{"replica": 1, "number": 1, "cause": null}', b'{"replica": "x", "cause": "slow"}'],
)
async def test_what_is_no_hint_is_left_out(two: Replica, redis_server: Redis, name: str, written: bytes) -> None:
    """Whatever else stands in Redis changes nothing."""
    async with Raw.from_url(redis_server.url) as raw:
        await raw.set(f"maskgate:hint:{name}", written, px=60_000)
    assert [] == await two.board.read([name])


async def test_a_hint_for_ever_is_left_out(two: Replica, redis_server: Redis, name: str) -> None:
    """One that would not go by itself is not ours."""
    async with Raw.from_url(redis_server.url) as raw:
        await raw.set(f"maskgate:hint:{name}", b'{"replica": "gw_x", "number": 1, "cause": "slow"}')
        assert [] == await two.board.read([name])
        await raw.delete(f"maskgate:hint:{name}")


async def test_no_hint_holds_longer_than_a_breaker(two: Replica, redis_server: Redis, name: str, clock: Clock) -> None:
    """Whoever writes to Redis can have a deployment asked last for five minutes and a half, and no longer."""
    async with Raw.from_url(redis_server.url) as raw:
        await raw.set(
            f"maskgate:hint:{name}", b'{"replica": "gw_x", "number": 1, "cause": "never seen"}', px=86_400_000
        )
    await two.hints.listen()
    assert two.table[name].view().hinted
    clock.now += 330.1
    assert not two.table[name].view().hinted


async def test_while_it_runs_changes_are_told_at_once(one: Replica, two: Replica, name: str) -> None:
    """No second passes before the others can know."""
    task = asyncio.create_task(one.hints.run())
    one.fail(name)
    while not two.table[name].view().hinted:
        await two.hints.listen()
        await asyncio.sleep(0)
    assert BreakerState.CLOSED is two.table[name].view().state
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_without_redis_each_decides_alone(own_redis: Redis, name: str, clock: Clock) -> None:
    """Frozen or stopped, it changes nothing in what the breakers do; that it is left alone is logged."""
    async with joined(own_redis.url, name, clock, replica="gw_one") as replica:
        own_redis.send(signal.SIGSTOP)
        replica.fail(name)
        for _ in range(5):
            await replica.exchange()
        assert Cause.FAILING is replica.table[name].view().cause
        with pytest.raises(HintsUnavailable):
            await replica.board.read([name])
        own_redis.send(signal.SIGCONT)
        own_redis.stop()
        clock.now += 30
        replica.succeed(name)
        await replica.exchange()
        assert BreakerState.CLOSED is replica.table[name].view().state
        told = [json.loads(line)["event"] for line in replica.log.getvalue().splitlines()]
        assert "redis_left_alone" in told
