"""
What replicas tell each other of the deployments' health: advice, never proof.

When a breaker opens here, the others are told for how long, and ask that deployment last; each still finds out for
itself. When it closes here, those whose own is open try one call within a moment, instead of waiting until theirs is
half open. What is certain there (a denial, a `Retry-After`) stays as it is.

All of it happens beside the requests, once a second and whenever a breaker here changes: a Redis that is gone or slow
costs no request anything, and replicas then decide alone, as a single one does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.routing.breaker import JITTER, LONGEST_EJECTION_SECONDS
from gateway.routing.health import Change, HealthTable
from gateway.store.hints import Hint, HintBoard, HintsUnavailable

LISTEN_SECONDS = 1.0
#: What is over sooner is not told: most would hear of it when it is over.
LEAST_SECONDS = 2.0
#: How long a replica that was busy may take to hear that a deployment is well again.
CLOSED_SECONDS = 15.0
#: No breaker stays open for longer than that, and so no hint holds for longer, whoever has put it up.
MOST_SECONDS = LONGEST_EJECTION_SECONDS * (1 + JITTER)


class Hints:
    """Tells of this replica's breakers, and listens to the others."""

    def __init__(self, board: HintBoard, *, replica: str, table: Callable[[], HealthTable]) -> None:
        """
        Begin with nothing to tell.

        Args:
            board: where all replicas look.
            replica: this process' name, unlike that of any other, earlier ones included.
            table: returns the health that holds now; another one after the deployments were changed.
        """
        self._board = board
        self._replica = replica
        self._table = table
        self._number = 0
        self._waiting: dict[str, Change] = {}
        self._told_open: set[str] = set()
        self._heard: dict[str, tuple[str, int]] = {}
        self._woken = asyncio.Event()

    def note(self, change: Change) -> None:
        """Have the others told of a change of a breaker here; at once, and without waiting for anything."""
        if change.cause is None and change.deployment not in self._told_open and change.deployment not in self._waiting:
            return
        if change.cause is not None and change.seconds < LEAST_SECONDS:
            return
        self._waiting[change.deployment] = change
        self._woken.set()

    async def run(self) -> None:
        """Tell and listen for ever."""
        while True:
            await self.tell()
            await self.listen()
            try:
                async with asyncio.timeout(LISTEN_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def tell(self) -> None:
        """Tell what is waiting to be told. What cannot be told now is not told later: by then it is old."""
        self._woken.clear()
        waiting, self._waiting = self._waiting, {}
        for name, change in waiting.items():
            opened = change.cause is not None
            if not opened and name not in self._told_open:
                continue
            self._number += 1
            cause = None if change.cause is None else change.cause.value
            seconds = change.seconds if opened else CLOSED_SECONDS
            try:
                await self._board.tell(Hint(name, self._replica, self._number, cause, seconds))
            except HintsUnavailable:
                self._told_open.discard(name)
                continue
            if opened:
                self._told_open.add(name)
            else:
                self._told_open.discard(name)

    async def listen(self) -> None:
        """Take in what others have told since; each hint once."""
        table = self._table()
        try:
            hints = await self._board.read(table.names)
        except HintsUnavailable:
            return
        for hint in hints:
            told = hint.replica, hint.number
            if hint.replica == self._replica or self._heard.get(hint.deployment) == told:
                continue
            self._heard[hint.deployment] = told
            if hint.cause is None:
                table[hint.deployment].hint_closed()
            else:
                table[hint.deployment].hint_open(min(hint.seconds, MOST_SECONDS))
