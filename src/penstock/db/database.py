"""The database: writes that share their commits, and reads that wait for nobody."""

from __future__ import annotations

import asyncio
import queue
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from ..errors import ConfigurationError, Unavailable
from . import sqlite
from .schema import upgrade
from .writer import Job, Writer

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_PENDING: Final = 10_000
"""More writes than this are not queued: who wants to write waits."""
_READERS: Final = 2


class DatabaseUnavailable(Unavailable):
    """The database could not be read or written: the disk is full or broken, or somebody holds the lock.

    Nothing of the write was kept.
    """

    code = "database-unavailable"


class Database:
    """One database, open while the context is.

    Args:
        url: as SQLAlchemy writes it, such as `sqlite:////var/lib/penstock/penstock.db`.

    Opening creates or upgrades the tables. Several processes may have the same database open.
    """

    def __init__(self, url: str) -> None:
        try:
            self._url = make_url(url)
        except ArgumentError as error:
            raise ConfigurationError(f"database {url!r}: not a URL. Write sqlite:///path/to/penstock.db") from error
        if self._url.get_backend_name() != "sqlite":
            raise ConfigurationError(f"database {self}: only sqlite is supported. Write sqlite:///path/to/penstock.db")
        sqlite.check(self._url)
        self._engines: list[Engine] = []
        self._connections: list[Connection] = []
        self._idle: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._looker: Connection | None = None
        self._writer: Writer | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room = asyncio.Semaphore(_PENDING)

    def __str__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    async def __aenter__(self) -> Self:
        """Open it.

        Raises:
            ConfigurationError: there is no such folder, it is not ours to write, the file is no database, or a newer
                version of the program has written it.
        """
        try:
            await asyncio.to_thread(self._open)
        except DBAPIError as error:
            await asyncio.to_thread(self._close)
            raise ConfigurationError(
                f"database {self}: cannot be opened: {error.orig}. Check that the folder exists and may be written."
            ) from error
        except BaseException:
            await asyncio.to_thread(self._close)
            raise
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Commit what was asked for so far, then close."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await asyncio.to_thread(writer.stop)
        await asyncio.to_thread(self._close)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction and return what it returns; by then it is committed, and on disk.

        The transaction is shared with other writes that wait. If one of them fails, it is undone and the others run
        again: `work` may run more than once, so it may only touch the connection. What it raises is raised here, and
        nothing of it is kept. If the caller is cancelled, it may or may not have been done.

        Raises:
            DatabaseUnavailable: nothing was kept.
        """
        await self._room.acquire()
        if self._writer is None or self._loop is None:
            self._room.release()
            raise DatabaseUnavailable(f"database {self} is not open")
        future: asyncio.Future[T] = self._loop.create_future()
        self._writer.submit(Job(work, future))
        try:
            return await future
        except OperationalError as error:
            raise self._unavailable(error) from error

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a thread, on one unchanging state that contains all finished writes; return its result.

        Raises:
            DatabaseUnavailable: there is no answer.
        """
        if self._readers is None:
            raise DatabaseUnavailable(f"database {self} is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)
        except OperationalError as error:
            raise self._unavailable(error) from error

    def lookup(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which looks up a row or a few by their key, at once, on the event loop.

        A thread would cost several times what such a look costs (30 µs, from memory). Anything that may read more
        than a few pages belongs into `read`.

        Raises:
            DatabaseUnavailable: there is no answer.
        """
        if self._looker is None:
            raise DatabaseUnavailable(f"database {self} is not open")
        try:
            return work(self._looker)
        except OperationalError as error:
            raise self._unavailable(error) from error

    def _read(self, work: Callable[[Connection], T]) -> T:
        connection = self._idle.get_nowait()  # there are as many as threads
        try:
            with connection.begin():
                return work(connection)
        finally:
            self._idle.put(connection)

    def _unavailable(self, error: OperationalError) -> DatabaseUnavailable:
        return DatabaseUnavailable(f"database {self}: {error.orig}. Check the disk, then try again.")

    def _open(self) -> None:
        writing, reading = sqlite.writer_engine(self._url), sqlite.reader_engine(self._url)
        looking = sqlite.lookup_engine(self._url)
        self._engines = [writing, reading, looking]
        upgrade(writing, f"database {self}")
        connection = writing.connect()
        self._looker = looking.connect()
        self._connections = [connection, self._looker]
        for _ in range(_READERS):
            reader = reading.connect()
            self._connections.append(reader)
            self._idle.put(reader)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="penstock-reader")
        self._writer = Writer(connection, self._committed)
        self._writer.start()

    def _close(self) -> None:
        if self._readers is not None:
            self._readers.shutdown()
            self._readers = None
        self._looker = None
        while self._connections:
            self._connections.pop().close()
        self._idle = queue.SimpleQueue()
        while self._engines:
            self._engines.pop().dispose()

    def _committed(self, jobs: list[Job]) -> None:
        """Hand results over to the event loop. Runs in the writer's thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, jobs)

    def _deliver(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._room.release()
            _resolve(job.future, job)


def _resolve(future: asyncio.Future[Any], job: Job) -> None:
    if future.done():  # its caller was cancelled
        return
    if job.error is not None:
        future.set_exception(job.error)
    else:
        future.set_result(job.result)
