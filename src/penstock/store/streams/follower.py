"""Keeps the index up to what the stream says, whoever wrote it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

import structlog

from ..base import StoreUnavailable
from ..layout import BadRecord
from .reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...clock import Clock
    from ...core.progress import Progress
    from .bucket import Bucket, Found, Interpreter
    from .index import Index
    from .markers import Markers

log = structlog.get_logger(__name__)

INTERVAL: Final = timedelta(seconds=2)
"""After how long this instance knows what others have written. What it writes itself, it knows at once."""
_MOST_PURGED: Final = 100
"""Former versions that a start takes the time to remove. A kill leaves as many as were being written."""


class Follower:
    """Reads the stream, at first all of it, then every `INTERVAL` what is new.

    A record that was written several times in between is read once, and what was written and purged is not read at
    all: so following costs less than a message for each change of each instance would.
    """

    def __init__(
        self, bucket: Bucket, index: Index, markers: Markers, *, decode: Callable[[Found], Progress], clock: Clock
    ) -> None:
        """`decode` raises BadRecord for what is no record."""
        self._bucket = bucket
        self._index = index
        self._markers = markers
        self._decode = decode
        self._clock = clock
        self._reader = Reader(bucket.stream)
        self._interpreter: Interpreter = bucket.interpreter()
        self._unread = set[str]()
        """Uploads whose records are not in the messages that tell of them."""
        self._life = ""
        self._turn = asyncio.Lock()
        self._outlived: dict[str, int] | None = None if bucket.each_says_all else {}
        """Uploads of which a former version was met on the first way through, with the latest; None afterwards, and
        where the server keeps no former ones."""

    async def catch_up(self) -> None:
        """Bring the index up to what the stream says now.

        Raises:
            StoreUnavailable: the server is away. What was read so far counts.
        """
        async with self._turn:
            async for page in self._reader.pages():
                self._begin_again_if_replaced()
                for message in page:  # without a pause: what was handed out once does not come again
                    if self._bucket.each_says_all and self._index.is_written_here(message.seq):
                        continue
                    found = self._interpreter(message)
                    if found is not None and self._outlived is not None:
                        self._look_for_former(found, self._outlived)
                    if found is not None and found.elsewhere:
                        self._unread.add(found.upload_id)
                    elif found is not None:
                        self._note_readable(found)
                self._index.told_until(page[-1].seq)
                await self._read_by_themselves()
            self._begin_again_if_replaced()
            await self._read_by_themselves()
            await self._purge_former()

    def _look_for_former(self, found: Found, outlived: dict[str, int]) -> None:
        if 0 < self._index.seq_of(found.upload_id) < found.seq:
            outlived[found.upload_id] = found.seq

    async def _purge_former(self) -> None:
        """Take away what somebody left who was killed: a command that reads the stream once would meet it first."""
        outlived, self._outlived = self._outlived or {}, None
        with suppress(StoreUnavailable):  # only the last one counts, so they may lie there
            for upload_id, seq in islice(outlived.items(), _MOST_PURGED):
                await self._bucket.stream.purge(self._bucket.subject_of(upload_id), before=seq)

    def note(self, found: Found) -> Progress | None:
        """Put what the stream says of an upload into the index; return its record, None when it was removed.

        Raises:
            BadRecord: it is none.
        """
        if found.data is None:
            self._index.remove(found.upload_id, found.seq)
            self._markers.offer(self._bucket.subject_of(found.upload_id), found.seq)
            return None
        try:
            progress = self._decode(found)
        except BadRecord:
            self._index.remove(found.upload_id, found.seq)
            raise
        self._index.put(progress, found.seq)
        return progress

    async def run(self) -> None:
        """Follow, and take markers away, until cancelled. A server that is away is waited for."""
        away = False
        while True:
            await self._clock.sleep(INTERVAL)
            try:
                await self.catch_up()
                await self._markers.sweep()
            except StoreUnavailable as error:
                if not away:
                    log.warning("store_not_followed", stream=self._bucket.stream.name, error=str(error))
                away = True
            except Exception:
                log.exception("store_follower_failed", stream=self._bucket.stream.name)
            else:
                if away:
                    log.info("store_followed_again", stream=self._bucket.stream.name)
                away = False

    async def close(self) -> None:
        """Let the server forget that we follow."""
        await self._reader.close()

    async def _read_by_themselves(self) -> None:
        """Read what the stream only mentioned; what cannot be read now is read the next time."""
        for upload_id in tuple(self._unread):
            found = await self._bucket.read(upload_id)
            self._unread.discard(upload_id)
            if found is not None:
                self._note_readable(found)

    def _note_readable(self, found: Found) -> None:
        try:
            self.note(found)
        except BadRecord as error:  # once per version: it is not in the index
            log.error("record_unreadable", upload=found.upload_id, error=str(error))  # noqa: TRY400  # says all there is

    def _begin_again_if_replaced(self) -> None:
        """Forget everything when the stream turns out to be another one than before."""
        if self._reader.life == self._life:
            return
        if self._life:
            log.warning("store_was_replaced", stream=self._bucket.stream.name)
            self._index.clear()
            self._markers.clear()
            self._unread.clear()
            self._outlived = None
            self._bucket.forget()
            self._interpreter = self._bucket.interpreter()
        self._life = self._reader.life
