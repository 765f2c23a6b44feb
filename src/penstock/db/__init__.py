"""The database of one installation: its tables, their migrations, and who may write when."""

from __future__ import annotations

from .database import Database
from .kind import DatabaseUnavailable, is_alone

__all__ = ["Database", "DatabaseUnavailable", "is_alone"]
