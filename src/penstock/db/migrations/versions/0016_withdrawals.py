"""Who may be about to remove the released copy of an upload."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table, an empty one."""
    op.create_table(
        "withdrawals",
        sa.Column("token", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token", name="pk_withdrawals"),
    )
    op.create_index("ix_withdrawals_upload_id", "withdrawals", ["upload_id"])
