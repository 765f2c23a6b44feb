"""The database: writes that share their commits, and reads that wait for nobody."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, TypeVar

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError

from ..errors import ConfigurationError, InvalidRequest
from .kind import DatabaseUnavailable, kind_of, reason_of
from .readers import Readers
from .schema import upgrade
from .writer import Job, Writer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")

First: TypeAlias = "Callable[[Callable[[], None]], Awaitable[object]]"
"""Does what has to be done before a write. Calls what it is given when that is done, in the thread that has done it."""

_PENDING: Final = 10_000
"""More writes than this are not queued: who wants to write waits."""
_READERS: Final = 2
"""Connections, with a thread each, for what may take long, such as lists."""
_FINDERS: Final = 4
"""The same for what is quick, where the database is a server; and there is one more, which writes."""


class Database:
    """One database, open while the context is.

    Args:
        url: as SQLAlchemy writes it, such as `sqlite:////var/lib/penstock/penstock.db` or
            `postgresql://user:password@host:5432/penstock`.
        ordered: whether numbers of rows must grow in the order of the commits, also where several processes write:
            then only one of them writes at a time. In SQLite it is always so.
        only_writes: whether nothing will be asked of it but `write`, so that one connection is enough.

    Opening creates or upgrades the tables. Several processes may have the same database open.
    """

    def __init__(self, url: str | URL, *, ordered: bool = False, only_writes: bool = False) -> None:
        try:
            self._url = make_url(url)
        except (ArgumentError, ValueError):  # it may contain a password: neither it nor the error is shown
            raise ConfigurationError(
                "database: what is given is not a URL. Write sqlite:///path/to/penstock.db or postgresql://host/name"
            ) from None
        self._kind = kind_of(self._url, str(self))
        self._url = self._kind.check(self._url)
        self._limit = self._kind.limit
        self._ordered = ordered
        self._only_writes = only_writes
        self._engines: list[Engine] = []
        self._connections: list[Connection] = []
        self._busy: dict[Connection, float] = {}
        """Connections that a thread waits on, and since when (monotonic seconds)."""
        self._looker: Connection | None = None
        self._finders: Readers | None = None
        self._readers: Readers | None = None
        self._writer: Writer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room = asyncio.Semaphore(_PENDING)

    @property
    def is_shared(self) -> bool:
        """Whether it is a server, which instances on other machines reach as well."""
        return self._limit is not None

    def __str__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    async def __aenter__(self) -> Self:
        """Open it.

        Raises:
            ConfigurationError: there is no such folder, it is not ours to write, the file is no database, a newer
                version of the program has written it, or the server does not let us in.
            DatabaseUnavailable: the server does not answer.
        """
        try:
            await asyncio.to_thread(self._open)
        except DBAPIError as error:
            await asyncio.to_thread(self._close)
            raise self._kind.cannot_be_opened(str(self), error) from error
        except BaseException:
            await asyncio.to_thread(self._close)
            raise
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Commit what was asked for so far, then close."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await self._finish(writer.stop)
        await self._finish(self._close)

    async def write(self, work: Callable[[Connection], T], *, first: First | None = None) -> T:
        """Run `work` in a transaction and return what it returns; by then it is committed, and on disk.

        The transaction is shared with other writes that wait. If one of them fails, it is undone and the others run
        again: `work` may run more than once, so it may only touch the connection. What it raises is raised here, and
        nothing of it is kept. If the caller is cancelled, it may or may not have been done.

        `first` is done before, and if it fails nothing is written and its error is raised. The thread that does it goes
        on with the transaction by itself where it can, so that nobody has to be woken in between.

        Raises:
            DatabaseUnavailable: nothing was kept, or it is a server and its answer did not come.
        """
        await self._room.acquire()
        if self._writer is None or self._loop is None:
            self._room.release()
            raise DatabaseUnavailable(f"database {self} is not open")
        future: asyncio.Future[T] = self._loop.create_future()
        if first is None:
            self._writer.submit(Job(work, future))
        else:
            await self._begin(self._writer, first, Job(work, future))
        return await self._answer(future)

    async def _begin(self, writer: Writer, first: First, job: Job) -> None:
        """Have a job done after what comes `first`."""
        # A server may not answer: that is waited for in its own thread, and here only so long.
        hand_on = writer.settle if self._limit is None else writer.submit
        handed_on = False

        def go_on() -> None:
            nonlocal handed_on
            handed_on = True
            hand_on(job)

        try:
            await first(go_on)
        except BaseException:
            job.future.cancel()
            raise
        finally:
            if not handed_on:
                self._room.release()
        if not handed_on:
            raise RuntimeError("what was to come before a write has ended without going on with it")

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a thread, on one unchanging state that contains all finished writes; return its result.

        Raises:
            DatabaseUnavailable: there is no answer.
        """
        if self._readers is None:
            raise DatabaseUnavailable(f"database {self} is not open for reading")
        return await self._answer(self._readers.ask(work))

    async def find(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which is one statement that finds a row or a few by their key; return its result.

        At once in SQLite, as `lookup`. On a server it waits for no `read`, and costs one journey there and back.

        Raises:
            DatabaseUnavailable: there is no answer.
        """
        return self.lookup(work) if self._finders is None else await self._answer(self._finders.ask(work))

    def lookup(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which looks up a row or a few by their key, at once, on the event loop.

        A thread would cost several times what such a look costs (30 µs, from memory). Anything that may read more
        than a few pages belongs into `read`.

        Raises:
            DatabaseUnavailable: there is no answer; a server has none, for it would have to be waited for: use `find`.
        """
        if self._looker is None:
            raise DatabaseUnavailable(f"database {self} is not open, or it is a server")
        try:
            return work(self._looker)
        except DBAPIError as error:
            raise self._translated(error) from error

    async def _answer(self, future: asyncio.Future[T]) -> T:
        """Wait for a result, as long as the kind of database says."""
        try:
            if self._limit is None:
                return await future
            async with asyncio.timeout(self._limit.seconds):
                return await future
        except TimeoutError as error:
            self._sever_stuck()
            raise DatabaseUnavailable(f"database {self}: no answer within the limit") from error
        except DBAPIError as error:
            raise self._translated(error) from error

    async def _finish(self, work: Callable[[], None]) -> None:
        """Run what ends when the threads have ended what they are at, for which they get as long as any answer."""
        finished = asyncio.ensure_future(asyncio.to_thread(work))
        while not (await asyncio.wait({finished}, timeout=self._limit.seconds if self._limit else None))[0]:
            self._sever_stuck()
        await finished

    def _sever_stuck(self) -> None:
        """Free the threads that have waited for too long; their next use of the database begins a new connection."""
        if self._limit is None:
            return
        long_ago = time.monotonic() - self._limit.seconds
        for connection, since in list(self._busy.items()):
            if since <= long_ago:
                self._limit.sever(connection)

    @contextmanager
    def _at_work(self, connection: Connection) -> Iterator[None]:
        self._busy[connection] = time.monotonic()
        try:
            yield
        finally:
            del self._busy[connection]

    def _translated(self, error: DBAPIError) -> Exception:
        if isinstance(error, DataError) and "NUL" in str(error.orig):  # PostgreSQL keeps none, SQLite finds none
            return InvalidRequest("there is a NUL character in what was asked for. No name has one.")
        if not self._kind.is_unavailable(error):
            return error
        return DatabaseUnavailable(f"database {self}: {reason_of(error)}. Try again once that is mended.")

    def _open(self) -> None:
        writing = self._engine(self._kind.writer_engine)
        upgrade(writing, f"database {self}")
        if self._ordered and self._kind.order is not None:
            self._kind.order(writing)
        connection = writing.connect()
        self._connections = [connection]
        if not self._only_writes:
            self._open_for_reading()
        self._writer = Writer(connection, self._committed, at_work=self._at_work)
        self._writer.start()

    def _open_for_reading(self) -> None:
        reading, finding = self._engine(self._kind.reader_engine), self._engine(self._kind.lookup_engine)
        self._readers = Readers(reading, _READERS, in_transaction=True, at_work=self._at_work)
        if self._limit is None:
            self._looker = finding.connect()
            self._connections.append(self._looker)
        else:
            self._finders = Readers(finding, _FINDERS, in_transaction=False, at_work=self._at_work)

    def _engine(self, make: Callable[[URL], Engine]) -> Engine:
        engine = make(self._url)
        self._engines.append(engine)
        return engine

    def _close(self) -> None:
        for readers in (self._readers, self._finders):
            if readers is not None:
                readers.close()
        self._readers = self._finders = self._looker = None
        while self._connections:
            self._connections.pop().close()
        while self._engines:
            self._engines.pop().dispose()

    def _committed(self, jobs: list[Job]) -> None:
        """Hand results over to the event loop. Runs in the thread that has written."""
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
