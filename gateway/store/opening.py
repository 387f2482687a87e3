"""From a database's address to the database, its tables made."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from gateway.store.database import Database
from gateway.store.postgres import PostgresDatabase
from gateway.store.sqlite import SqliteDatabase


async def open_database(url: str, *, connect_seconds: float = 2.0) -> Database:
    """
    Open a database and create the tables that are missing.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path` or `postgresql://user@host/db`.
        connect_seconds: how long one connection to a server may take.

    Raises:
        ValueError: the address is none of these.
        LedgerUnavailable: the database cannot be opened.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError(f"not the address of a database: {_hidden(url)}; {_FORMS}") from None
    opened = _named(parsed, connect_seconds=connect_seconds)
    try:
        await opened.open()
    except BaseException:
        await opened.close()
        raise
    return opened


_FORMS = "write sqlite:///path/to/ledger.db or postgresql://user@host/database"


def _named(url: URL, *, connect_seconds: float) -> SqliteDatabase | PostgresDatabase:
    """Return the unopened database at an address."""
    kind = url.drivername.partition("+")[0]
    if kind == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ValueError(f"a ledger has to outlive its process, so it needs a file: {_FORMS}")
        return SqliteDatabase(Path(url.database))
    if kind in {"postgresql", "postgres"}:
        return PostgresDatabase(url, connect_seconds=connect_seconds)
    raise ValueError(f"no database of the kind {kind!r} is known; {_FORMS}")


def _hidden(url: str) -> str:
    """Return an address without what stands before its @, which may hold a password."""
    return url.rpartition("@")[2]
