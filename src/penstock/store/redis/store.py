"""Records in Redis, and an index beside them: scripts keep it up to date, and what others have written is found."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, Self

import structlog

from .. import layout
from ..ahead import ahead
from ..base import ProgressStore, Revision, RevisionConflict, Saved
from . import scripts
from .entries import (
    Filing,
    Keys,
    Row,
    decode,
    encode,
    filing,
    filing_of,
    from_microseconds,
    revision_digits,
    spelled,
    to_microseconds,
)
from .finder import Finder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from datetime import datetime

    from ...clock import Clock
    from ...core.progress import Progress
    from ..target import StoreTarget
    from .server import Server

log = structlog.get_logger(__name__)

_BATCH: Final = 250
"""Records that are read at once: some 500 KiB, and a millisecond of the server."""


class IndexedStore(ProgressStore):
    """What both stores do, on a server that is one machine or whichever is the master."""

    def __init__(self, server: Server, target: StoreTarget, clock: Clock) -> None:
        self._server = server
        self._target = target
        self._keys = Keys(target.table)
        self._finder = Finder(server, self._keys, clock)

    async def __aenter__(self) -> Self:
        try:
            await self._server.open()
            if self._target.ttl is not None:
                hint = "as in the Go services: an upload in flight is never forgotten because of its age"
                log.warning("redis_ignores_ttl", server=self._server.name, hint=hint)
        except BaseException:
            await self._server.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._server.close()

    async def get(self, upload_id: str) -> Saved | None:
        """Return one record, or None."""
        value = await self._server.fetch(self._keys.record(upload_id), self._keys.prefix)
        return None if value is None else decode(upload_id, value)

    async def get_many(self, upload_ids: Iterable[str]) -> dict[str, Saved]:
        """Return the records that exist."""
        found: dict[str, Saved] = {}
        ids = iter(upload_ids)
        while batch := list(islice(ids, _BATCH)):
            values = await self._server.command("MGET", *map(self._keys.record, batch))
            for upload_id, value in zip(batch, values, strict=True):
                if value is not None and (saved := _readable(upload_id, value)):
                    found[upload_id] = saved
        return found

    async def save(self, progress: Progress, *, expected: Revision | None) -> Revision:
        """Write a record in the place of the one that was read, whoever has written that one."""
        value = encode(progress)
        filed = filing(progress, value)
        written = await self._server.change(
            scripts.SAVE,
            [self._keys.record(progress.upload_id)],
            self._keys.prefix,
            progress.upload_id.encode(),
            b"" if expected is None else spelled(expected),
            value,
            *filed,
        )
        if not written:
            raise RevisionConflict(progress.upload_id)
        return Revision(int(filed.revision, 16))

    async def delete(self, upload_id: str, *, expected: Revision) -> None:
        """Remove the record that was read, whoever has written it."""
        keys = [self._keys.record(upload_id)]
        if not await self._server.change(
            scripts.DELETE, keys, self._keys.prefix, upload_id.encode(), spelled(expected)
        ):
            raise RevisionConflict(upload_id)

    async def due(self, now: datetime, *, limit: int) -> list[Saved]:
        """Return what is due, the longest due first. What a Go service has written has no timer."""
        while True:  # what is filed wrongly is refiled and so not met again
            rows = await self._rows("due", b"-inf", b"%d" % to_microseconds(now), limit)
            found, wrong = self._sorted_out(rows)
            if not wrong:
                return found
            await self._finder.refile(wrong)

    async def next_due(self) -> datetime | None:
        """Return the earliest timer, which may be over since a Go service has written the record."""
        first = await self._server.command("ZRANGE", self._keys.own("due"), 0, 0, "WITHSCORES")
        return from_microseconds(first[1]) if first else None

    async def in_step(self, step: str) -> AsyncIterator[Saved]:
        """Yield the records of a step in the order of their first save, in batches.

        Records that a Go service has moved there come as well: all keys are looked at first.
        """
        await self._finder.find()
        async for saved in self._walk(f"step:{step}"):
            if saved.progress.status.current_step == step:
                yield saved

    async def all(self) -> AsyncIterator[Saved]:
        """Yield all records in the order of their first save, in batches.

        A record that a Go service has begun comes as soon as it has been noticed. See `Finder.find_now_and_then`.
        """
        await self._finder.find_now_and_then()
        async for saved in self._walk("order"):
            yield saved

    async def count_by_step(self) -> dict[str, int]:
        """Return the sizes of the steps' sets. What a Go service does shows when records are next listed."""
        counts = iter(await self._server.read(scripts.COUNT, [], self._keys.prefix))
        return {step[1:].decode(): number for step, number in zip(counts, counts, strict=True)}

    async def remember_answer(self, step: str, at: datetime) -> None:
        """Note an answer."""
        await self._server.command("HSET", self._keys.own("answers"), step.encode(), to_microseconds(at))

    async def answered(self) -> dict[str, datetime]:
        """Return the noted answers."""
        answers: dict[bytes, bytes] = await self._server.command("HGETALL", self._keys.own("answers"))
        return {step.decode(): from_microseconds(at) for step, at in answers.items()}

    async def _walk(self, sorted_set: str) -> AsyncIterator[Saved]:
        """Yield what was there when this began, a batch at a time: nothing is held open in between."""
        async for rows in ahead(self._pages(sorted_set)):
            found, wrong = self._sorted_out(rows)
            if wrong:
                await self._finder.refile(wrong)
            for saved in found:
                yield saved

    async def _pages(self, sorted_set: str) -> AsyncIterator[list[Row]]:
        last: bytes = await self._server.command("GET", self._keys.own("last")) or b"0"
        after = b"-inf"
        while rows := await self._rows(sorted_set, after, last, _BATCH):
            after = b"(" + rows[-1].score
            yield rows

    async def _rows(self, sorted_set: str, least: bytes, most: bytes, limit: int) -> list[Row]:
        name = sorted_set.encode()
        columns = await self._server.read(
            scripts.READ, [], self._keys.prefix, self._keys.table, name, least, most, limit
        )
        return list(map(Row, *columns))

    def _sorted_out(self, rows: Sequence[Row]) -> tuple[list[Saved], dict[bytes, Filing]]:
        """Return the records among `rows`, and those that are filed as something else than they are."""
        found, wrong = [], {}
        for upload, _, value, entry in rows:
            saved, right = None, Filing(b"", b"", b"")
            if value is not None:
                saved = _readable(upload.decode(), value)
                right = filing_of(saved) if saved else Filing(revision_digits(value), b"", b"")
            if saved:
                found.append(saved)
            if right.entry != entry:
                wrong[upload] = right
        return found, wrong


def _readable(upload_id: str, value: bytes) -> Saved | None:
    """Decode a value among many: one that is no record must not hide the others."""
    try:
        return decode(upload_id, value)
    except layout.BadRecord as error:
        log.error("record_unreadable", upload=upload_id, error=str(error))  # noqa: TRY400  # says all there is
        return None
