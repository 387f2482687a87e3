"""
The tables, defined once for SQLite and PostgreSQL.

`entries` is append-only: both databases refuse to change or remove a row, so that a correction has to be a new entry.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)

#: int64 in both databases; SQLite's strict tables know the one name.
Whole = BigInteger().with_variant(Integer(), "sqlite")

#: Serializes starters on PostgreSQL, where two CREATE TABLE IF NOT EXISTS at once can fail.
_CREATION_LOCK = 0x6D61736B

metadata = MetaData()

entries = Table(
    "entries",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("attempt_id", Text, nullable=False),
    Column("phase", Whole, nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount_microusd", Whole, nullable=False),
    Column("cost_microusd", Whole, nullable=False),
    Column("reported_microusd", Whole),
    Column("upstream_ref", Text),
    Column("reason", Text),
    Column("at", Whole, nullable=False),
    Column("request_id", Text),
    Column("prompt_index", Whole),
    Column("tenant", Text),
    Column("key_id", Text),
    Column("deployment", Text),
    Column("provider", Text),
    Column("model", Text),
    Column("region", Text),
    Column("price_id", Text),
    Column("expires_at", Whole),
    Column("tags", Text),
    UniqueConstraint("attempt_id", "phase", name="entries_once_a_phase"),
    CheckConstraint(
        "(phase = 0 AND kind = 'reserve') OR (phase = 1 AND kind IN ('settle', 'release', 'hold'))"
        " OR (phase = 2 AND kind IN ('settle', 'release'))",
        name="entries_kind_in_phase",
    ),
    CheckConstraint(
        "amount_microusd >= 0 AND cost_microusd >= 0 AND (reported_microusd IS NULL OR reported_microusd >= 0)",
        name="entries_not_negative",
    ),
    CheckConstraint(
        "(kind <> 'release' OR amount_microusd = 0) AND (kind IN ('settle', 'hold') OR cost_microusd = 0)",
        name="entries_owe_when_settled_or_held",
    ),
    CheckConstraint(
        "(kind IN ('release', 'hold')) = (reason IS NOT NULL)",
        name="entries_reason_when_not_settled",
    ),
    CheckConstraint(
        "(phase = 0 AND request_id IS NOT NULL AND prompt_index >= 0 AND tenant IS NOT NULL AND key_id IS NOT NULL"
        " AND deployment IS NOT NULL AND provider IS NOT NULL AND model IS NOT NULL AND region IS NOT NULL"
        " AND price_id IS NOT NULL AND expires_at IS NOT NULL AND tags IS NOT NULL)"
        " OR (phase > 0 AND request_id IS NULL AND prompt_index IS NULL AND tenant IS NULL AND key_id IS NULL"
        " AND deployment IS NULL AND provider IS NULL AND model IS NULL AND region IS NULL"
        " AND price_id IS NULL AND expires_at IS NULL AND tags IS NULL)",
        name="entries_identity_once",
    ),
    sqlite_strict=True,
)

#: Both the sweep and the reports walk the reservations by time.
Index(
    "entries_opened_at",
    entries.c.at,
    sqlite_where=text("phase = 0"),
    postgresql_where=text("phase = 0"),
)

#: Reconciliation walks the holds.
Index(
    "entries_held",
    entries.c.id,
    sqlite_where=text("phase = 1 AND kind = 'hold'"),
    postgresql_where=text("phase = 1 AND kind = 'hold'"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("sha256", Text, nullable=False, unique=True),
    Column("created_at", Whole, nullable=False),
    Column("revoked_at", Whole),
    sqlite_strict=True,
)

_REFUSAL = "entries are append-only: write a new entry"
_SQLITE_REFUSAL = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
_POSTGRES_REFUSAL = f"LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
_ON_CHANGE = "BEFORE UPDATE OR DELETE OR TRUNCATE ON entries FOR EACH STATEMENT"

_REFUSALS = {
    "sqlite": (
        f"CREATE TRIGGER entries_refuse_update BEFORE UPDATE ON entries {_SQLITE_REFUSAL}",
        f"CREATE TRIGGER entries_refuse_delete BEFORE DELETE ON entries {_SQLITE_REFUSAL}",
    ),
    "postgresql": (
        f"CREATE OR REPLACE FUNCTION entries_refuse() RETURNS trigger {_POSTGRES_REFUSAL}",
        f"CREATE TRIGGER entries_refuse_change {_ON_CHANGE} EXECUTE FUNCTION entries_refuse()",
    ),
}


@event.listens_for(entries, "after_create")
def _refuse_changes(_table: Table, connection: Connection, **_others: object) -> None:
    """Make the new table append-only."""
    for statement in _REFUSALS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def create_tables(connection: Connection) -> None:
    """Create what is missing. Any number of processes may start at once: they take turns."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CREATION_LOCK})")
    metadata.create_all(connection)
