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
from itertools import islice
from typing import NamedTuple

from gateway.store.batch import Outcome, Posting
from gateway.store.database import Database, LedgerUnavailable
from gateway.store.entry import Entry, Verdict
from gateway.store.lane import Lane, name_writer
from providers.contract import Clock, Resource

#: Entries in one transaction at most; beyond this a batch gains nothing and its callers wait longer.
BATCH = 512
#: Entries that may wait at most; beyond this the database is too slow for what is asked.
QUEUE = 20_000

#: A commit that takes longer is waited for by nobody: a database that hangs would keep every request until it is given
#: up. Long enough for a disk that other programs keep busy.
LATE_SECONDS = 3.0

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_WELL = frozenset({Verdict.WRITTEN, Verdict.RESOLVED, Verdict.HELD})
_MALFORMED = Outcome(Verdict.MALFORMED)

_log = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    """A posting and who waits for it."""

    posting: Posting
    outcome: asyncio.Future[Outcome | None]
    keep: bool


class Journal:
    """The one way by which entries reach the ledger. Belongs to one event loop."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
        new_writer: Callable[[], str] = name_writer,
        late_seconds: float = LATE_SECONDS,
    ) -> None:
        """
        Write to a database.

        Args:
            database: its calls end in bounded time.
            clock: monotonic seconds.
            sleep: waits between the offers of what is parked.
            new_writer: names the writer of a chain, unlike any other.
            late_seconds: how long a commit is waited for; what it brings after that counts all the same.
        """
        self._database = database
        self._clock = clock
        self._sleep = sleep
        self._late_seconds = late_seconds
        self._offered = Lane(database, new_writer)
        self._offered_again = Lane(database, new_writer)
        self._queue: deque[_Waiting] = deque()
        self._parked: deque[Posting] = deque()
        self._flushing: asyncio.Task[None] | None = None
        self._recovering: asyncio.Task[None] | None = None
        self._down_since: float | None = None
        self._late = False
        self._closed = False
        self._shortage: Resource | None = None
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

    @property
    def answers(self) -> bool:
        """Whether the database is known neither to be out of reach nor to take too long."""
        return self._down_since is None and not self._late

    @property
    def shortage(self) -> Resource | None:
        """What this machine has run out of, where that is why the database is out of reach."""
        return None if self._down_since is None else self._shortage

    async def commit(self, entry: Entry, opening: Entry | None = None) -> Verdict:
        """
        Write an entry; when this returns, it is on disk.

        Args:
            entry: what to write.
            opening: the entry that opened its attempt, where it is at hand; else it is looked up.

        Raises:
            LedgerUnavailable: it is not written; or, where `certain` is false, nobody knows.
        """
        return (await self.reserve(entry, opening)).verdict

    async def reserve(self, entry: Entry, opening: Entry | None = None) -> Outcome:
        """Write an entry and say how the budgets stand that it was measured by; see `commit` for the rest."""
        if self._closed or not self.answers:
            raise LedgerUnavailable("the ledger's database does not answer", certain=True, shortage=self.shortage)
        if len(self._queue) >= QUEUE:
            raise LedgerUnavailable(f"{QUEUE} entries wait for the ledger's database already", certain=True)
        outcome = await self._offer(Posting(entry, opening), keep=False)
        assert outcome is not None
        return outcome

    def keep(self, entry: Entry, opening: Entry | None = None) -> asyncio.Future[Outcome | None]:
        """
        Take an entry that must not be lost. Whoever waits may be cancelled: the entry is written all the same.

        It is written before whatever is given to this journal afterwards, or in one transaction with it: who goes on to
        reserve need not wait.

        Args:
            entry: what to write.
            opening: as with `commit`.

        Returns:
            What becomes of it, once that is known; None where the entry is parked, or waited for no longer.
        """
        posting = Posting(entry, opening)
        if self._closed or self._down_since is not None:
            self.park(posting)
        else:
            offered = self._offer(posting, keep=True)
            if not self._late:
                return offered
        nobody_waits: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        nobody_waits.set_result(None)
        return nobody_waits

    def park(self, *postings: Posting) -> None:
        """Have entries written later, in their order."""
        self._parked.extend(postings)
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

    def _offer(self, posting: Posting, *, keep: bool) -> asyncio.Future[Outcome | None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome | None] = loop.create_future()
        self._queue.append(_Waiting(posting, future, keep))
        if self._flushing is None:
            self._flushing = loop.create_task(self._flush(), name="ledger journal")
        return future

    async def _flush(self) -> None:
        """Commit batch after batch until nobody waits."""
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                doubt = asyncio.get_running_loop().call_later(self._late_seconds, self._doubt, batch)
                try:
                    outcomes = await self._write([waiting.posting for waiting in batch], self._offered)
                except LedgerUnavailable as failure:
                    self._fail(batch, failure)
                    continue
                except BaseException:
                    self._fail(batch, LedgerUnavailable("the journal was stopped", certain=False))
                    raise
                finally:
                    doubt.cancel()
                    self._late = False
                for waiting, outcome in zip(batch, outcomes, strict=True):
                    if not waiting.outcome.done():
                        waiting.outcome.set_result(outcome)
        finally:
            self._flushing = None

    async def _write(self, batch: Sequence[Posting], lane: Lane, *, tries: int = 2) -> list[Outcome]:
        """
        Write a batch, a second time where the first failed, and in halves where one entry spoils it.

        The second try mends a connection that had gone stale, and finds out about a commit of which the answer was
        lost: what the first try has written is found to be there.
        """
        certain = True
        while True:
            try:
                outcomes = await lane.transact(batch)
            except LedgerUnavailable as failure:
                if failure.values_at_fault:
                    return await self._write_apart(batch, lane)
                certain = certain and failure.certain
                tries -= 1
                if not tries:
                    raise LedgerUnavailable(str(failure), certain=certain, shortage=failure.shortage) from failure
            else:
                self.transactions += bool(batch)
                self.operations += len(batch)
                return outcomes

    async def _write_apart(self, batch: Sequence[Posting], lane: Lane) -> list[Outcome]:
        """Write a batch in halves, down to the entry whose values the database refuses."""
        if len(batch) == 1:
            return [_MALFORMED]
        middle = len(batch) // 2
        try:
            return await self._write(batch[:middle], lane) + await self._write(batch[middle:], lane)
        except LedgerUnavailable as failure:
            raise LedgerUnavailable(str(failure), certain=False) from failure

    def _doubt(self, batch: Sequence[_Waiting]) -> None:
        """
        Let everybody go on, since a commit takes too long.

        What is in it may be written yet, and so may what has to be kept behind it; the rest of those who wait are told
        that nothing of theirs is.
        """
        self._late = True
        _log.warning("the ledger's database has not answered for %s s", self._late_seconds)
        waiting, self._queue = self._queue, deque(each for each in self._queue if each.keep)
        for certain, those in ((False, batch), (True, waiting)):
            for each in those:
                if each.outcome.done():
                    continue
                if each.keep:
                    each.outcome.set_result(None)
                else:
                    each.outcome.set_exception(
                        LedgerUnavailable("the ledger's database takes too long", certain=certain)
                    )

    def _fail(self, batch: Sequence[_Waiting], failure: LedgerUnavailable) -> None:
        """Tell those of a failed batch, and at once all who wait behind it, of whom nothing was written."""
        if self._down_since is None:
            self._down_since = self._clock()
            say = _log.error if failure.shortage is None else _log.warning
            say("the ledger's database is out of reach: %s", failure)
        self._shortage = failure.shortage
        waiting, self._queue = self._queue, deque()
        for certain, those in ((failure.certain, batch), (True, waiting)):
            for posting, future, keep in those:
                if keep:
                    self._parked.append(posting)
                if future.done():
                    continue
                if keep:
                    future.set_result(None)
                else:
                    future.set_exception(LedgerUnavailable(str(failure), certain=certain, shortage=failure.shortage))
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
                    outcomes = await self._write(batch, self._offered_again)
                except LedgerUnavailable as failure:
                    self._shortage = failure.shortage
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                    continue
                pause = _FIRST_PAUSE_SECONDS
                self._down_since = None
                for outcome in outcomes:
                    posting = self._parked.popleft()
                    if outcome.verdict not in _WELL:
                        _log.error("a parked entry is refused as %s: %s", outcome.verdict, posting.entry)
        finally:
            self._recovering = None
