"""An answer under an Idempotency-Key that is too large for one row goes on in rows of its own."""

from __future__ import annotations

from alembic import op

from gateway.store.migrations.spelling import spell

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLE = """CREATE TABLE remembered_parts (
    tenant TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    owner TEXT NOT NULL,
    number {whole} NOT NULL,
    body {bytes} NOT NULL,
    PRIMARY KEY (tenant, idempotency_key, owner, number)
){strict}"""


def upgrade() -> None:
    """Make the table; answers from before fit into their row, or were not kept."""
    connection = op.get_bind()
    connection.exec_driver_sql(spell(_TABLE, connection.dialect.name))
