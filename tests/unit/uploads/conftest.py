"""The database that the parts under test keep their tables in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.db import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(f"sqlite:///{tmp_path}/test.db") as database:
        yield database
