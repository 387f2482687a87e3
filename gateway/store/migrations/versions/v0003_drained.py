"""Deployments that the operator has drained are written down, so that all gateways know them."""

from __future__ import annotations

from alembic import op

from gateway.store.migrations.spelling import spell

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLE = """CREATE TABLE drained_deployments (
    deployment TEXT NOT NULL,
    reason TEXT NOT NULL,
    key_id TEXT NOT NULL,
    at {whole} NOT NULL,
    PRIMARY KEY (deployment)
){strict}"""


def upgrade() -> None:
    """Make the table; nothing is drained yet."""
    connection = op.get_bind()
    connection.exec_driver_sql(spell(_TABLE, connection.dialect.name))
