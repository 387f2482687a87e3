"""
SQLite: one file, one writing thread, one reading thread; other processes may use the same file.

Every transaction that writes begins IMMEDIATE: one that reads first and writes later fails at once when another
process writes, whatever the busy timeout says. `synchronous=FULL` with the write-ahead log flushes every commit.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    DataError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.pool import NullPool

from gateway.store.database import LedgerUnavailable, Work, told
from providers.contract import shortage_of

T = TypeVar("T")

#: Below the journal's patience for one try, so that a locked file is told apart from a hanging disk.
BUSY_MILLISECONDS = 1500

#: Of SQLAlchemy, and of the driver, where statements are executed below it.
_VALUES_AT_FAULT = (
    IntegrityError,
    DataError,
    InterfaceError,
    ProgrammingError,
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeError,
)


class _Line:
    """One connection and the thread that alone uses it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._closed = False

    async def do(self, work: Work[T]) -> T:
        """Do the work in one transaction on the thread."""
        if self._closed:  # what came behind the end would still be written, with nobody to hear of it
            raise LedgerUnavailable("the ledger's database is closed", certain=True)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)
        except RuntimeError as error:  # the work is in the queue already, and a later one may start the thread
            shortage = shortage_of(error)
            if shortage is None:
                raise
            raise LedgerUnavailable(str(error), certain=False, shortage=shortage) from error

    def _transact(self, work: Work[T]) -> T:
        committing = False
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            with self._connection.begin() as transaction:
                result = work(self._connection)
                committing = True
                transaction.commit()
        except (SQLAlchemyError, sqlite3.Error, OSError, OverflowError, UnicodeError, MemoryError) as error:
            shortage = shortage_of(error)  # before anything is closed, which may end it
            self._drop()
            at_fault = shortage is None and isinstance(error, _VALUES_AT_FAULT) and not committing
            raise LedgerUnavailable(
                told(error), certain=not committing, values_at_fault=at_fault, shortage=shortage
            ) from error
        return result

    def _drop(self) -> None:
        """Close the connection; the next work opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def close(self) -> None:
        """Close the connection on its thread and end the thread; what was asked for before is done."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
        self._thread.shutdown(wait=False)


class SqliteDatabase:
    """A ledger file. See `Database`."""

    def __init__(self, path: Path) -> None:
        """Name the file, which is there; see `open_database`."""
        self._path = path
        self._writer = _Line(_engine(path, reads=False), "ledger-writer")
        self._reader = _Line(_engine(path, reads=True), "ledger-reader")

    async def write(self, work: Work[T]) -> T:
        """Do the work in one transaction that is flushed to disk."""
        return await self._writer.do(work)

    async def read(self, work: Work[T]) -> T:
        """Do work that only reads, beside the writer."""
        return await self._reader.do(work)

    async def close(self) -> None:
        """Close both connections and end both threads."""
        await self._reader.close()
        await self._writer.close()


def _engine(path: Path, *, reads: bool) -> Engine:
    """Return an engine whose connections have our settings and begin transactions as told."""
    url = URL.create("sqlite+pysqlite", database=str(path))
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_MILLISECONDS / 1000})

    def settle_in(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # pysqlite begins no transaction of its own
        connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
        if reads:
            connection.execute("PRAGMA query_only=ON")
        else:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", settle_in)
    event.listen(engine, "begin", begin)
    return engine
