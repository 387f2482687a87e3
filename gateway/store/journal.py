"""
Group commit: entries that arrive while one transaction runs share the next.

There is no timer. Under no load an entry is committed alone and at once; under load the batches grow by themselves,
because a flush to disk takes as long for five hundred entries as for one.

An entry is offered in one of two ways. `commit` is for what may be refused: it fails when the database does. `keep` is
for what must not be lost: it is parked in memory and offered again until it is written. The parked ones are lost when
the process dies; then their attempts are open reservations, and the sweep holds them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import islice

from gateway.store.batch import apply
from gateway.store.database import Database, LedgerUnavailable
from gateway.store.entry import Entry, Verdict
from providers.contract import Clock

#: Entries in one transaction at most; beyond this a batch gains nothing and its callers wait longer.
BATCH = 512
#: Entries that may wait at most; beyond this the database is too slow for what is asked.
QUEUE = 20_000

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_LOST = frozenset({Verdict.CLASHED, Verdict.UNOPENED, Verdict.EXCESSIVE, Verdict.MALFORMED})

_log = logging.getLogger(__name__)


class Journal:
    """The one way by which entries reach the ledger. Belongs to one event loop."""

    def __init__(self, database: Database, *, clock: Clock, sleep: Callable[[float], Awaitable[None]]) -> None:
        """
        Write to a database.

        Args:
            database: its calls end in bounded time.
            clock: monotonic seconds.
            sleep: waits between the offers of what is parked.
        """
        self._database = database
        self._clock = clock
        self._sleep = sleep
        self._queue: deque[tuple[Entry, asyncio.Future[Verdict | None], bool]] = deque()
        self._parked: deque[Entry] = deque()
        self._flushing: asyncio.Task[None] | None = None
        self._recovering: asyncio.Task[None] | None = None
        self._down_since: float | None = None
        self._closed = False
        self.transactions = 0
        """Transactions that were committed with entries in them."""
        self.operations = 0
        """Entries that went through them."""

    @property
    def parked(self) -> int:
        """Entries that the database has not taken yet."""
        return len(self._parked)

    @property
    def down_seconds(self) -> float | None:
        """How long the database has been out of reach; None while it answers."""
        return None if self._down_since is None else self._clock() - self._down_since

    async def commit(self, entry: Entry) -> Verdict:
        """
        Write an entry; when this returns, it is on disk.

        Raises:
            LedgerUnavailable: it is not written; or, where `certain` is false, nobody knows.
        """
        if self._closed or self._down_since is not None:
            raise LedgerUnavailable("the ledger's database is out of reach", certain=True)
        if len(self._queue) >= QUEUE:
            raise LedgerUnavailable(f"{QUEUE} entries wait for the ledger's database already", certain=True)
        verdict = await self._offer(entry, keep=False)
        assert verdict is not None
        return verdict

    async def keep(self, entry: Entry) -> Verdict | None:
        """
        Write an entry that must not be lost. A cancelled caller changes nothing: the entry is written all the same.

        Returns:
            The verdict; None where the entry is parked.
        """
        if self._closed or self._down_since is not None:
            self.park(entry)
            return None
        return await self._offer(entry, keep=True)

    def park(self, *entries: Entry) -> None:
        """Have entries written later, in their order."""
        self._parked.extend(entries)
        self._recover()

    async def close(self, *, patience_seconds: float = 5.0) -> None:
        """Take no more entries, write what waits and what is parked, and say what could not be written."""
        self._closed = True
        try:
            async with asyncio.timeout(patience_seconds):
                while (task := self._flushing or self._recovering) is not None:
                    await asyncio.wait({task})
        except TimeoutError:
            await self._stop()
        if self._parked:
            _log.error("%d entries were not written: the sweep will hold their attempts", len(self._parked))

    async def _stop(self) -> None:
        """End both tasks, the journal's first: what it had in hand it hands to the other."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait({self._flushing})
        if self._recovering is not None:
            self._recovering.cancel()
            await asyncio.wait({self._recovering})

    def _offer(self, entry: Entry, *, keep: bool) -> asyncio.Future[Verdict | None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Verdict | None] = loop.create_future()
        self._queue.append((entry, future, keep))
        if self._flushing is None:
            self._flushing = loop.create_task(self._flush(), name="ledger journal")
        return future

    async def _flush(self) -> None:
        """Commit batch after batch until nobody waits."""
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                try:
                    verdicts = await self._write([entry for entry, _, _ in batch])
                except LedgerUnavailable as failure:
                    self._fail(batch, failure)
                    continue
                except BaseException:
                    self._fail(batch, LedgerUnavailable("the journal was stopped", certain=False))
                    raise
                for (_, future, _), verdict in zip(batch, verdicts, strict=True):
                    if not future.done():
                        future.set_result(verdict)
        finally:
            self._flushing = None

    async def _write(self, entries: Sequence[Entry], *, tries: int = 2) -> list[Verdict]:
        """
        Write a batch, a second time where the first failed, and in halves where one entry spoils it.

        The second try mends a connection that had gone stale, and finds out about a commit of which the answer was
        lost: what the first try has written is found to be there.
        """
        certain = True
        while True:
            try:
                verdicts = await self._database.write(partial(apply, batch=entries))
            except LedgerUnavailable as failure:
                if failure.values_at_fault:
                    return await self._write_apart(entries)
                certain = certain and failure.certain
                tries -= 1
                if not tries:
                    raise LedgerUnavailable(str(failure), certain=certain) from failure
            else:
                self.transactions += bool(entries)
                self.operations += len(entries)
                return verdicts

    async def _write_apart(self, entries: Sequence[Entry]) -> list[Verdict]:
        """Write a batch in halves, down to the entry whose values the database refuses."""
        if len(entries) == 1:
            return [Verdict.MALFORMED]
        middle = len(entries) // 2
        try:
            return await self._write(entries[:middle]) + await self._write(entries[middle:])
        except LedgerUnavailable as failure:
            raise LedgerUnavailable(str(failure), certain=False) from failure

    def _fail(
        self, batch: list[tuple[Entry, asyncio.Future[Verdict | None], bool]], failure: LedgerUnavailable
    ) -> None:
        """Tell those of a failed batch, and at once all who wait behind it, of whom nothing was written."""
        if self._down_since is None:
            self._down_since = self._clock()
            _log.error("the ledger's database is out of reach: %s", failure)
        waiting, self._queue = self._queue, deque()
        for certain, those in ((failure.certain, batch), (True, waiting)):
            for entry, future, keep in those:
                if keep:
                    self._parked.append(entry)
                if future.done():
                    continue
                if keep:
                    future.set_result(None)
                else:
                    future.set_exception(LedgerUnavailable(str(failure), certain=certain))
        self._recover()

    def _recover(self) -> None:
        if self._recovering is None:
            self._recovering = asyncio.get_running_loop().create_task(self._offer_again(), name="ledger recovery")

    async def _offer_again(self) -> None:
        """Knock until the database answers and nothing is parked."""
        pause = _FIRST_PAUSE_SECONDS
        try:
            while self._parked or self._down_since is not None:
                await self._sleep(pause)
                batch = list(islice(self._parked, BATCH))
                try:
                    verdicts = await self._write(batch)
                except LedgerUnavailable:
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                    continue
                pause = _FIRST_PAUSE_SECONDS
                self._down_since = None
                for verdict in verdicts:
                    entry = self._parked.popleft()
                    if verdict in _LOST:
                        _log.error("a parked entry is refused as %s: %s", verdict, entry)
        finally:
            self._recovering = None
