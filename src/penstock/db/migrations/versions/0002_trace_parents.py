"""The trace that each upload belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; uploads that are there already belong to none."""
    op.add_column("uploads", sa.Column("trace_parent", sa.Text(), nullable=False, server_default=""))
