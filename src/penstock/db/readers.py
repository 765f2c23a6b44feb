"""Threads that read, each at most one question at a time, on as many connections."""

from __future__ import annotations

import asyncio
import queue
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine

T = TypeVar("T")


class Readers:
    """Several of one engine. Opening and closing take as long as connecting does."""

    def __init__(
        self,
        engine: Engine,
        number: int,
        *,
        in_transaction: bool,
        at_work: Callable[[Connection], AbstractContextManager[object]],
    ) -> None:
        """Connect.

        Args:
            engine: what it makes is used here only.
            number: of connections and threads.
            in_transaction: whether a question is answered from one unchanging state. Otherwise it is one statement.
            at_work: entered for each question.
        """
        self._in_transaction = in_transaction
        self._at_work = at_work
        self._connections: list[Connection] = []
        self._idle: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(number, thread_name_prefix="penstock-reader")
        try:
            for _ in range(number):
                connection = engine.connect()
                self._connections.append(connection)
                self._idle.put(connection)
        except BaseException:
            self.close()
            raise

    def ask(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Return what `work` will return, called with a connection in a thread."""
        return asyncio.get_running_loop().run_in_executor(self._threads, self._answer, work)

    def close(self) -> None:
        """Wait for the answers that are under way, then disconnect."""
        self._threads.shutdown()
        while self._connections:
            self._connections.pop().close()

    def _answer(self, work: Callable[[Connection], T]) -> T:
        connection = self._idle.get_nowait()  # there are as many as threads
        try:
            try:
                return self._answer_on(connection, work)
            except DBAPIError:
                if not connection.invalidated:
                    raise
            return self._answer_on(connection, work)  # the server was restarted, perhaps long ago
        finally:
            self._idle.put(connection)

    def _answer_on(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        with self._at_work(connection), connection.begin() if self._in_transaction else _none_left(connection):
            return work(connection)


@contextmanager
def _none_left(connection: Connection) -> Iterator[None]:
    """Leave no transaction open that SQLAlchemy believes in: a broken one would let no new connection begin."""
    try:
        yield
    finally:
        if connection.in_transaction():
            connection.rollback()
