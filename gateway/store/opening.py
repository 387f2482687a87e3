"""From a database's address to the database, its schema at this code's revision."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError

from gateway.store.database import Database, LedgerUnavailable, Work
from gateway.store.migrating import bring_to_head, pending, read_revision
from gateway.store.postgres import PostgresDatabase
from gateway.store.sqlite import SqliteDatabase

_FORMS = "write sqlite:///path/to/ledger.db or postgresql://user@host/database"
_TRIES = 20
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class SchemaState:
    """How a database's schema stands to this code."""

    revision: str | None
    """What the database is at; None where there is no ledger in it."""
    pending: tuple[str, ...]
    """What it still has to go through."""


async def open_database(url: str, *, connect_seconds: float = 2.0) -> Database:
    """
    Open a database. A new one gets its tables; a SQLite file of an older release is upgraded.

    Why only SQLite: a file has one gateway, which is this one; behind PostgreSQL gateways of the older release may
    still be at work, so that their operator says when.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path` or `postgresql://user@host/db`.
        connect_seconds: how long one connection to a server may take.

    Raises:
        ValueError: the address is none of these.
        SchemaUnfit: the database is at a revision that this code cannot work with.
        LedgerUnavailable: the database cannot be opened.
    """
    parsed = _parsed(url)
    file = _file(parsed)
    opened = _named(parsed, connect_seconds=connect_seconds)
    try:
        await _bring_to_head(opened, file, upgrade=file is not None)
    except BaseException:
        await opened.close()
        raise
    return opened


async def upgrade_database(url: str, *, connect_seconds: float = 10.0) -> SchemaState:
    """
    Bring a database to this code's revision, whatever its kind; see `open_database` for the rest.

    Returns:
        How it stood before.
    """
    parsed = _parsed(url)
    opened = _named(parsed, connect_seconds=connect_seconds)
    try:
        before = await _bring_to_head(opened, _file(parsed), upgrade=True)
    finally:
        await opened.close()
    return SchemaState(before, pending(before))


async def examine_database(url: str, *, connect_seconds: float = 10.0) -> SchemaState:
    """
    Say how a database's schema stands to this code, and change nothing; a file that is not there is not made.

    Raises:
        ValueError: the address is none of a database.
        SchemaUnfit: it is at a revision that this code does not know.
        LedgerUnavailable: it cannot be read.
    """
    parsed = _parsed(url)
    file = _file(parsed)
    if file is not None and not file.exists():
        return SchemaState(None, pending(None))
    opened = _named(parsed, connect_seconds=connect_seconds)
    try:
        revision = await opened.read(read_revision)
    finally:
        await opened.close()
    return SchemaState(revision, pending(revision))


async def _bring_to_head(opened: SqliteDatabase | PostgresDatabase, file: Path | None, *, upgrade: bool) -> str | None:
    """Bring the schema to this code's revision; return the one it was at."""
    if file is not None:
        _make(file)
    work: Work[str | None] = partial(bring_to_head, upgrade=upgrade)
    for _ in range(_TRIES - 1):
        try:
            return await opened.write(work)
        except LedgerUnavailable as failure:
            # Another process upgrades the file; or it turns the write-ahead log on, for which SQLite does not wait.
            if not (isinstance(failure.__cause__, OperationalError) and "locked" in str(failure)):
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
    return await opened.write(work)


def _make(file: Path) -> None:
    """
    Make a ledger file for its owner alone, where there is none.

    Raises:
        LedgerUnavailable: it cannot be made.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
    except OSError as error:
        raise LedgerUnavailable(f"the ledger file {file} cannot be made: {error}", certain=True) from error


def _parsed(url: str) -> URL:
    """Return an address in its parts."""
    try:
        return make_url(url)
    except ArgumentError:
        raise ValueError(f"not the address of a database: {_hidden(url)}; {_FORMS}") from None


def _file(url: URL) -> Path | None:
    """Return the file at an address; None where a server is named."""
    if url.drivername.partition("+")[0] != "sqlite":
        return None
    if not url.database or url.database == ":memory:":
        raise ValueError(f"a ledger has to outlive its process, so it needs a file: {_FORMS}")
    return Path(url.database)


def _named(url: URL, *, connect_seconds: float) -> SqliteDatabase | PostgresDatabase:
    """Return the unopened database at an address."""
    file = _file(url)
    if file is not None:
        return SqliteDatabase(file)
    kind = url.drivername.partition("+")[0]
    if kind in {"postgresql", "postgres"}:
        return PostgresDatabase(url, connect_seconds=connect_seconds)
    raise ValueError(f"no database of the kind {kind!r} is known; {_FORMS}")


def _hidden(url: str) -> str:
    """Return an address without what stands before its @, which may hold a password."""
    return url.rpartition("@")[2]
