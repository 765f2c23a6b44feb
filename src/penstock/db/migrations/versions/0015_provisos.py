"""Conditions of uploads on what is at their paths."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column; what is there already has none."""
    op.add_column("uploads", sa.Column("proviso", sa.Text(), nullable=False, server_default=""))
