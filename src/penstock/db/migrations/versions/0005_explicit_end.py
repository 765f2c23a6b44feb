"""Uploads whose end is said by the client, not by their length."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column; uploads that are there already end at their length."""
    op.add_column("uploads", sa.Column("explicit_end", sa.Boolean(), nullable=False, server_default=sa.false()))
