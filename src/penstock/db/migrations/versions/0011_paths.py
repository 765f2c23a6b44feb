"""Paths in spaces, and versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_RELEASED = sa.text("phase = 'released'")


def upgrade() -> None:
    """Add columns and an index; what is there already lies in no folder, and the newest of a name is its file."""
    path = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("uploads", sa.Column("path", path, nullable=False, server_default=""))
    op.add_column("uploads", sa.Column("precedence", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE uploads SET path = filename, precedence = seq * 1048576")
    op.create_index(
        "ix_uploads_path",
        "uploads",
        ["space", "path", "precedence"],
        sqlite_where=_RELEASED,
        postgresql_where=_RELEASED,
    )
