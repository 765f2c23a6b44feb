"""The time that ages are counted to outlives a process, so that a machine may start with a wrong clock."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table, an empty one."""
    op.create_table(
        "believed_time",
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("jumps", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("at", name="pk_believed_time"),
    )
