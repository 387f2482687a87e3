"""The schema of the first release: attempts and their endings, and keys."""

from __future__ import annotations

from alembic import op

from gateway.store.migrations.spelling import APPEND_ONLY, spell

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SCHEMA = (
    """CREATE TABLE api_keys (
    id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    created_at {whole} NOT NULL,
    revoked_at {whole},
    PRIMARY KEY (id),
    UNIQUE (sha256)
){strict}""",
    """CREATE TABLE entries (
    id {number},
    attempt_id TEXT NOT NULL,
    phase {whole} NOT NULL,
    kind TEXT NOT NULL,
    amount_microusd {whole} NOT NULL,
    cost_microusd {whole} NOT NULL,
    reported_microusd {whole},
    upstream_ref TEXT,
    reason TEXT,
    at {whole} NOT NULL,
    request_id TEXT,
    prompt_index {whole},
    tenant TEXT,
    key_id TEXT,
    deployment TEXT,
    provider TEXT,
    model TEXT,
    region TEXT,
    price_id TEXT,
    expires_at {whole},
    tags TEXT,
    PRIMARY KEY (id),
    CONSTRAINT entries_once_a_phase UNIQUE (attempt_id, phase),
    CONSTRAINT entries_kind_in_phase CHECK ((phase = 0 AND kind = 'reserve') OR (phase = 1 AND kind IN
        ('settle', 'release', 'hold')) OR (phase = 2 AND kind IN ('settle', 'release'))),
    CONSTRAINT entries_not_negative CHECK (amount_microusd >= 0 AND cost_microusd >= 0 AND (reported_microusd
        IS NULL OR reported_microusd >= 0)),
    CONSTRAINT entries_owe_when_settled_or_held CHECK ((kind <> 'release' OR amount_microusd = 0) AND (kind IN
        ('settle', 'hold') OR cost_microusd = 0)),
    CONSTRAINT entries_reason_when_not_settled CHECK ((kind IN ('release', 'hold')) = (reason IS NOT NULL)),
    CONSTRAINT entries_identity_once CHECK ((phase = 0 AND request_id IS NOT NULL AND prompt_index >= 0 AND
        tenant IS NOT NULL AND key_id IS NOT NULL AND deployment IS NOT NULL AND provider IS NOT NULL AND
        model IS NOT NULL AND region IS NOT NULL AND price_id IS NOT NULL AND expires_at IS NOT NULL AND tags
        IS NOT NULL) OR (phase > 0 AND request_id IS NULL AND prompt_index IS NULL AND tenant IS NULL AND
        key_id IS NULL AND deployment IS NULL AND provider IS NULL AND model IS NULL AND region IS NULL AND
        price_id IS NULL AND expires_at IS NULL AND tags IS NULL))
){strict}""",
    "CREATE INDEX entries_held ON entries (id) WHERE phase = 1 AND kind = 'hold'",
    "CREATE INDEX entries_opened_at ON entries (at) WHERE phase = 0",
)


def upgrade() -> None:
    """Make the first release's tables in an empty database."""
    connection = op.get_bind()
    for statement in _SCHEMA:
        connection.exec_driver_sql(spell(statement, connection.dialect.name))
    for statement in APPEND_ONLY[connection.dialect.name]:
        connection.exec_driver_sql(statement)
