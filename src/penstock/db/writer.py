"""Writes one after the other: whatever waits becomes one transaction, and one flush to disk.

There is a thread for it. A thread that has just done what a write is to tell of need not wake that one: it commits what
waits by itself, unless somebody is at it. So nobody has to be woken in between, which costs more than a write does.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy.exc import OperationalError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

_BATCH: Final = 256
"""At most so many writes share a transaction, so that the first of them does not wait long for the last."""


class Job:
    """One write that waits, with where its result goes."""

    __slots__ = ("error", "future", "result", "work")

    def __init__(self, work: Callable[[Connection], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class Writer:
    """Runs jobs in the order of their arrival. Opened and closed by whoever hands in the connection.

    A job is among those that wait before anybody looks whether somebody is at it, and who was at it looks for more
    once he has let go: so none is left behind.
    """

    def __init__(
        self,
        connection: Connection,
        done: Callable[[list[Job]], None],
        *,
        at_work: Callable[[Connection], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Prepare.

        Args:
            connection: used by nobody else while this runs.
            done: called from the thread that was at it, with jobs that are committed or have failed.
            at_work: entered for each transaction.
        """
        self._connection = connection
        self._done = done
        self._at_work = at_work
        self._waiting: deque[Job] = deque()
        self._at_it = threading.Lock()
        self._calls: queue.SimpleQueue[bool] = queue.SimpleQueue()
        """Calls for the thread: True, to look for what waits; False, to end."""
        self._thread = threading.Thread(target=self._run, name="penstock-writer", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job. Bounding their number is the caller's part."""
        self._waiting.append(job)
        self._calls.put(True)

    def settle(self, job: Job) -> None:
        """Queue a job and commit it here, with what waits before it; who is at it already does so instead.

        To be called from a thread that may wait for the disk. It commits once: others are not served for ever.
        """
        self._waiting.append(job)
        if self._at_it.acquire(blocking=False):
            try:
                self._settle_some()
            finally:
                self._at_it.release()
            if self._waiting:
                self._calls.put(True)

    def stop(self) -> None:
        """Finish what is queued, then return."""
        self._calls.put(False)
        self._thread.join()

    def _run(self) -> None:
        while self._calls.get():
            self._settle_all()
        self._settle_all()

    def _settle_all(self) -> None:
        while self._waiting:
            with self._at_it:
                self._settle_some()

    def _settle_some(self) -> None:
        """Settle what waits, as far as it may share a transaction. Only for who is at it."""
        batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
        if batch:
            self._settle(batch)
            self._done(batch)

    def _settle(self, jobs: Sequence[Job]) -> None:
        """Commit all jobs but those that fail, each of which fails alone."""
        failed = self._attempt(jobs)
        if failed is not None and failed.lost and not failed.in_doubt:
            failed = self._attempt(jobs)  # the server was restarted, perhaps long ago; nothing of it is there
        if failed is None:
            return
        if failed.lost:
            for job in jobs:
                job.error = failed.error
        elif len(jobs) > 1:
            for part in _split(jobs, failed.job):
                self._settle(part)

    def _attempt(self, jobs: Sequence[Job]) -> _Failure | None:
        """Run `jobs` in one transaction; return what has failed, or None if all are committed."""
        job, committing = jobs[0], False
        try:
            with self._at_work(self._connection), self._connection.begin():
                for job in jobs:
                    job.error = None
                    job.result = job.work(self._connection)
                committing = True
        except BaseException as error:  # noqa: BLE001  # it is raised again where the result is awaited
            job.error = error
            lost = self._connection.invalidated
            if not lost:
                # A commit that fails leaves the transaction open, and SQLAlchemy takes it for ended.
                with suppress(Exception):  # if not even this works, the next transaction will say why
                    self._connection.connection.rollback()
            return _Failure(job, error, lost=lost, in_doubt=committing)
        return None


class _Failure(NamedTuple):
    """Why a transaction did not happen."""

    job: Job
    error: BaseException
    lost: bool
    """Whether the connection is gone, or cannot be made."""
    in_doubt: bool
    """Whether the commit was under way, so that a server may have done it all the same."""


def _split(jobs: Sequence[Job], failed: Job) -> list[Sequence[Job]]:
    """Return what to try next: the failed one by itself; all by themselves if the database is to blame."""
    if isinstance(failed.error, OperationalError):
        return [[job] for job in jobs]
    index = jobs.index(failed)
    parts = (jobs[:index], jobs[index : index + 1], jobs[index + 1 :])
    return [part for part in parts if part]
