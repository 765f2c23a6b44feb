"""The one thread that writes: whatever waits for it becomes one transaction, and one flush to disk."""

from __future__ import annotations

import queue
import threading
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
    """Runs jobs in the order of their arrival. Opened and closed by whoever hands in the connection."""

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
            done: called from the thread, with jobs that are committed or have failed.
            at_work: entered for each transaction.
        """
        self._connection = connection
        self._done = done
        self._at_work = at_work
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="penstock-writer", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job. Bounding their number is the caller's part."""
        self._queue.put(job)

    def stop(self) -> None:
        """Finish what is queued, then return."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            first = self._queue.get()
            if first is None:
                return
            batch, last = self._waiting(first)
            self._settle(batch)
            self._done(batch)

    def _waiting(self, first: Job) -> tuple[list[Job], bool]:
        """Return what has queued up behind `first`, and whether the end was asked for."""
        batch = [first]
        while len(batch) < _BATCH:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
            if job is None:
                return batch, True
            batch.append(job)
        return batch, False

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
