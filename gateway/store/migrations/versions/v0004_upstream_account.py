"""A reservation says which endpoint and account the call is made with; those from before do not."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no row is touched."""
    op.get_bind().exec_driver_sql("ALTER TABLE entries ADD COLUMN upstream_account TEXT")
