"""
What replicas share of the rate limits, in Redis: buckets of tokens, and who holds how many places.

One script does both, so that a request that is refused by one limit consumes nothing of another. Its arithmetic is the
GCRA in microseconds and whole numbers, its clock the server's. Both of its effects can be repeated without harm:

- **Tokens are taken under a lease id**: asked again with the same id within `MEMORY_SECONDS`, Redis gives the first
  answer again and takes nothing, so that a reply that was lost costs nobody anything.
- **Places are written as a whole number** ("this replica holds 7") with a sequence: an older number that comes late
  changes nothing. A number that is not written anew within `PLACES_SECONDS` is gone, as is the replica that wrote it.

Redis may lose all of it: buckets are whole then, and replicas write their places anew within a second.

All keys of one call share a hash tag, the tenant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from gateway.store.redis_cache import SOCKET_SECONDS, Pause, ShortageTold, bounded_client
from providers.contract import Clock

#: The most that a request waits for Redis in all.
ASK_SECONDS = 0.05
#: An event loop that comes later than this to its timers has been busy.
LATE_SECONDS = 0.005
#: How long a lease's answer is remembered.
MEMORY_SECONDS = 1.0
#: How long places stay with a replica that is silent.
PLACES_SECONDS = 3.0

#: Lua, which Redis runs as one step.
SCRIPT = Path(__file__).with_name("redis_leases.lua")

T = TypeVar("T")


class LeasesUnavailable(Exception):
    """Redis did not answer, or not in time: nobody knows whether it did what it was asked. The message says why."""


@dataclass(frozen=True, slots=True)
class TokenWish:
    """Tokens of one bucket."""

    bucket: str
    """Its name, unique within the tenant."""
    rate: Fraction
    """A second; a `gcra.Rule` has brought it to what the script's numbers hold."""
    burst: int
    least: int
    """With fewer than that, nothing of the whole lease is granted."""
    most: int


@dataclass(frozen=True, slots=True)
class PlaceWish:
    """Places for requests that are worked on at once."""

    bucket: str
    limit: int
    """Of all replicas together."""
    in_use: int
    """Where this replica has requests; they are counted, granted or not."""
    least: int
    """With fewer than that beside those in use, nothing of the whole lease is granted."""
    most: int
    """How many this replica wants to hold in all."""
    sequence: int
    """Larger with each wish of this replica."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What became of one wish."""

    amount: int
    """Tokens taken, or places held in all; 0 tokens when the lease is refused."""
    state: int
    """How far the bucket's TAT then lies ahead, in microseconds rounded down; or the places that nobody holds."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a lease."""

    granted: bool
    grants: tuple[Grant, ...]
    """One for each wish, in their order."""


class RedisLeases:
    """The script's caller: one try each, bounded in time, and a Redis that fails is left alone for a while."""

    def __init__(
        self,
        url: str,
        *,
        replica: str,
        clock: Clock,
        log: Any,
        ask_seconds: float = ASK_SECONDS,
        short: ShortageTold = lambda _resource: None,
    ) -> None:
        """
        Prepare the connections; none is made yet.

        Args:
            url: `redis://`, `rediss://` or `unix://`. Its options cannot change how long we wait or what we get.
            replica: this process' name, unlike that of any other, earlier ones included.
            clock: monotonic seconds, for the pauses.
            log: told when Redis begins to be left alone, and when it is in use again.
            ask_seconds: the most that a call takes, waiting for a connection included.
            short: told of what this machine had none of to ask Redis with.

        Raises:
            ValueError: it is no address of Redis.
        """
        self._client = bounded_client(url, seconds=ask_seconds)
        self._script = self._client.register_script(SCRIPT.read_text())
        self._replica = replica
        self.ask_seconds = ask_seconds
        self._pause = Pause("limits", clock, log, short)
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def in_use(self) -> bool:
        """Whether Redis is asked at the moment. While it is not, every few seconds one look begins a try."""
        if not self._pause.on:
            return True
        if self._pause.take_turn():
            self._start(self._try(first=False))
        return False

    async def open(self) -> None:
        """Make a first connection, so that no request waits for it. A Redis that is not there is left alone."""
        await self._try(first=True)

    async def take(
        self, tenant: str, lease: str, wishes: Sequence[TokenWish | PlaceWish], *, seconds: float | None = None
    ) -> Reply:
        """
        Take tokens and places, all or nothing.

        Args:
            tenant: what the buckets belong to.
            lease: the same id takes once; empty where there are no tokens among the wishes.
            wishes: at least one.
            seconds: the most that this call takes, where that is less than `ask_seconds`.

        Raises:
            LeasesUnavailable: there is no reply. With the same lease id it may be asked again.
        """
        root = f"maskgate:limits:{{{tenant}}}"
        keys = [f"{root}:lease:{lease}"]
        memory = round(MEMORY_SECONDS * 1000) if lease else 0
        arguments: list[str | int] = [self._replica, memory, round(PLACES_SECONDS * 1_000_000)]
        for wish in wishes:
            if isinstance(wish, TokenWish):
                keys.append(f"{root}:tokens:{wish.bucket}")
                numbers = ("tokens", wish.rate.numerator, wish.rate.denominator, wish.burst, wish.least, wish.most)
            else:
                keys.append(f"{root}:places:{wish.bucket}")
                numbers = ("places", wish.limit, wish.in_use, wish.sequence, wish.least, wish.most)
            arguments.extend(numbers)
        granted, *pairs = await self._within(seconds or self.ask_seconds, self._call(keys, arguments))
        self._pause.succeeded()
        return Reply(granted == 1, tuple(map(Grant, pairs[::2], pairs[1::2])))

    async def close(self) -> None:
        """Let what is under way end within its time, and end the connections."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=SOCKET_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        await self._client.aclose()

    async def _call(self, keys: Sequence[str], arguments: Sequence[str | int]) -> list[int]:
        reply: list[int] = await self._script(keys, arguments)
        return reply

    async def _try(self, *, first: bool) -> None:
        """Find out whether Redis answers in time once it is connected to."""
        try:
            await self._within(SOCKET_SECONDS, self._ping(), certain=first)
            await self._within(self.ask_seconds, self._ping(), certain=first)
        except LeasesUnavailable:
            return  # which has been counted
        self._pause.succeeded()

    async def _ping(self) -> None:
        await self._client.ping()

    async def _within(self, seconds: float, call: Coroutine[Any, Any, T], *, certain: bool = False) -> T:
        """
        Return what a call brings in time, and count a failure.

        One that is out of time is left to end by itself: cancelling would throw its connection away, so that a slow
        handshake could never be got through. What it does late, the sequence and the lease id make harmless.

        Where it is this process that comes late, the reply may lie in its socket, and is looked for once more: a busy
        event loop is not Redis' fault.
        """
        clock = asyncio.get_running_loop().time
        task, until, error = self._start(call), clock() + seconds, None
        await asyncio.wait({task}, timeout=seconds)
        late = clock() - until
        if not task.done() and late > LATE_SECONDS:
            await asyncio.wait({task}, timeout=min(late, seconds))
        if not task.done():
            reason = f"no answer within {seconds:.3g} s"
        elif task.cancelled():
            reason = "closed meanwhile"
        elif (error := task.exception()) is not None:
            reason = f"{type(error).__name__}: {error}"
        else:
            return task.result()
        self._pause.failed(reason, error, certain=certain)
        raise LeasesUnavailable(reason)

    def _start(self, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(call)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever still waited; the event loop need not report it again
