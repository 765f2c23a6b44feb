"""Whose uploads are, what they count for in quotas, and the accounts of those who have one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and a table; uploads that are there already are nobody's, and count for their size.

    Of the accounts nothing is written here: that is done at each start, as the limits are then.
    """
    op.add_column("uploads", sa.Column("owner", sa.Text(), nullable=False, server_default=""))
    op.add_column("uploads", sa.Column("counted_bytes", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.add_column("uploads", sa.Column("counted_in", sa.Text(), nullable=False, server_default=""))
    op.execute(
        "UPDATE uploads SET counted_bytes = size_bytes "
        "WHERE size_bytes IS NOT NULL AND phase IN ('receiving', 'processing', 'released')"
    )
    op.create_index(
        "ix_uploads_owner",
        "uploads",
        ["owner", "phase", "seq"],
        sqlite_where=sa.text("owner <> ''"),
        postgresql_where=sa.text("owner <> ''"),
    )
    op.create_index(
        "ix_uploads_counted_in",
        "uploads",
        ["counted_in"],
        sqlite_where=sa.text("counted_in <> ''"),
        postgresql_where=sa.text("counted_in <> ''"),
    )
    op.create_table(
        "accounts",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("used_bytes", sa.BigInteger(), nullable=False),
        sa.Column("reserved_bytes", sa.BigInteger(), nullable=False),
        sa.Column("unfinished", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name="pk_accounts"),
    )
