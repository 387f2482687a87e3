"""
The second level of the cache: answers that several gateways share. It may be slow, empty or gone; never in the way.

Reads are bounded in time by the store below. Writes go behind the answer: bounded in number and in bytes, and dropped
where there are too many, since the answer itself is already given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Protocol

from gateway.cache.shared import from_bytes, to_bytes
from gateway.cache.store import Kept, Recalled, estimated_bytes
from gateway.store.redis_cache import CacheLeftAlone, CacheUnavailable, Stored
from providers.contract import Workers, WorkersBusy

PREFIX = "maskgate:answer:"
WRITES_WAITING = 64
BYTES_WAITING = 64 * 2**20
#: No answer is shared for longer; Redis refuses times near the end of its own calendar.
LONGEST_SECONDS = 366 * 86_400.0
#: How long writes under way are waited for when the gateway stops.
FLUSH_SECONDS = 2.0
#: Reading a byte of an answer takes about 0.1 microseconds (measured 2026-11), as decoding so many pixels does.
PIXELS_PER_BYTE = 16


class SharedResult(StrEnum):
    """What came of one look into the shared cache, or of one write: a metric's label."""

    HIT = "hit"
    MISS = "miss"
    CORRUPT = "corrupt"
    """What was there was no answer to this question: cut, changed, or of another version."""
    FAILED = "failed"
    """Redis did not answer in time, or with an error."""
    LEFT_ALONE = "left_alone"
    """Redis failed lately and was not asked."""
    WRITTEN = "written"
    UNFIT = "unfit"
    """Too large to be shared."""
    DROPPED = "dropped"
    """Not written: too many writes were waiting, or it failed."""


class Shelf(Protocol):
    """Where the bytes are. See `RedisCache`."""

    @property
    def in_use(self) -> bool:
        """Whether it is asked at the moment."""
        ...

    async def get(self, keys: Sequence[str]) -> list[Stored | None]:
        """Return what is under *keys*, or raise `CacheUnavailable`."""
        ...

    async def set(self, key: str, data: bytes, *, seconds: float) -> None:
        """Write, or raise `CacheUnavailable`."""
        ...


class SharedAnswers:
    """Answers on a shelf that other gateways reach, too."""

    def __init__(self, shelf: Shelf, *, workers: Workers, count: Callable[[SharedResult], None]) -> None:
        """Share through *shelf*; read and write masks on *workers*; tell *count* what came of it."""
        self._shelf = shelf
        self._workers = workers
        self._count = count
        self._writes: set[asyncio.Task[None]] = set()
        self._bytes_waiting = 0

    @property
    def in_use(self) -> bool:
        """Whether the shelf is asked at the moment."""
        return self._shelf.in_use

    async def recall(self, keys: Sequence[str], *, size: tuple[int, int]) -> Mapping[str, Recalled]:
        """Return what there is under *keys* about a picture of `(height, width)` pixels; never an error."""
        try:
            found = await self._shelf.get([PREFIX + key for key in keys])
        except CacheUnavailable as error:
            self._count(SharedResult.LEFT_ALONE if isinstance(error, CacheLeftAlone) else SharedResult.FAILED)
            return {}
        recalled: dict[str, Recalled] = {}
        corrupt = False
        for key, stored in zip(keys, found, strict=True):
            if stored is None:
                continue
            read = partial(from_bytes, key, stored.data, size=size)
            try:
                kept = await self._workers.run(read, pixels=PIXELS_PER_BYTE * len(stored.data))
            except WorkersBusy:
                self._count(SharedResult.FAILED)
                return recalled
            except ValueError:
                corrupt = True
            else:
                recalled[key] = Recalled(kept, stored.seconds)
        if corrupt:
            self._count(SharedResult.CORRUPT)
        else:
            self._count(SharedResult.HIT if recalled else SharedResult.MISS)
        return recalled

    def keep(self, key: str, kept: Kept, *, seconds: float) -> None:
        """Share an answer for that many seconds, soon."""
        size = estimated_bytes(kept.segmentation)
        if len(self._writes) >= WRITES_WAITING or self._bytes_waiting + size > BYTES_WAITING:
            self._count(SharedResult.DROPPED)
            return
        self._bytes_waiting += size
        task = asyncio.create_task(self._write(key, kept, min(seconds, LONGEST_SECONDS)))
        self._writes.add(task)
        task.add_done_callback(partial(self._written, size))

    async def close(self) -> None:
        """Wait a while for the writes under way, and drop the rest."""
        if not self._writes:
            return
        _, late = await asyncio.wait(self._writes, timeout=FLUSH_SECONDS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _write(self, key: str, kept: Kept, seconds: float) -> None:
        result = SharedResult.DROPPED
        try:
            runs = sum(instance.mask.runs.nbytes for instance in kept.segmentation.instances)
            data = await self._workers.run(partial(to_bytes, key, kept), pixels=runs)
            if data is None:
                result = SharedResult.UNFIT
                return
            await self._shelf.set(PREFIX + key, data, seconds=seconds)
            result = SharedResult.WRITTEN
        except (CacheUnavailable, WorkersBusy):
            return  # counted below: an answer that is not shared is bought once more, and that is all
        finally:
            self._count(result)

    def _written(self, size: int, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        self._bytes_waiting -= size
