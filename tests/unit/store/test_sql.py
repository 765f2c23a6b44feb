"""What is particular to the store in SQL; what every store does is in tests/contract."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.dialects import postgresql, sqlite
from structlog.testing import capture_logs

from penstock.db import Database
from penstock.db.tables import progress
from penstock.store import sql
from penstock.store.base import Revision, StoreUnavailable
from penstock.store.sql import SqlStore
from penstock.testing.store_contract.records import NOW, collect, record

if TYPE_CHECKING:
    from pathlib import Path

ALL = {name: getattr(value, "statement", value) for name, value in vars(sql).items() if name.isupper()}
STATEMENTS = {name: value for name, value in ALL.items() if name[0] == "_" and hasattr(value, "compile")}


def test_all_statements_are_looked_at() -> None:
    assert len(STATEMENTS) >= 10


def plan(path: Path, statement: Any) -> str:
    """How SQLite would carry a statement out."""
    compiled = statement.compile(dialect=sqlite.dialect(paramstyle="named"))
    with closing(sqlite3.connect(path)) as connection:
        parameters = dict.fromkeys(compiled.params, 1)
        rows = connection.execute(f"EXPLAIN QUERY PLAN {compiled}", parameters).fetchall()
    return "; ".join(row[-1] for row in rows)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (sql._GET.statement, "SEARCH progress USING INDEX sqlite_autoindex_progress_1 (upload_id=?)"),
        (sql._UPDATE.statement, "SEARCH progress USING INDEX sqlite_autoindex_progress_1 (upload_id=?)"),
        (sql._DELETE.statement, "SEARCH progress USING INDEX sqlite_autoindex_progress_1 (upload_id=?)"),
        (sql._DUE, "SEARCH progress USING INDEX ix_progress_due_at (due_at<?)"),
        (sql._NEXT_DUE, "SEARCH progress USING COVERING INDEX ix_progress_due_at (due_at>?)"),
        (sql._LAST, "SEARCH progress"),
        (sql._PAGE, "SEARCH progress USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (sql._PAGE.where(progress.c.step == "x"), "SEARCH progress USING INDEX ix_progress_step"),
        (sql._COUNTS, "SCAN progress USING COVERING INDEX ix_progress_step"),
    ],
)
async def test_nothing_is_found_by_reading_all_records(tmp_path: Path, statement: Any, expected: str) -> None:
    async with Database(f"sqlite:///{tmp_path / 'p.db'}"):
        pass
    found = plan(tmp_path / "p.db", statement)
    assert found.startswith(expected)
    assert "TEMP B-TREE" not in found  # nothing is sorted


@pytest.mark.parametrize("name", STATEMENTS)
def test_statements_are_also_ones_of_postgresql(name: str) -> None:
    """They compile; that they work there is for tests/contract and test_postgres."""
    assert str(STATEMENTS[name].compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # SQLAlchemy's


async def test_a_database_that_is_away_makes_the_store_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'p.db'}")
    async with database:
        pass
    store = SqlStore(database)
    with pytest.raises(StoreUnavailable, match="is not open"):
        await store.get("u1")
    with pytest.raises(StoreUnavailable):
        await store.save(record("u1"), expected=None)
    with pytest.raises(StoreUnavailable):
        await store.delete("u1", expected=Revision(1))
    with pytest.raises(StoreUnavailable):
        await store.due(NOW, limit=1)
    with pytest.raises(StoreUnavailable):
        await collect(store.all())


async def test_a_record_that_was_mended_by_hand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    async with Database(f"sqlite:///{path}") as database, SqlStore(database) as store:
        await store.save(record("u1"), expected=None)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("""UPDATE progress SET record = '{"ID":"u1","Filename":"é"}'""")
        saved = await store.get("u1")
    assert saved is not None
    assert saved.progress.filename == "é"


async def test_an_unreadable_record_is_named_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    async with Database(f"sqlite:///{path}") as database, SqlStore(database) as store:
        await store.save(record("u1"), expected=None)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE progress SET record = 'x'")
        with capture_logs() as logs:
            assert await collect(store.all()) == []
    assert [(line["event"], line["log_level"], line["upload"]) for line in logs] == [
        ("record_unreadable", "error", "u1")
    ]
