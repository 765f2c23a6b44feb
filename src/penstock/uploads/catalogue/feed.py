"""The live side of the journal: tells readers that there is something new, and has the latest entries at hand.

Readers hold no queue. Each remembers the number of the last entry it saw and asks for what came after; the latest
entries are answered from memory, which all readers share, older ones from the table. So a reader may be as slow as it
likes, or away for a day: it costs nothing meanwhile, and continues where it was.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self

import structlog

from ...errors import PenstockError
from . import journal
from .journal import FeedEntry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from ...clock import Clock
    from ...db import Database

__all__ = ["Feed", "FeedEntry", "News"]

log = structlog.get_logger(__name__)

_AT_HAND: Final = 2000
"""Entries kept in memory while somebody reads: some seconds' worth at full load, less than 2 MiB."""
_READ: Final = 500
_TRIM: Final = 2000
_PAUSE_AFTER_FAILURE: Final = timedelta(seconds=1)


class News:
    """Tells one reader that there may be something new."""

    def __init__(self) -> None:
        self._something = asyncio.Event()

    async def wait(self) -> None:
        """Wait until something was written since this last returned, or since the subscription began."""
        await self._something.wait()
        self._something.clear()

    def tell(self) -> None:
        """Have the reader look."""
        self._something.set()


class Feed:
    """All entries, for any number of readers; live while the context is open.

    Args:
        database: open for as long as this is.
        clock: times pauses and ages.
        keep_entries: how many entries `trim` leaves at most.
        keep_for: entries older than this are forgotten by `trim`, too.
        poll: how often to look for what other processes have written while somebody reads; None: there are none.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        keep_entries: int = 200_000,
        keep_for: timedelta = timedelta(days=7),
        poll: timedelta | None = None,
    ) -> None:
        self._poll_seconds = None if poll is None else poll.total_seconds()
        self._database = database
        self._clock = clock
        self._keep_entries = keep_entries
        self._keep_for = keep_for
        self._written = asyncio.Event()
        self._readers: defaultdict[str | None, set[News]] = defaultdict(set)
        self._latest: deque[FeedEntry] = deque()
        self._complete_after: int | None = None
        self._read_up_to = 0
        self.ending = False
        """Whether readers are to go: the server ends."""

    async def __aenter__(self) -> Self:
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._follower = self._tasks.create_task(self._follow(), name="feed")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._follower.cancel()
        await self._tasks.__aexit__(None, None, None)

    def wake(self) -> None:
        """Say that something was committed. Costs nothing while nobody reads."""
        if self._readers:
            self._written.set()

    @contextmanager
    def subscribe(self, upload_id: str | None = None) -> Iterator[News]:
        """Be told of new entries, about one upload or (None) about any, while the context is open.

        Subscribe, then read `since` the number you know, then wait, then read again: nothing is missed.
        """
        news = News()
        self._readers[upload_id].add(news)
        self._written.set()
        try:
            yield news
        finally:
            self._readers[upload_id].discard(news)
            if not self._readers[upload_id]:
                del self._readers[upload_id]
            self._written.set()  # with the last reader goes what was kept for them

    def end(self) -> None:
        """Have all readers look, and see that they are to go."""
        self.ending = True
        self._tell(list(self._readers))

    async def since(self, after: int, *, upload: str | None = None, limit: int) -> list[FeedEntry]:
        """Return at most `limit` entries with numbers above `after`, in order, about one upload or (None) about all.

        To a subscriber, what was committed a moment ago may not be there yet; it is told as soon as it is.

        Raises:
            DatabaseUnavailable: the entries are not at hand, and cannot be read.
        """
        if self._readers and self._complete_after is not None and after >= self._complete_after:
            return self._from_memory(after, upload, limit)
        return await self._database.read(
            lambda connection: journal.since(connection, after, upload_id=upload, limit=limit)
        )

    async def last(self, *, upload: str | None = None) -> int:
        """Return the number of the newest entry, about one upload or (None) about any; 0 when there is none.

        What is committed counts, also if `since` does not return it to a subscriber yet.
        """
        return await self._database.read(lambda connection: journal.last(connection, upload_id=upload))

    async def trim(self, now: datetime | None = None) -> int:
        """Forget what is too old or too much; return how many entries that were. `now`: else what the clock says."""
        before = (now or self._clock.now()) - self._keep_for
        total = 0
        while True:
            gone = await self._database.write(
                lambda connection: journal.trim(connection, before=before, keep=self._keep_entries, limit=_TRIM)
            )
            total += gone
            if gone < _TRIM:
                return total

    def _from_memory(self, after: int, upload: str | None, limit: int) -> list[FeedEntry]:
        newer: list[FeedEntry] = []
        for entry in reversed(self._latest):
            if entry.seq <= after:
                break
            if upload is None or entry.upload == upload:
                newer.append(entry)
        newer.reverse()
        return newer[:limit]

    async def _follow(self) -> None:
        """Read what was written, once for all readers."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds if self._readers else None):
                    await self._written.wait()
            self._written.clear()
            try:
                await self._catch_up()
            except PenstockError as error:
                log.warning("feed_cannot_be_read", error=str(error))
                await self._clock.sleep(_PAUSE_AFTER_FAILURE)
                self._written.set()

    async def _catch_up(self) -> None:
        if not self._readers:
            self._latest.clear()
            self._complete_after = None
            return
        if self._complete_after is None:
            self._read_up_to = self._complete_after = await self.last()
            self._tell(list(self._readers))  # what was committed before is in the table
        while entries := await self._database.read(
            lambda connection: journal.since(connection, self._read_up_to, upload_id=None, limit=_READ)
        ):
            self._keep(entries)
            self._tell([None, *{entry.upload for entry in entries}])
            if len(entries) < _READ:
                return

    def _keep(self, entries: list[FeedEntry]) -> None:
        self._latest.extend(entries)
        self._read_up_to = entries[-1].seq
        while len(self._latest) > _AT_HAND:
            self._complete_after = self._latest.popleft().seq

    def _tell(self, readers_of: list[str | None]) -> None:
        for upload_id in readers_of:
            for news in self._readers.get(upload_id, ()):
                news.tell()
