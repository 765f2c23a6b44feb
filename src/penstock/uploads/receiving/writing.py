"""Writes the bodies of requests to the ends of uploads. Whoever asks holds the lock of the upload."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, cast

import structlog

from ...blobs.base import BlobUnavailable, StorageFull
from ...blobs.sharing import SupportsFences
from ...errors import PenstockError
from ..errors import InconsistentLength, QuotaExceeded, TooLarge
from ..gateway.last_bytes import LastBytes
from ..protocols.expected import Tally
from .intake import Intake
from .room import STEP_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from datetime import timedelta

    from ...blobs.base import Appender, BlobStore
    from ...telemetry import Metrics
    from ..gateway.last_bytes import ReleasingAppender
    from ..locking.locks import Hold
    from ..protocols.expected import Expected
    from ..standing import Standing
    from ..upload import Upload
    from .admission import Admission
    from .room import Growth, Room

log = structlog.get_logger(__name__)

Reserve: TypeAlias = "Callable[[str, int], Awaitable[None]]"


class HandOn(Protocol):
    """Hands on an upload of which all has arrived."""

    async def __call__(self, upload: Upload, *, size_bytes: int, last: LastBytes) -> Upload:
        """Put its last bytes on disk, and return what has become of it."""
        ...


class Written(NamedTuple):
    """What became of a body."""

    length_bytes: int
    """Where the upload ends now."""
    is_all: bool
    """Whether this is all of it; then it is forced to disk."""
    received: Upload | None = None
    """What the gateway has made of it, if it was told already."""


def _is_told_its_end(upload: Upload) -> bool:
    return upload.explicit_end or upload.size_bytes is None


class Counting:
    """Has an upload of unknown size count for what has come of it, before it grows: a step ahead where that is left."""

    def __init__(self, upload_id: str, growth: Growth, reserve: Reserve) -> None:
        self._upload_id = upload_id
        self._growth = growth
        self._reserve = reserve
        self._counted_bytes = 0

    async def to(self, end: int) -> None:
        """Make sure that there is room, and quota left, up to byte `end`.

        Raises:
            StorageFull, QuotaExceeded: there is not.
        """
        await self._growth.to(end)
        if end > self._counted_bytes:
            try:
                await self._reserve(self._upload_id, end + STEP_BYTES)
                self._counted_bytes = end + STEP_BYTES
            except QuotaExceeded:
                await self._reserve(self._upload_id, end)
                self._counted_bytes = end


class Writer:
    """Writes bodies.

    Args:
        blobs: keeps the bytes.
        room: is told what has arrived.
        metrics: counts bytes.
        admission: limits how large uploads are.
        reserve: has an upload of unknown size count for so many bytes.
        idle: how long a client may send nothing in the middle of a body.
    """

    def __init__(
        self,
        *,
        blobs: BlobStore,
        room: Room,
        metrics: Metrics,
        admission: Admission,
        reserve: Reserve,
        idle: timedelta,
    ) -> None:
        self._blobs = blobs
        self._fenced = blobs if isinstance(blobs, SupportsFences) else None
        self._room = room
        self._metrics = metrics
        self._admission = admission
        self._reserve = reserve
        self._idle = idle

    async def append(
        self,
        standing: Standing,
        body: AsyncIterable[bytes],
        hold: Hold,
        expected: Expected | None,
        *,
        ends_upload: bool,
        hand_on: HandOn | None = None,
    ) -> Written:
        """Write a body to the end of an upload; what arrived before a failure is kept, unless `expected` says more.

        With `ends_upload`, an upload of unknown size, or one that is told its end, ends where the body ends. `hand_on`
        is told that all bytes are there, and puts the last ones on disk, if these can be put into their final place in
        one go; None: whoever calls this does so.
        """
        upload, begin = standing
        limit, growth, grows = upload.size_bytes, None, None
        if upload.size_bytes is None:
            limit = self._admission.largest(upload.space, upload.owner)
            growth = self._room.growth(upload.id, begin)
            grows = Counting(upload.id, growth, self._reserve).to
        intake = Intake(limit_bytes=limit, expected=expected, from_start=begin == 0, grows=grows)
        is_all, received = False, None
        appender: Appender | None = None
        try:
            async with self._opened(upload.id, begin, hold, tentative=expected is not None) as appender:
                await self._read(intake, body, appender, hold, standing)
                at_end = upload.size_bytes in (None, appender.length_bytes)
                is_all = at_end if not _is_told_its_end(upload) else ends_upload and at_end
                intake.check(complete=is_all)
                # Not `isinstance`, which takes as long as all the rest of this for a protocol.
                if is_all and hand_on is not None and hasattr(appender, "seal_and_release"):
                    last = LastBytes(cast("ReleasingAppender", appender))
                    received = await hand_on(upload, size_bytes=appender.length_bytes, last=last)
                    await last.seal()  # it may have had no reason to
                elif is_all:
                    await appender.seal()
        except PenstockError as error:
            stands = begin if appender is None else appender.length_bytes
            self._say(error, upload=upload.id, reason=error.code, began_at=begin, stands_at=stands)
            raise
        finally:
            if appender is not None:
                self._count(upload, begin, appender.length_bytes, growth)
        if ends_upload and not is_all:
            raise InconsistentLength(
                f"the upload was to end here, after {appender.length_bytes} bytes, but {upload.size_bytes} were "
                "announced. What arrived is kept: continue from there."
            )
        return Written(appender.length_bytes, is_all, received)

    async def _read(
        self, intake: Intake, body: AsyncIterable[bytes], appender: Appender, hold: Hold, standing: Standing
    ) -> None:
        if not intake.wants_earlier:
            await intake.read(body, appender, hold, self._idle)
            return
        async with aclosing(self._blobs.read(standing.upload.id, stop=standing.offset)) as earlier:
            await intake.read(body, appender, hold, self._idle, earlier=earlier)

    def _opened(
        self, upload_id: str, begin: int, hold: Hold, *, tentative: bool
    ) -> AbstractAsyncContextManager[Appender]:
        if hold.confirm is None or self._fenced is None:
            return self._blobs.append(upload_id, begin, tentative=tentative)
        return self._fenced.append_confirmed(upload_id, begin, tentative=tentative, confirm=hold.confirm)

    async def check_empty(
        self, body: AsyncIterable[bytes], length: int | None, hold: Hold, expected: Expected | None
    ) -> None:
        """Make sure that a body that does not tell its length has none, and that no bytes are what is expected of it.

        Raises:
            TooLarge: it has.
            ChecksumMismatch: they are not.
            BadHeader: the fields after the body do not say what they should.
        """
        if length is None:
            async with hold.receiving(self._idle):
                async for _ in body:
                    raise TooLarge("all bytes of the upload are there. Nothing was added.")
        if expected is not None:
            Tally(expected, from_start=False).check(complete=False)

    async def check_whole(self, standing: Standing, hold: Hold, expected: Expected) -> None:
        """Compare what has arrived before, all of an upload, with what a request without bytes says of it.

        Raises:
            ChecksumMismatch: it is not what was announced.
            BadHeader: the fields after the body do not say what they should.
            Interrupted, Ending: as `Hold.receiving`.
        """
        tally = Tally(expected, from_start=False)
        if tally.wants_earlier:
            async with (
                hold.receiving(self._idle),
                aclosing(self._blobs.read(standing.upload.id, stop=standing.offset)) as earlier,
            ):
                async for piece in earlier:
                    hold.alive()
                    await asyncio.to_thread(tally.add_earlier, piece)
        tally.check(complete=True)

    def _say(self, error: PenstockError, **facts: object) -> None:
        """Log why a body was not taken to its end; where it is the storage's doing, count that."""
        if isinstance(error, StorageFull | BlobUnavailable):
            self._metrics.storage_failures.labels(error.code).inc()
            log.warning("storage_failed", error=str(error), **facts)
        else:
            log.info("upload_interrupted", **facts)

    def _count(self, upload: Upload, begin: int, end: int, growth: Growth | None) -> None:
        self._metrics.received_bytes.inc(max(0, end - begin))
        if growth is not None:
            growth.stands_at(end)
        elif upload.size_bytes is not None:
            self._room.arrived(upload.id, max(0, upload.size_bytes - end))
