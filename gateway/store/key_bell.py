"""
How every gateway on one database hears at once that a key was changed, so that it may remember the others.

Whoever changes a key rings in the transaction that changes it. On PostgreSQL that is a notification, which arrives when
the transaction is committed. On SQLite it is a byte more in a file beside the database, written before the commit: who
finds the file changed waits for the writer (`settled`) before it remembers anything anew. So a gateway that dies
between the byte and the commit leaves nothing behind that others could trip over.

Silence counts only while somebody listens: `Heard.period` is None when the bell could not be heard, and then nothing
that is remembered may be used.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import asyncpg  # type: ignore[import-untyped]  # ships no types
from sqlalchemy import Connection, func, select
from sqlalchemy.engine import URL, make_url

from gateway.store.database import LedgerUnavailable
from providers.contract import Clock, Sleep

CHANNEL = "maskgate_keys"
#: What a listener sends to hear itself; everything else is a ring.
_TEST = "test"

#: Between two proofs that the listening connection still carries anything.
HEARTBEAT_SECONDS = 1.0
#: A connection that has proved nothing for longer than this counts as lost.
PATIENCE_SECONDS = 3.0
#: How long the server may take to connect, or to answer a heartbeat.
ANSWER_SECONDS = 2.0
#: Between two attempts to listen.
RETRY_SECONDS = 0.25


_LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@dataclass(frozen=True, slots=True)
class Heard:
    """What has been heard by a moment."""

    rings: object
    """Differs from what it was before when the bell has rung since."""
    period: int | None
    """Of listening without a gap; None when nobody listens at the moment."""


class KeyBell(Protocol):
    """Tells when keys were changed."""

    def heard(self) -> Heard:
        """Return what has been heard by now; within microseconds."""

    async def settled(self) -> bool:
        """Wait until what has rung can be read in the database; False where nobody knows whether it can."""

    async def close(self) -> None:
        """Stop listening."""


def ring(connection: Connection) -> None:
    """Ring for a change in the transaction that makes it."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_notify(CHANNEL, "")))
        return
    database = connection.engine.url.database
    assert database is not None  # a ledger has a file
    _touch(bell_file(Path(database)), like=Path(database))


def bell_file(database: Path) -> Path:
    """Return the file beside a database that grows with every change of a key."""
    resolved = database.resolve()
    return resolved.with_name(f"{resolved.name}-keys")


def _touch(file: Path, *, like: Path) -> None:
    """Make a file one byte longer; one that root makes belongs to whom the database belongs to."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        if os.geteuid() == 0:
            owner = like.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.write(descriptor, b".")
    finally:
        os.close(descriptor)


async def open_bell(
    url: str,
    *,
    settle: Callable[[], Awaitable[None]],
    clock: Clock,
    log: Any,
    sleep: Sleep = asyncio.sleep,
) -> KeyBell:
    """
    Listen for the changes of a database's keys. It returns when it listens, or has tried to; it goes on trying.

    Args:
        url: the database's.
        settle: `Keys.settle`.
        clock: monotonic seconds.
        log: is told when the connection that listens is lost.
        sleep: waits between two attempts to listen.
    """
    parsed = make_url(url)
    if parsed.drivername.partition("+")[0] == "sqlite":
        return FileBell(Path(str(parsed.database)), settle)
    bell = NotificationBell(parsed, clock=clock, sleep=sleep, log=log)
    await bell.open()
    return bell


class FileBell:
    """The bell of a SQLite database: heard by every process on its machine."""

    def __init__(self, database: Path, settle: Callable[[], Awaitable[None]]) -> None:
        """
        Listen beside a database file.

        Args:
            database: the file.
            settle: returns once every change that had begun has been committed or given up.
        """
        self._file = bell_file(database)
        self._settle = settle
        self._settled: object = ()
        self._last = Heard((), 0)

    def heard(self) -> Heard:
        """Return how the file stands; a file that cannot be looked at is heard by nobody."""
        try:
            found = os.stat(self._file)  # noqa: PTH116 - on the way of every request
        except FileNotFoundError:
            return Heard(None, 0)
        except OSError:
            return Heard(None, None)
        rings = (found.st_ino, found.st_size, found.st_mtime_ns)
        if rings != self._last.rings:
            self._last = Heard(rings, 0)
        return self._last

    async def settled(self) -> bool:
        """Wait for whoever rang to commit, once for each ring."""
        rings = self.heard().rings
        if rings == self._settled:
            return True
        try:
            await self._settle()
        except LedgerUnavailable:
            return False
        self._settled = rings
        return True

    async def close(self) -> None:
        """Leave the file where it is."""


class NotificationBell:
    """The bell of a PostgreSQL database, on a connection of its own."""

    def __init__(self, url: URL, *, clock: Clock, sleep: Sleep, log: Any) -> None:
        """Name the server; `open` begins to listen. See `open_bell`."""
        self._arguments = _arguments(url)
        self._clock = clock
        self._sleep = sleep
        self._log = log
        self._rings = 0
        self._period = 0
        self._alive_at: float | None = None
        self._task: asyncio.Task[None] | None = None
        self.news = asyncio.Event()
        """Set whenever the bell rings, begins to listen, or has lost its connection; whoever waits clears it."""

    async def open(self) -> None:
        """Begin to listen, and wait until it does, or the first attempt has failed."""
        self._task = asyncio.create_task(self._listen())
        await self.news.wait()

    def heard(self) -> Heard:
        """Return the number of rings so far, and whether it would have heard more."""
        alive = self._alive_at is not None and self._clock() - self._alive_at < PATIENCE_SECONDS
        return Heard(self._rings, self._period if alive else None)

    async def settled(self) -> bool:
        """Return at once: a notification comes when its transaction can be read."""
        return True

    async def close(self) -> None:
        """End the connection."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        """Listen, and when the connection is lost listen anew, until cancelled."""
        while True:
            try:
                await self._hear()
            except (*_LOST, OSError, TimeoutError) as error:
                self._log.warning("key_bell_lost", reason=str(error) or type(error).__name__)
            finally:
                self._fall_deaf()
            await self._sleep(RETRY_SECONDS)

    async def _hear(self) -> None:
        """Listen on one connection until it is lost."""
        connection = await asyncpg.connect(**self._arguments, timeout=ANSWER_SECONDS)
        lost, proved = asyncio.Event(), asyncio.Event()

        def hear(_connection: object, _process: int, _channel: str, payload: str) -> None:
            if payload == _TEST:
                proved.set()
                return
            self._rings += 1
            self.news.set()

        def lose(_connection: object) -> None:
            self._fall_deaf()
            lost.set()

        try:
            connection.add_termination_listener(lose)
            await connection.add_listener(CHANNEL, hear)
            # Behind a pooler that lends connections by the transaction, listening is taken and nothing is heard.
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, _TEST, timeout=ANSWER_SECONDS)
            async with asyncio.timeout(ANSWER_SECONDS):
                await proved.wait()
            self._period += 1
            while not lost.is_set():
                sent = self._clock()
                await connection.execute("SELECT 1", timeout=ANSWER_SECONDS)
                if self._alive_at is None:
                    self.news.set()
                self._alive_at = sent
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await lost.wait()
        finally:
            connection.terminate()  # not closed: a server that is stopped in the middle would keep us waiting

    def _fall_deaf(self) -> None:
        """Note that nothing is heard from now on."""
        self._alive_at = None
        self.news.set()


def _arguments(url: URL) -> dict[str, Any]:
    """Return how asyncpg is told of the server: as SQLAlchemy tells it, so that one address means one thing."""
    url = url.set(drivername="postgresql+asyncpg")
    _, arguments = url.get_dialect()().create_connect_args(url)
    ours = {"server_settings": {"application_name": "maskgate keys"}}
    return {name: value for name, value in arguments.items() if not name.startswith("prepared_statement_")} | ours
