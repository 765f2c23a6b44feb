"""Here it is the migrations that are tested."""

from __future__ import annotations

import pytest

from penstock.db import schema

MIGRATE = schema._migrate


@pytest.fixture(autouse=True)
def migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo `tables_made_once`."""
    monkeypatch.setattr(schema, "_migrate", MIGRATE)
