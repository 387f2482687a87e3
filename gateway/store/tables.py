"""
The tables, defined once for SQLite and PostgreSQL.

`entries` is append-only: both databases refuse to change or remove a row, so that a correction has to be a new entry.
What else the ledger keeps (`budget_windows`, `usage_lines`) are running sums of the entries, changed in the transaction
that writes them; `maskgate ledger verify` adds the entries up again and compares.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)

#: int64 in both databases; SQLite's strict tables know the one name.
Whole = BigInteger().with_variant(Integer(), "sqlite")

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
    Column("available_microusd", Whole, nullable=False),
    Column("reserved_microusd", Whole, nullable=False),
    Column("held_microusd", Whole, nullable=False),
    Column("payable_microusd", Whole, nullable=False),
    Column("margin_microusd", Whole, nullable=False),
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
    Column("writer", Text, nullable=False),
    Column("sequence", Whole, nullable=False),
    Column("chain", Text, nullable=False),
    Column("upstream_account", Text),
    UniqueConstraint("attempt_id", "phase", name="entries_once_a_phase"),
    UniqueConstraint("writer", "sequence", name="entries_once_in_chain"),
    CheckConstraint(
        "(phase = 0 AND kind IN ('reserve', 'import')) OR (phase = 1 AND kind IN ('settle', 'release', 'hold'))"
        " OR (phase = 2 AND kind IN ('settle', 'release')) OR (phase >= 3 AND kind = 'correct')",
        name="entries_kind_in_phase",
    ),
    CheckConstraint(
        "kind = 'correct' OR (amount_microusd >= 0 AND cost_microusd >= 0)",
        name="entries_not_negative",
    ),
    CheckConstraint(
        "reported_microusd IS NULL OR reported_microusd >= 0",
        name="entries_reported_not_negative",
    ),
    CheckConstraint(
        "(kind <> 'release' OR amount_microusd = 0) AND (kind NOT IN ('reserve', 'release') OR cost_microusd = 0)"
        " AND (kind <> 'import' OR amount_microusd = 0)",
        name="entries_owe_when_settled_or_held",
    ),
    CheckConstraint(
        "(kind IN ('release', 'hold', 'correct', 'import')) = (reason IS NOT NULL)",
        name="entries_reason_when_not_settled",
    ),
    CheckConstraint(
        "available_microusd + reserved_microusd + held_microusd + payable_microusd + margin_microusd = 0",
        name="entries_balance",
    ),
    CheckConstraint(
        "CASE kind"
        " WHEN 'reserve' THEN reserved_microusd = amount_microusd AND held_microusd = 0"
        " AND payable_microusd = 0 AND margin_microusd = 0"
        " WHEN 'hold' THEN held_microusd = amount_microusd AND reserved_microusd = -amount_microusd"
        " AND payable_microusd = 0 AND margin_microusd = 0"
        " WHEN 'settle' THEN payable_microusd = cost_microusd AND payable_microusd + margin_microusd = amount_microusd"
        " AND available_microusd >= 0 AND reserved_microusd <= 0 AND held_microusd <= 0"
        " WHEN 'release' THEN payable_microusd = 0 AND margin_microusd = 0"
        " AND reserved_microusd <= 0 AND held_microusd <= 0"
        " ELSE reserved_microusd = 0 AND held_microusd = 0 AND payable_microusd = cost_microusd"
        " AND payable_microusd + margin_microusd = amount_microusd END",
        name="entries_move_as_their_kind_says",
    ),
    CheckConstraint(
        "phase = 0 OR (phase = 1 AND (held_microusd = 0 OR kind = 'hold')) OR (phase >= 2 AND reserved_microusd = 0)",
        name="entries_move_in_phase",
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
"""
One line of the ledger each; see `entry.py`.

The five signed columns from `available` to `margin` are the double entry: what each line takes from one account it
gives to others, so that they add up to nothing in every row. A tenant's money goes from `available` to `reserved`, from
there perhaps to `held`, and ends as what the provider is owed (`payable`) and what is left to the operator (`margin`);
what was reserved beyond the charge goes back to `available`.
"""

#: The sweep walks the reservations by time.
Index("entries_opened_at", entries.c.at, sqlite_where=text("phase = 0"), postgresql_where=text("phase = 0"))

#: The ledger's pages of one tenant walk its reservations by time.
Index(
    "entries_of_tenant",
    entries.c.tenant,
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

usage_lines = Table(
    "usage_lines",
    metadata,
    Column("writer", Text, nullable=False),
    Column("line", Text, nullable=False),
    Column("day", Whole, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("attempts", Whole, nullable=False),
    Column("settled", Whole, nullable=False),
    Column("released", Whole, nullable=False),
    Column("held", Whole, nullable=False),
    Column("open", Whole, nullable=False),
    Column("charged_microusd", Whole, nullable=False),
    Column("cost_microusd", Whole, nullable=False),
    Column("held_microusd", Whole, nullable=False),
    Column("open_microusd", Whole, nullable=False),
    PrimaryKeyConstraint("writer", "line"),
    sqlite_strict=True,
)
"""
The entries added up by what reports divide by: one row for each day (days since 1970, UTC, of the reservation), tenant,
key, deployment and set of tags, and for each writer, so that no two gateways wait for each other's row.

`line` names the row within its writer: a digest of the columns from `day` to `tags`. Figures are the fields of `Tally`;
a single writer's may be below zero, where it ended what another one opened.
"""

Index("usage_lines_of_tenant", usage_lines.c.tenant, usage_lines.c.day)
Index("usage_lines_of_day", usage_lines.c.day)

budgets = Table(
    "budgets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("limit_microusd", Whole, nullable=False),
    Column("hard", Whole, nullable=False),
    Column("created_at", Whole, nullable=False),
    UniqueConstraint("account", "period", "hard", name="budgets_once"),
    CheckConstraint("scope IN ('tenant', 'key', 'tag')", name="budgets_scope"),
    CheckConstraint("period IN ('total', 'day', 'month')", name="budgets_period"),
    CheckConstraint("limit_microusd > 0", name="budgets_limit"),
    CheckConstraint("hard IN (0, 1)", name="budgets_hard"),
    sqlite_strict=True,
)
"""
How much may be spent: by a tenant, by a key, or under a tag of a tenant; in all, or in each day or month (UTC).

`account` is what attempts are matched by: `tenant:T`, `key:K` or `tag:T:NAME=VALUE`. A hard budget refuses; a soft one
tells.
"""

Index("budgets_of_account", budgets.c.account)

budget_windows = Table(
    "budget_windows",
    metadata,
    Column("budget_id", Text, ForeignKey("budgets.id"), nullable=False),
    Column("starts_at", Whole, nullable=False),
    Column("hard", Whole, nullable=False),
    Column("limit_microusd", Whole, nullable=False),
    Column("allowed_microusd", Whole, nullable=False),
    Column("spent_microusd", Whole, nullable=False),
    Column("reserved_microusd", Whole, nullable=False),
    PrimaryKeyConstraint("budget_id", "starts_at"),
    CheckConstraint(
        "hard = 0 OR spent_microusd + reserved_microusd <= allowed_microusd", name="budget_windows_never_passed"
    ),
    CheckConstraint("spent_microusd >= 0 AND reserved_microusd >= 0", name="budget_windows_not_negative"),
    CheckConstraint("allowed_microusd >= limit_microusd", name="budget_windows_allowed"),
    sqlite_strict=True,
)
"""
What is used of a budget in one period: `starts_at` is its first moment, in microseconds since 1970, UTC; 0 for `total`.

`reserved` holds open reservations and holds alike: what may still be spent. An attempt counts in the period in which it
was reserved, however late it ends, so that nothing is lost when a period ends. `allowed` is the limit, or what was used
already when the limit was lowered below it: nobody can have spent less than they have.
"""

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("sha256", Text, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created_at", Whole, nullable=False),
    Column("expires_at", Whole),
    Column("revoked_at", Whole),
    Column("replaces", Text),
    Column("requests_per_second", Text),
    Column("burst", Whole),
    Column("concurrency", Whole),
    CheckConstraint("scopes <> ''", name="api_keys_scoped"),
    sqlite_strict=True,
)
"""
Who may ask. `prefix` is the readable beginning of the key; the key itself is nowhere. `scopes` are words with spaces
between; `requests_per_second` is a decimal, as text; NULL is no limit of its own. `replaces` names the key that the row
stands for: an earlier secret of it, good until its grace ends.
"""

Index("api_keys_of_tenant", api_keys.c.tenant)

remembered_answers = Table(
    "remembered_answers",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("started_at", Whole, nullable=False),
    Column("lease_until", Whole, nullable=False),
    Column("expires_at", Whole, nullable=False),
    Column("status", Whole),
    Column("headers", Text),
    Column("body", LargeBinary),
    PrimaryKeyConstraint("tenant", "idempotency_key"),
    sqlite_strict=True,
)
"""Answers by their Idempotency-Key; `status` is NULL while the first request with it is worked on."""

remembered_parts = Table(
    "remembered_parts",
    metadata,
    Column("tenant", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("number", Whole, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "idempotency_key", "owner", "number"),
    sqlite_strict=True,
)
"""How a large answer goes on behind its row in `remembered_answers`, in parts from 1 on."""

Index("remembered_answers_expire", remembered_answers.c.expires_at)

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_strict=True,
)
"""What all gateways on this database sign with; made at the first start."""

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("token", Whole, nullable=False),
    Column("expires_at", Whole, nullable=False),
    sqlite_strict=True,
)
"""Which gateway does the work that one alone should do; `token` grows with every holder."""

drained_deployments = Table(
    "drained_deployments",
    metadata,
    Column("deployment", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("at", Whole, nullable=False),
    sqlite_strict=True,
)
"""Which deployments take no traffic because the operator says so; `key_id` is whose key it was said with."""

_REFUSAL = "entries are append-only: write a new entry"
_SQLITE_REFUSAL = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
_POSTGRES_REFUSAL = f"LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
_ON_CHANGE = "BEFORE UPDATE OR DELETE OR TRUNCATE ON entries FOR EACH STATEMENT"

REFUSALS = {
    "sqlite": (
        f"CREATE TRIGGER entries_refuse_update BEFORE UPDATE ON entries {_SQLITE_REFUSAL}",
        f"CREATE TRIGGER entries_refuse_delete BEFORE DELETE ON entries {_SQLITE_REFUSAL}",
    ),
    "postgresql": (
        f"CREATE OR REPLACE FUNCTION entries_refuse() RETURNS trigger {_POSTGRES_REFUSAL}",
        f"CREATE TRIGGER entries_refuse_change {_ON_CHANGE} EXECUTE FUNCTION entries_refuse()",
    ),
}
"""What makes `entries` append-only, by the database's kind."""


@event.listens_for(entries, "after_create")
def refuse_changes(_table: Table, connection: Connection, **_others: object) -> None:
    """Make the new table append-only."""
    for statement in REFUSALS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def create_tables(connection: Connection) -> None:
    """Create what is missing, at the newest schema; the caller has seen to it that nobody else does so at once."""
    metadata.create_all(connection)
