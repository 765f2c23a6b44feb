"""The threads that read."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import OperationalError

from penstock.db import sqlite
from penstock.db.readers import Readers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = sqlite.lookup_engine(make_url(f"sqlite:///{tmp_path}/test.db"))
    yield made
    made.dispose()


class Watched:
    """Readers with a note of who is at work."""

    def __init__(self, engine: Engine, number: int, *, in_transaction: bool = False) -> None:
        self.at_work = 0
        self.most = 0
        self._lock = threading.Lock()
        self.readers = Readers(engine, number, in_transaction=in_transaction, at_work=self._note)

    @contextmanager
    def _note(self, connection: Connection) -> Iterator[None]:
        with self._lock:
            self.at_work += 1
            self.most = max(self.most, self.at_work)
        yield
        with self._lock:
            self.at_work -= 1


async def test_as_many_are_answered_at_a_time_as_there_are_connections(engine: Engine) -> None:
    watched = Watched(engine, 3)
    together = threading.Barrier(3)
    answers = await asyncio.gather(*(watched.readers.ask(lambda _: together.wait(60)) for _ in range(9)))
    assert sorted(answers) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert watched.most == 3
    watched.readers.close()


@pytest.mark.parametrize("in_transaction", [True, False])
async def test_a_question_is_in_a_transaction_or_not(engine: Engine, in_transaction: bool) -> None:
    watched = Watched(engine, 1, in_transaction=in_transaction)
    assert await watched.readers.ask(lambda connection: connection.in_transaction()) == in_transaction
    watched.readers.close()


async def test_an_error_reaches_who_asked_and_the_connection_stays_in_use(engine: Engine) -> None:
    watched = Watched(engine, 1)
    with pytest.raises(OperationalError, match="no such table"):
        await watched.readers.ask(lambda connection: connection.execute(text("SELECT * FROM missing")))
    assert await watched.readers.ask(lambda connection: connection.execute(text("SELECT 7")).scalar()) == 7
    watched.readers.close()


@pytest.mark.parametrize("times", [1, 2])
async def test_a_question_is_asked_once_more_when_its_connection_was_lost(engine: Engine, times: int) -> None:
    watched = Watched(engine, 1)
    tries: list[int] = []

    def loses(connection: Connection) -> str:
        tries.append(1)
        if len(tries) <= times:
            connection.invalidate()
            raise OperationalError("SELECT", {}, Exception("gone"))
        return "answer"

    if times == 1:
        assert await watched.readers.ask(loses) == "answer"
    else:
        with pytest.raises(OperationalError, match="gone"):
            await watched.readers.ask(loses)
    assert len(tries) == 2
    watched.readers.close()


def test_what_was_connected_is_closed_when_the_rest_cannot_be(tmp_path: Path) -> None:
    engine = sqlite.reader_engine(make_url(f"sqlite:///{tmp_path}/missing/test.db"))
    before = threading.active_count()
    with pytest.raises(OperationalError):
        Readers(engine, 2, in_transaction=True, at_work=lambda _: pytest.fail("nobody is at work"))
    assert threading.active_count() == before
