"""
Which revision of the schema a database is at, and how it comes to this code's.

A database that is new is made at the newest revision at once. One that is older is migrated by the scripts in
`migrations/`, in the transaction of the caller: killed in the middle, nothing has happened. Whether there is anything
to do is one plain look at `alembic_version`, because Alembic takes long to import and gateways start often.
"""

from __future__ import annotations

import logging

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    delete,
    insert,
    inspect,
    select,
)

from gateway.store.database import LedgerUnavailable
from gateway.store.tables import create_tables

#: Every revision that this code knows, the oldest first. The first one was made before revisions were written down.
REVISIONS = ("0001", "0002", "0003", "0004", "0005")
HEAD = REVISIONS[-1]

#: Has starters on PostgreSQL take turns, where two CREATE TABLE at once would fail; SQLite has one writer anyway.
_LOCK = 0x6D61736B

#: As Alembic makes it.
_version = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

_log = logging.getLogger(__name__)


class SchemaUnfit(LedgerUnavailable):
    """The database is at another revision of the schema than this code. The message says what to do."""

    def __init__(self, message: str) -> None:
        """Say what is the matter; nothing was written."""
        super().__init__(message, certain=True)


def read_revision(connection: Connection) -> str | None:
    """Return the revision that a database is at; None where there is no ledger in it."""
    tables = inspect(connection)
    if tables.has_table(_version.name):
        return connection.execute(select(_version.c.version_num)).scalar()
    return REVISIONS[0] if tables.has_table("entries") else None


def pending(revision: str | None) -> tuple[str, ...]:
    """
    Return the revisions that a database at *revision* still has to go through, in their order.

    Raises:
        SchemaUnfit: this code does not know the revision: it is a newer one's.
    """
    if revision is None:
        return REVISIONS
    if revision not in REVISIONS:
        raise SchemaUnfit(
            f"the ledger's schema is at revision {revision}, and this release of Maskgate knows none after {HEAD}:"
            " a newer release has upgraded it. Start that release, or restore the backup from before the upgrade."
        )
    return REVISIONS[REVISIONS.index(revision) + 1 :]


def bring_to_head(connection: Connection, *, upgrade: bool) -> str | None:
    """
    Make the tables of a new database; migrate an older one. Of several processes that start at once, one does it.

    Args:
        connection: in a transaction, which on SQLite has begun IMMEDIATE.
        upgrade: whether an older one may be migrated.

    Returns:
        The revision that the database was at; None where it was empty.

    Raises:
        SchemaUnfit: the database is older and may not be migrated, or it is newer than this code.
    """
    revision = read_revision(connection)
    if revision == HEAD:
        return revision
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        revision = read_revision(connection)  # somebody else may have been at it until now
    if revision is None:
        create_tables(connection)
        _stamp(connection, HEAD)
    elif waiting := pending(revision):
        if not upgrade:
            raise SchemaUnfit(
                f"the ledger's schema is at revision {revision}, and this release of Maskgate needs {HEAD}."
                " Stop the gateways of the older release, make a backup, then run: maskgate db upgrade"
            )
        _log.warning("the ledger is upgraded from revision %s to %s: a large one takes minutes", revision, waiting[-1])
        _migrate(connection, revision)
    return revision


def _migrate(connection: Connection, revision: str) -> None:
    """Run the scripts that are pending. Alembic keeps its context in its own module: one at a time in a process."""
    from alembic import command
    from alembic.config import Config

    _stamp(connection, revision)  # where nothing was written down yet
    config = Config()
    config.set_main_option("script_location", "gateway.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


def _stamp(connection: Connection, revision: str) -> None:
    """Write down the revision that a database is at."""
    _version.create(connection, checkfirst=True)
    connection.execute(delete(_version))
    connection.execute(insert(_version).values(version_num=revision))
