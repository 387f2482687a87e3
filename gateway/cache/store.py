"""Keep and recall answers: least recently used out first, bounded in bytes, each for its time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

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


class AnswerCache:
    """Answers of this process, by name."""

    def __init__(self, *, max_bytes: int, ttl_seconds: float, empty_ttl_seconds: float, clock: Clock) -> None:
        """
        Start empty.

        Args:
            max_bytes: of all entries together.
            ttl_seconds: how long an answer is kept where the request says nothing.
            empty_ttl_seconds: the longest that "nothing found" is kept: a model may be better tomorrow.
            clock: monotonic seconds.
        """
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

    def keep(self, key: str, kept: Kept, *, ttl_seconds: float | None) -> None:
        """Keep an answer, and let the least recently used ones go where there is no room."""
        self._forget(key)
        size = _size(kept.segmentation)
        if size > self._max_bytes:
            return
        seconds = self._ttl_seconds if ttl_seconds is None else ttl_seconds
        if not kept.segmentation.instances:
            seconds = min(seconds, self._empty_ttl_seconds)
        self._entries[key] = (kept, self._clock() + seconds, size)
        self.bytes += size
        while self.bytes > self._max_bytes:
            self._forget(next(iter(self._entries)))

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry[2]


def _size(segmentation: Segmentation) -> int:
    """Estimate an answer's bytes: its runs, and their text once somebody asked for it."""
    return ENTRY_BYTES + sum(INSTANCE_BYTES + 2 * instance.mask.runs.nbytes for instance in segmentation.instances)
