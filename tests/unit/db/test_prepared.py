"""Statements compiled once do what SQLAlchemy would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Connection, bindparam, create_engine, delete, func, insert, select, update

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
    ADD.execute_many(connection, [ROW, ROW | {"upload_id": "b", "revision": 2}, ROW | {"upload_id": "c", "step": "x"}])
    assert [find.execute(connection, {"r": r}).scalar() for r in (1, 2, 3)] == ["a", "b", None]


def test_an_update_tells_how_many_rows_it_changed(connection: Connection) -> None:
    change = Prepared(
        update(progress)
        .where(progress.c.upload_id == bindparam("upload"))
        .values(step=func.coalesce(bindparam("to"), progress.c.step)),
        "revision",
    )
    ADD.execute(connection, ROW)
    assert change.execute(connection, {"upload": "a", "to": None, "revision": 5}).rowcount == 1
    assert change.execute(connection, {"upload": "z", "to": "y", "revision": 5}).rowcount == 0
    assert connection.execute(select(progress.c.revision, progress.c.step)).one() == (5, "virusscan")
    assert Prepared(delete(progress)).execute(connection, {}).rowcount == 1


def test_a_value_that_is_missing_is_an_error(connection: Connection) -> None:
    with pytest.raises(KeyError):
        ADD.execute(connection, {"upload_id": "a"})
