"""Statements compiled once do what SQLAlchemy would do."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Connection, bindparam, create_engine, delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from penstock.db.prepared import Prepared
from penstock.db.tables import metadata, progress

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        yield connection
    engine.dispose()


ADD = Prepared(insert(progress), "upload_id", "revision", "step", "due_at", "record")
ROW = {"upload_id": "a", "revision": 1, "step": "virusscan", "due_at": None, "record": b"\x00{"}


def test_names_decide_where_a_value_goes_not_their_order(connection: Connection) -> None:
    ADD.execute(connection, dict(reversed(ROW.items())))
    columns = [progress.c[name] for name in ROW]
    assert dict(connection.execute(select(*columns)).mappings().one()) == ROW


def test_fixed_values_stay_in_and_given_ones_vary(connection: Connection) -> None:
    find = Prepared(
        select(progress.c.upload_id).where(progress.c.step == "virusscan", progress.c.revision == bindparam("r"))
    )
    for row in (ROW, ROW | {"upload_id": "b", "revision": 2}, ROW | {"upload_id": "c", "step": "x"}):
        ADD.execute(connection, row)
    assert [find.first(connection, {"r": r}) for r in (1, 2, 3)] == [("a",), ("b",), None]


def test_an_update_tells_how_many_rows_it_changed(connection: Connection) -> None:
    change = Prepared(
        update(progress)
        .where(progress.c.upload_id == bindparam("upload"))
        .values(step=func.coalesce(bindparam("to"), progress.c.step)),
        "revision",
    )
    ADD.execute(connection, ROW)
    assert change.execute(connection, {"upload": "a", "to": None, "revision": 5}) == 1
    assert change.execute(connection, {"upload": "z", "to": "y", "revision": 5}) == 0
    assert connection.execute(select(progress.c.revision, progress.c.step)).one() == (5, "virusscan")
    assert Prepared(delete(progress)).execute(connection, {}) == 1


def test_a_value_that_is_missing_is_an_error(connection: Connection) -> None:
    with pytest.raises(KeyError):
        ADD.execute(connection, {"upload_id": "a"})


def test_errors_of_the_driver_are_those_of_sqlalchemy(connection: Connection) -> None:
    ADD.execute(connection, ROW)
    with pytest.raises(IntegrityError) as caught:
        ADD.execute(connection, ROW)
    assert isinstance(caught.value.orig, sqlite3.IntegrityError)
    with pytest.raises(OperationalError, match="no such table"):
        Prepared(text("SELECT 1 FROM nowhere")).first(connection, {})


def test_several_rows_are_written_in_their_order(connection: Connection) -> None:
    ADD.execute_all(connection, [])
    ADD.execute_all(connection, [ROW])
    ADD.execute_all(connection, [ROW | {"upload_id": "b"}, ROW | {"upload_id": "c"}])
    found = connection.execute(select(progress.c.upload_id).order_by(progress.c.seq)).scalars()
    assert list(found) == [ROW["upload_id"], "b", "c"]
    with pytest.raises(IntegrityError):
        ADD.execute_all(connection, [ROW | {"upload_id": "d"}, ROW])


def test_a_look_holds_nothing_afterwards(tmp_path: Path) -> None:
    # A statement that is not ended would go on seeing what it saw first, and keep the log of writes from being cut.
    url = f"sqlite:///{tmp_path / 'database'}"
    writing, looking = create_engine(url), create_engine(url, isolation_level="AUTOCOMMIT")
    find = Prepared(select(progress.c.revision))
    with writing.connect() as writer, looking.connect() as looker:
        writer.exec_driver_sql("PRAGMA journal_mode = WAL")
        metadata.create_all(writer)
        ADD.execute(writer, ROW)
        ADD.execute(writer, ROW | {"upload_id": "b"})
        writer.commit()
        assert find.first(looker, {}) == (1,)
        writer.exec_driver_sql("UPDATE progress SET revision = 2")
        writer.commit()
        assert find.first(looker, {}) == (2,)
        busy = writer.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar()
        assert busy == 0
    writing.dispose()
    looking.dispose()


def test_text_works_as_well(connection: Connection) -> None:
    ADD.execute(connection, ROW)
    update_step = Prepared(text("UPDATE progress SET step = :step WHERE revision = :revision"))
    assert update_step.execute(connection, {"revision": 1, "step": "delay"}) == 1
    assert connection.execute(select(progress.c.step)).scalar() == "delay"
