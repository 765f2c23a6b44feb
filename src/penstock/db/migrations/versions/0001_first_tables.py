"""The first tables: uploads, their feed, orphaned bytes, progress, answers of steps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create them."""
    _create_uploads()
    _create_feed()
    op.create_table(
        "orphans",
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("upload_id", name="pk_orphans"),
    )
    op.create_table(
        "progress",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_progress"),
        sa.UniqueConstraint("upload_id", name="uq_progress_upload_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_progress_step", "progress", ["step", "seq"])
    op.create_index(
        "ix_progress_due_at",
        "progress",
        ["due_at"],
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_table(
        "step_answers",
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("step", name="pk_step_answers"),
    )


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger()),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("run_cause", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("infected", sa.Boolean()),
        sa.Column("scan_signature", sa.Text(), nullable=False),
        sa.Column("scanned_at", sa.Text(), nullable=False),
        sa.Column("scan_error", sa.Text(), nullable=False),
        sa.Column("initiator_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("received_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("discard_pending", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_uploads"),
        sa.UniqueConstraint("id", name="uq_uploads_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_uploads_phase", "uploads", ["phase", "seq"])
    op.create_index("ix_uploads_space", "uploads", ["space", "phase", "seq"])
    op.create_index("ix_uploads_filename", "uploads", ["filename", "phase", "space", "seq"])
    _create_partial_index("infected", "seq", sqlite="infected = 1", postgresql="infected")
    _create_partial_index("expires_at", "expires_at", sqlite="phase = 'receiving'")
    _create_partial_index("ended_at", "ended_at", sqlite="phase IN ('deleted', 'cancelled', 'expired')")
    _create_partial_index("discard_pending", "seq", sqlite="discard_pending = 1", postgresql="discard_pending")


def _create_partial_index(name: str, column: str, *, sqlite: str, postgresql: str = "") -> None:
    op.create_index(
        f"ix_uploads_{name}",
        "uploads",
        [column],
        sqlite_where=sa.text(sqlite),
        postgresql_where=sa.text(postgresql or sqlite),
    )


def _create_feed() -> None:
    op.create_table(
        "feed",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_feed"),
        sa.UniqueConstraint("upload_id", "key", name="uq_feed_upload_id_key"),
        sqlite_autoincrement=True,
    )
