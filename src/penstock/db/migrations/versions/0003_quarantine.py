"""What scans found out, and what is done with files in quarantine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_IN_QUARANTINE = sa.text("phase = 'rejected' AND outcome = 'quarantine'")


def upgrade() -> None:
    """Add a column, an index and the log."""
    op.add_column("uploads", sa.Column("scan_details", sa.Text(), nullable=False, server_default=""))
    op.create_index(
        "ix_uploads_quarantined", "uploads", ["seq"], sqlite_where=_IN_QUARANTINE, postgresql_where=_IN_QUARANTINE
    )
    op.create_table(
        "quarantine_log",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger()),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_quarantine_log"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_quarantine_log_upload_id", "quarantine_log", ["upload_id", "seq"])
