"""
Keep and recall answers: least recently used out first, bounded in bytes, each for its time.

Behind this process's own answers there may be some that several gateways share; see `sharing.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.request import Origin
from providers.contract import Clock, Segmentation

#: What one instance and one entry take beside their runs, in bytes; an estimate on the safe side.
INSTANCE_BYTES = 600
ENTRY_BYTES = 1200


@dataclass(frozen=True, slots=True)
class Kept:
    """A bought answer."""

    segmentation: Segmentation
    origin: Origin


@dataclass(frozen=True, slots=True)
class Recalled:
    """An answer that somebody else kept."""

    kept: Kept
    seconds: float | None
    """How much of its time is left; None for ever."""


class SecondLevel(Protocol):
    """Answers that several gateways share. See `SharedAnswers`."""

    @property
    def in_use(self) -> bool:
        """Whether it is asked at the moment."""
        ...

    async def recall(self, keys: Sequence[str], *, size: tuple[int, int]) -> Mapping[str, Recalled]:
        """Return what there is under *keys* about a picture of `(height, width)` pixels; never an error."""
        ...

    def keep(self, key: str, kept: Kept, *, seconds: float) -> None:
        """Share an answer for that many seconds, soon; never an error."""
        ...


class AnswerCache:
    """Answers of this process, by name, and the way to those that are shared."""

    def __init__(
        self,
        *,
        max_bytes: int,
        ttl_seconds: float,
        empty_ttl_seconds: float,
        clock: Clock,
        shared: SecondLevel | None = None,
    ) -> None:
        """
        Start empty.

        Args:
            max_bytes: of all entries together.
            ttl_seconds: how long an answer is kept where the request says nothing.
            empty_ttl_seconds: the longest that "nothing found" is kept: a model may be better tomorrow.
            clock: monotonic seconds.
            shared: answers of other gateways; None where there are none.
        """
        self.shared = shared
        self._max_bytes = max_bytes
        self._ttl_seconds = ttl_seconds
        self._empty_ttl_seconds = empty_ttl_seconds
        self._clock = clock
        self._entries: OrderedDict[str, tuple[Kept, float, int]] = OrderedDict()
        self.bytes = 0

    def recall(self, key: str) -> Kept | None:
        """Return the answer kept under *key*, if its time is not over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        kept, until, _ = entry
        if until <= self._clock():
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return kept

    async def recall_shared(self, keys: Sequence[str], *, size: tuple[int, int]) -> list[Kept]:
        """
        Return what other gateways have kept under *keys*, in their order; keep it here for the rest of its time.

        Args:
            keys: names.
            size: `(height, width)` of the picture in pixels; an answer about another one is none.
        """
        if self.shared is None:
            return []
        recalled = await self.shared.recall(keys, size=size)
        for key, each in recalled.items():
            seconds = self._seconds(each.kept, None)
            self._hold(key, each.kept, seconds if each.seconds is None else min(seconds, each.seconds))
        return [recalled[key].kept for key in keys if key in recalled]

    def keep(self, key: str, kept: Kept, *, ttl_seconds: float | None) -> None:
        """Keep an answer, and let the least recently used ones go where there is no room."""
        seconds = self._seconds(kept, ttl_seconds)
        self._hold(key, kept, seconds)
        if self.shared is not None:
            self.shared.keep(key, kept, seconds=seconds)

    def _seconds(self, kept: Kept, wanted: float | None) -> float:
        """Return how long an answer is kept."""
        seconds = self._ttl_seconds if wanted is None else wanted
        return seconds if kept.segmentation.instances else min(seconds, self._empty_ttl_seconds)

    def _hold(self, key: str, kept: Kept, seconds: float) -> None:
        self._forget(key)
        size = estimated_bytes(kept.segmentation)
        if size > self._max_bytes:
            return
        self._entries[key] = (kept, self._clock() + seconds, size)
        self.bytes += size
        while self.bytes > self._max_bytes:
            self._forget(next(iter(self._entries)))

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry[2]


def estimated_bytes(segmentation: Segmentation) -> int:
    """Estimate an answer's bytes: its runs, and their text once somebody asked for it."""
    return ENTRY_BYTES + sum(INSTANCE_BYTES + 2 * instance.mask.runs.nbytes for instance in segmentation.instances)
