"""Starts of steps whose bytes were delivered before: they are not delivered again after a restart."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table, an empty one."""
    op.create_table(
        "deliveries",
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("start_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("upload_id", name="pk_deliveries"),
    )
