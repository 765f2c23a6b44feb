"""The store in SQLite is a store that outlives its process."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.db import Database
from penstock.store.sql import SqlStore
from penstock.testing.store_contract import DurableStoreContract, KeepsOrder, RefusesForeignValues

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from penstock.store.base import ProgressStore


@asynccontextmanager
async def open_store(path: str) -> AsyncIterator[ProgressStore]:
    async with Database(f"sqlite:///{path}") as database, SqlStore(database) as store:
        yield store


class TestSqliteStore(DurableStoreContract, KeepsOrder, RefusesForeignValues):
    """Runs the suites."""

    factory = "tests.contract.test_store_sqlite:open_store"

    @pytest.fixture(autouse=True)
    def in_a_new_folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "penstock.db"

    def argument(self) -> str:
        return str(self.path)

    async def put(self, upload_id: str, value: bytes) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("UPDATE progress SET record = ? WHERE upload_id = ?", (value, upload_id))
