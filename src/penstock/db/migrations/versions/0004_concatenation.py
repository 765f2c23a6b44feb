"""Uploads that are parts of others, and those that are made of parts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_IS_FINAL = sa.text("final_key <> ''")


def upgrade() -> None:
    """Add columns and an index; uploads that are there already stand for themselves."""
    op.add_column("uploads", sa.Column("concat", sa.Text(), nullable=False, server_default=""))
    op.add_column("uploads", sa.Column("final_key", sa.Text(), nullable=False, server_default=""))
    op.create_index(
        "ix_uploads_finals", "uploads", ["phase", "final_key"], sqlite_where=_IS_FINAL, postgresql_where=_IS_FINAL
    )
