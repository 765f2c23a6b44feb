"""How SQLite is opened."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError

from penstock.db import sqlite
from penstock.db.schema import upgrade

if TYPE_CHECKING:
    from pathlib import Path


def test_a_writing_transaction_holds_the_lock_from_its_begin(tmp_path: Path) -> None:
    url = make_url(f"sqlite:///{tmp_path}/test.db")
    engine = sqlite.writer_engine(url)
    upgrade(engine, "test.db")
    order: list[str] = []

    def second() -> None:
        with engine.begin():
            order.append("second")

    with engine.begin():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join()
    engine.dispose()
    assert order == ["first", "second"]


def test_each_lookup_sees_what_is_committed_by_then(tmp_path: Path) -> None:
    url = make_url(f"sqlite:///{tmp_path}/test.db")
    writing, looking = sqlite.writer_engine(url), sqlite.lookup_engine(url)
    upgrade(writing, "test.db")
    count = text("SELECT count(*) FROM step_answers")
    with looking.connect() as looker:
        assert looker.execute(count).scalar() == 0
        with writing.begin() as writer:
            writer.execute(text("INSERT INTO step_answers VALUES ('virusscan', 1)"))
            assert looker.execute(count).scalar() == 0
        assert looker.execute(count).scalar() == 1
        with pytest.raises(OperationalError, match="readonly"):
            looker.execute(text("DELETE FROM step_answers"))
    writing.dispose()
    looking.dispose()


def test_an_empty_database_that_another_process_is_making_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself says at once that it is locked: to write ahead is not waited for."""
    other = sqlite3.connect(tmp_path / "new.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    looks: list[float] = []

    def end(seconds: float) -> None:
        looks.append(seconds)
        other.execute("COMMIT")

    monkeypatch.setattr("penstock.db.sqlite.time.sleep", end)
    engine = sqlite.writer_engine(make_url(f"sqlite:///{tmp_path}/new.db"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    assert len(looks) == 1
    engine.dispose()
    other.close()


def test_what_time_does_not_mend_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(tmp_path / "old.db") as made:
        made.execute("CREATE TABLE t (a)")
    looks: list[float] = []
    monkeypatch.setattr("penstock.db.sqlite.time.sleep", looks.append)
    monkeypatch.setattr(sqlite, "_LOCK_TIMEOUT_SECONDS", 0.2)
    reading = sqlite3.connect(f"file:{tmp_path}/old.db?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        sqlite._have_wal(reading)
    assert looks == []
    reading.close()
    made.close()
