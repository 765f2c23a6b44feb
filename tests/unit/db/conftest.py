"""Here it is the migrations that are tested."""

from __future__ import annotations

import pytest

from penstock.db import schema

CREATE = schema._create


@pytest.fixture(autouse=True)
def migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo `tables_made_once`."""
    monkeypatch.setattr(schema, "_create", CREATE)
