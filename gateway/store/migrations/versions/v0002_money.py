"""
Entries become a double entry in a chain, usage is added up beside them, and keys get what they may do.

Both old tables are made anew and their rows carried over: entries refuse to be changed, SQLite adds no CHECK to a table
that is there, and so the columns stand in the same order as in a new database.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Connection

from gateway.store.migrations.money_data import carry_entries, carry_keys, sum_usage
from gateway.store.migrations.money_schema import SCHEMA
from gateway.store.migrations.spelling import APPEND_ONLY, spell

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: Whatever of the old tables would stand in the way of the new ones by its name.
_SET_ASIDE = {
    "sqlite": (
        "DROP TRIGGER entries_refuse_update",
        "DROP TRIGGER entries_refuse_delete",
        "DROP INDEX entries_held",
        "DROP INDEX entries_opened_at",
        "ALTER TABLE entries RENAME TO entries_before",
        "ALTER TABLE api_keys RENAME TO api_keys_before",
    ),
    "postgresql": (
        "DROP TRIGGER entries_refuse_change ON entries",
        "DROP INDEX entries_held",
        "DROP INDEX entries_opened_at",
        "ALTER TABLE entries RENAME TO entries_before",
        "ALTER TABLE entries_before RENAME CONSTRAINT entries_pkey TO entries_before_pkey",
        "ALTER TABLE entries_before RENAME CONSTRAINT entries_once_a_phase TO entries_before_once_a_phase",
        "ALTER SEQUENCE entries_id_seq RENAME TO entries_before_id_seq",
        "ALTER TABLE api_keys RENAME TO api_keys_before",
        "ALTER TABLE api_keys_before RENAME CONSTRAINT api_keys_pkey TO api_keys_before_pkey",
        "ALTER TABLE api_keys_before RENAME CONSTRAINT api_keys_sha256_key TO api_keys_before_sha256_key",
    ),
}

#: A serial column counts on from what was carried over; SQLite's does so by itself.
_COUNT_ON = "SELECT setval('entries_id_seq', max(id)) FROM entries HAVING max(id) IS NOT NULL"


def upgrade() -> None:
    """Make the new tables and carry over what stands in the old ones."""
    connection = op.get_bind()
    dialect = connection.dialect.name
    _execute(connection, *_SET_ASIDE[dialect])
    _execute(connection, *(spell(statement, dialect) for statement in SCHEMA))
    carry_entries(connection)
    sum_usage(connection)
    carry_keys(connection)
    _execute(connection, "DROP TABLE entries_before", "DROP TABLE api_keys_before", *APPEND_ONLY[dialect])
    if dialect == "postgresql":
        _execute(connection, _COUNT_ON)


def _execute(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)
