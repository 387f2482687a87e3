"""
Bytes in Redis, for an optional cache: every call ends within a time of ours, and a Redis that fails is left alone.

Three decisions in it:

- **Nothing is tried twice.** redis-py tries a command ten times by default, which makes seconds of a hiccup; here the
  next question is the next try. Source: redis-py 8.1, `redis.asyncio.retry`, read 2026-11.
- **A read that is out of time is left to end by itself** and not cancelled: its connection then stands ready for the
  next one, where cancelling would throw it away and a slow handshake could never be got through.
- **Reads and writes fail apart**: a Redis that is full or read-only refuses writes and still answers reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from providers.contract import Clock, Resource, shortage_of

#: The most that a question waits for Redis in all.
READ_SECONDS = 0.05
#: The most that a write, a handshake or an orphaned read takes; nobody waits for it.
SOCKET_SECONDS = 1.0
CONNECTIONS = 16
WRITES_AT_ONCE = 4
FAILURES_TO_PAUSE = 3
PAUSE_SECONDS = 5.0

T = TypeVar("T")

ShortageTold = Callable[[Resource], None]
"""Told what this machine had run out of when Redis could not be asked."""


class CacheUnavailable(Exception):
    """Redis did not do it, or not in time. The message says why."""


class CacheLeftAlone(CacheUnavailable):
    """Redis failed lately, so it was not asked."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A value as Redis has it."""

    data: bytes
    seconds: float | None
    """How long it still lives; None for ever."""


class Pause:
    """Whether Redis is left alone: for 5 s after 3 failures in a row, then for 5 s after each try that fails."""

    def __init__(self, use: str, clock: Clock, log: Any, short: ShortageTold) -> None:
        """Begin with Redis in use; *use* is what the log lines call this one, *short* is told of shortages of ours."""
        self._use = use
        self._clock = clock
        self._log = log
        self._short = short
        self._failures = 0
        self._until = 0.0
        self.on = False
        """Whether Redis is left alone."""

    def take_turn(self) -> bool:
        """Whether the caller is the one that tries Redis again, now that the time is over."""
        now = self._clock()
        if now < self._until:
            return False
        self._until = now + PAUSE_SECONDS
        return True

    def failed(self, reason: str, error: BaseException | None = None, *, certain: bool = False) -> None:
        """Count a failure, with what was raised, if anything was; *certain* is one that needs no two others."""
        self._failures += 1
        # redis-py raises its own error while it handles the system's, and does not name that as the cause.
        context = None if error is None else error.__context__
        if (resource := shortage_of(error) or shortage_of(context)) is not None:
            self._short(resource)
        if self.on or not (certain or self._failures >= FAILURES_TO_PAUSE):
            return
        self.on = True
        self._until = self._clock() + PAUSE_SECONDS
        self._log.warning("redis_left_alone", use=self._use, reason=reason)

    def succeeded(self) -> None:
        """Forget the failures."""
        self._failures = 0
        if self.on:
            self.on = False
            self._log.info("redis_in_use_again", use=self._use)


def bounded_client(url: str, *, seconds: float) -> Redis:
    """
    Return a client that tries once and ends in bounded time; no connection is made yet.

    Args:
        url: `redis://`, `rediss://` or `unix://`. Its options cannot change how long we wait or what we get.
        seconds: the most that a connection is waited for.

    Raises:
        ValueError: it is no address of Redis.
    """
    options: dict[str, Any] = {**parse_url(url)}
    options |= {
        "protocol": 3,
        "decode_responses": False,
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": SOCKET_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "retry_on_error": [],
        "driver_info": None,  # one round trip less in the handshake, and so is the next
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "max_connections": CONNECTIONS,
        "timeout": seconds,
    }
    return Redis.from_pool(BlockingConnectionPool(**options))


class RedisCache:
    """Values by key in one Redis server. It may lose all of them at any time."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        log: Any,
        read_seconds: float = READ_SECONDS,
        short: ShortageTold = lambda _resource: None,
    ) -> None:
        """
        Prepare the connections; none is made yet.

        Args:
            url: `redis://`, `rediss://` or `unix://`. Its options cannot change how long we wait or what we get.
            clock: monotonic seconds, for the pauses.
            log: told when Redis begins to be left alone, and when it is in use again.
            read_seconds: the most that a question waits, waiting for a connection included.
            short: told of what this machine had none of to ask Redis with.

        Raises:
            ValueError: it is no address of Redis.
        """
        self._client = bounded_client(url, seconds=read_seconds)
        self._read_seconds = read_seconds
        self._reads = Pause("read", clock, log, short)
        self._writes = Pause("write", clock, log, short)
        self._writing = asyncio.Semaphore(WRITES_AT_ONCE)
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def in_use(self) -> bool:
        """Whether questions are asked of Redis at the moment."""
        return not self._reads.on

    async def open(self) -> None:
        """Make a first connection, so that no question waits for it. A Redis that is not there is left alone."""
        await self._try(first=True)

    async def get(self, keys: Sequence[str]) -> list[Stored | None]:
        """
        Return the values of *keys*, None where there is none, in one round trip.

        Raises:
            CacheUnavailable: there is no answer.
        """
        if self._reads.on:
            if self._reads.take_turn():
                self._start(self._try(first=False))
            raise CacheLeftAlone("Redis is left alone after failures")
        return await self._within(self._read_seconds, self._get(keys), self._reads)

    async def set(self, key: str, data: bytes, *, seconds: float) -> None:
        """
        Write a value that lives for that many seconds.

        Raises:
            CacheUnavailable: nobody knows whether it is written.
        """
        async with self._writing:
            if self._writes.on and not self._writes.take_turn():
                raise CacheLeftAlone("Redis is left alone after failures")
            await self._within(SOCKET_SECONDS, self._set(key, data, max(1, round(seconds * 1000))), self._writes)

    async def close(self) -> None:
        """Let what is under way end within its time, and end the connections."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=SOCKET_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        await self._client.aclose()

    async def _get(self, keys: Sequence[str]) -> list[Stored | None]:
        """Ask for values and what is left of their time together: kept elsewhere, they must not live longer."""
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.mget(keys)
            for key in keys:
                pipeline.pttl(key)
            values, *left = await pipeline.execute()
        # -2 is a key that went between the two, -1 one that stays for ever.
        return [
            None if value is None or ms in {-2, 0} else Stored(value, ms / 1000 if ms > 0 else None)
            for value, ms in zip(values, left, strict=True)
        ]

    async def _set(self, key: str, data: bytes, milliseconds: int) -> None:
        await self._client.set(key, data, px=milliseconds)

    async def _try(self, *, first: bool) -> None:
        """Find out whether Redis answers in time once it is connected to."""
        try:
            await self._within(SOCKET_SECONDS, self._greet(), self._reads)
        except CacheUnavailable as error:
            if first:
                for pause in (self._reads, self._writes):
                    pause.failed(str(error), certain=True)

    async def _greet(self) -> None:
        await self._ping()
        again = self._start(self._ping())
        await asyncio.wait({again}, timeout=self._read_seconds)
        if not again.done():
            raise TimeoutError(f"no answer within {self._read_seconds} s, although connected")
        again.result()

    async def _ping(self) -> None:
        await self._client.ping()

    async def _within(self, seconds: float, call: Coroutine[Any, Any, T], pause: Pause) -> T:
        """Return what a call brings in time, and count how it ended."""
        task, error = self._start(call), None
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            reason = f"no answer within {seconds} s"
        elif task.cancelled():
            reason = "closed meanwhile"
        elif (error := task.exception()) is not None:
            reason = f"{type(error).__name__}: {error}"
        else:
            pause.succeeded()
            return task.result()
        pause.failed(reason, error)
        raise CacheUnavailable(reason)

    def _start(self, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(call)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever still waited; the event loop need not report it again
