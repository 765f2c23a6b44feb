"""Adds the bytes of one request to an upload that is staged in an object store.

Bytes are collected to segments, and these are sent while the next one fills. They count from the moment on at which the
head names them: every few segments, and at the end. So a death costs what was sent since then, and nothing else; and a
writer that was thought dead finds another head than it has read, and changes nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import TYPE_CHECKING, Final, Self

from ...errors import PenstockError
from ...threads import to_the_end
from ..base import Appender, BlobMissing, OffsetConflict
from .head import TAIL_BYTES, Head, Segment, name_of, with_segment
from .heads import Superseded, new_mark
from .sending import AT_ONCE, Sending
from .waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .head import Run
    from .heads import Saved
    from .staging import ObjectStaging

_COUNTED_EVERY: Final = AT_ONCE
"""After how many segments the head is written anew, in the middle of a request."""


class ObjectAppender(Appender, AbstractAsyncContextManager["ObjectAppender"]):
    """Writes at the end of one upload. Nothing is sent before there is something to write.

    The head is read while the first bytes come in, so that what has reached us is kept however soon its request ends.
    """

    def __init__(
        self,
        staging: ObjectStaging,
        upload_id: str,
        offset: int,
        *,
        tentative: bool,
        confirm: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        """Begin at the end of an upload, as the port says.

        `confirm` is called with the offset when the head was read, and before anything is sent; None: no need.
        """
        self._confirm = confirm
        self._staging = staging
        self._id = upload_id
        self._offset = offset
        self._tentative = tentative
        self._writer = new_mark()
        self._sending = Sending(staging.bucket, upload_id)
        self._opening: asyncio.Future[Saved] | None = None
        self._saved: Saved | None = None
        self._first: Head = Head("")
        """What was there when the context began."""
        self._early: list[bytes] = []
        """What came before the head was read."""
        self._early_bytes = 0
        self._begun = False
        self._failure: PenstockError | None = None
        self._finished = False
        self._length_bytes = offset
        self._runs: tuple[Run, ...] = ()
        """What the head will name: all of it has arrived."""
        self._uncounted: list[Segment] = []
        """What has arrived and is not named yet."""
        self._filled_to = 0
        """Where the bytes begin that wait."""
        self._waiting = Waiting(staging.limits)
        self._doubtful = False
        """Whether a head may have been written, or may be yet, that was not confirmed."""
        self._superseded: Head | None = None
        """What somebody else has written in the place of what was read here, or written."""

    @property
    def length_bytes(self) -> int:
        """Where the blob ends."""
        return self.written_bytes if self._finished or self._failure is not None else self._length_bytes

    @property
    def written_bytes(self) -> int:
        """Where the head says that it ends."""
        return self._offset if self._saved is None else self._saved.head.length_bytes

    async def __aenter__(self) -> Self:
        if self._confirm is None:
            self._opening = asyncio.create_task(self._staging.heads.read(self._id))
        else:
            saved = await self._staging.heads.read(self._id)
            await self._confirm(self._offset)  # whoever takes the upload over from now on writes another head
            self._opening = asyncio.get_running_loop().create_future()
            self._opening.set_result(saved)
        self._staging.limits.begins()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if not self._finished:
                await self._end(keep=kind is None or not self._tentative)
        except PenstockError:
            # Whoever is on the way out with an error already, or is being cancelled, learns from the length what the
            # storage made of the rest.
            if error is None:
                raise
        finally:
            self._waiting.clear()
            self._staging.limits.holds(-self._early_bytes)
            self._staging.limits.ends()

    async def write(self, chunk: bytes) -> None:
        """Add a chunk; wait when there are as many segments on their way as there may be, of this upload or of all."""
        if self._failure is not None:
            raise self._failure
        if not chunk:
            return
        self._length_bytes += len(chunk)
        if self._may_wait():
            self._early.append(chunk)
            self._early_bytes += len(chunk)
            self._staging.limits.holds(len(chunk))
            return
        await self._begin()
        await self._take(chunk)

    async def seal(self) -> None:
        """Send the rest, and have all of it count, and nothing else any more (`ObjectStaging.seal`)."""
        await self._end(keep=True)
        if self._opened().head.mark == self._first.mark:
            await to_the_end(asyncio.ensure_future(self._save(self._first._replace(mark=new_mark()))))

    async def rollback(self) -> None:
        """Let the blob end where the context began."""
        await to_the_end(asyncio.ensure_future(self._roll_back()))

    def _may_wait(self) -> bool:
        """Tell whether bytes are taken while the head is being read: not more than fill a segment, or a share."""
        if self._opening is None or self._opening.done() or self._early_bytes >= self._staging.segment_bytes:
            return False
        return not self._staging.limits.too_much(self._early_bytes)

    async def _open(self) -> None:
        """Wait for the head, and compare where it ends."""
        if self._opening is None or self._saved is not None:
            return
        await asyncio.wait([self._opening])
        saved = self._opening.result()
        if (length := saved.head.length_bytes) != self._offset:
            raise OffsetConflict(self._id, offset=self._offset, length_bytes=length)
        self._saved, self._first = saved, saved.head

    async def _begin(self) -> None:
        """Go on from what is there, with what came before that was known; to the end, or the order would be lost."""
        if not self._begun or self._early:
            await to_the_end(asyncio.ensure_future(self._start()))

    async def _start(self) -> None:
        try:
            await self._open()
            if not self._begun:
                await self._go_back()
            early, self._early = self._early, []
            self._staging.limits.holds(-self._early_bytes)
            self._early_bytes = 0
            for chunk in early:
                await self._take(chunk)
        except PenstockError as error:
            self._failure = error
            raise

    async def _go_back(self) -> None:
        """Take up the bytes that are in the head, or those of many small segments, to be written anew."""
        self._begun = True
        self._runs = self._first.worth_keeping(self._staging.segment_bytes)
        self._filled_to = self._runs[-1].end if self._runs else 0
        if self._filled_to < self._first.runs_end:
            before = self._staging.pieces(self._id, self._first, self._filled_to, self._first.runs_end)
            async with self._staging.limits.going_back, aclosing(before) as pieces:
                async for piece in pieces:
                    await self._take(piece)
        await self._take(self._first.tail)

    async def _take(self, chunk: bytes) -> None:
        self._waiting.add(chunk)
        while self._waiting.size_bytes >= self._staging.segment_bytes:
            await self._send(self._staging.segment_bytes)
        if self._staging.limits.too_much(self._waiting.size_bytes):
            await self._send(self._waiting.size_bytes)

    async def _send(self, size: int) -> None:
        slot = await self._staging.limits.slot()
        begin = self._filled_to
        body = self._waiting.cut(size)
        self._filled_to += size
        self._sending.begin(Segment(name_of(self._writer, begin), begin, begin + size), body, slot)
        while self._sending.full:
            await self._arrived()
        if len(self._uncounted) >= _COUNTED_EVERY and not self._tentative:
            await to_the_end(asyncio.ensure_future(self._count(b"")))

    async def _arrived(self) -> None:
        try:
            segment = await self._sending.arrived()
        except PenstockError as error:
            self._failure = error
            raise
        self._runs = with_segment(self._runs, self._writer, segment, self._staging.segment_bytes)
        self._uncounted.append(segment)

    async def _count(self, tail: bytes) -> None:
        """Have what has arrived count, and `tail` behind it; nothing when there is not more than before."""
        saved, head = self._opened(), Head(new_mark(), self._runs, tail)
        if head.length_bytes <= saved.head.length_bytes:
            return
        await self._save(head)
        self._uncounted.clear()

    async def _save(self, head: Head) -> None:
        try:
            self._saved = await self._staging.heads.save(self._id, self._opened(), head)
        except Superseded as error:
            self._superseded = error.head
            self._failure = OffsetConflict(self._id, offset=self._offset, length_bytes=error.head.length_bytes)
            raise self._failure from None
        except PenstockError as error:
            self._failure, self._doubtful = error, not isinstance(error, BlobMissing)
            raise

    def _opened(self) -> Saved:
        if self._saved is None:
            raise RuntimeError("the context is not open")
        return self._saved

    async def _end(self, *, keep: bool) -> None:
        await to_the_end(asyncio.ensure_future(self._finish() if keep else self._roll_back()))
        self._finished = True

    async def _finish(self) -> None:
        """Send the rest, and have everything count that has arrived without a gap."""
        try:
            if self._failure is None:
                await self._open()
                await self._flush()
        finally:
            self._finished = True
            await self._tidy()

    async def _flush(self) -> None:
        if not self._begun and not self._early:
            return
        await self._begin()
        if self._waiting.size_bytes > TAIL_BYTES:
            await self._send(self._waiting.size_bytes)
        while self._sending:
            await self._arrived()
        await self._count(self._waiting.all())

    async def _tidy(self) -> None:
        """Remove the segments that nobody needs; after a failure, keep what can be kept."""
        if not self._begun:
            return
        spare = await self._sending.given_up()
        if self._failure is None:
            spare = [one for one in self._first.segments() if one.begin >= self._kept_to()]
        elif isinstance(self._failure, OffsetConflict | BlobMissing):
            # The last head may have arrived all the same, and been read by whoever has written another one since.
            counted = {one.name for one in self._superseded.segments()} if self._superseded else set[str]()
            spare += [one for one in self._uncounted if one.name not in counted]
        elif not self._tentative:
            with suppress(PenstockError):
                await self._count(b"")
        await self._staging.remove(self._id, spare)

    def _kept_to(self) -> int:
        """Return where the runs end that are as they were when the context began."""
        same = [one for one, now in zip(self._first.runs, self._opened().head.runs, strict=False) if one == now]
        return same[-1].end if same else 0

    async def _roll_back(self) -> None:
        await self._open()
        self._waiting.clear()
        self._staging.limits.holds(-self._early_bytes)
        self._early.clear()
        self._early_bytes = 0
        spare = [*self._uncounted, *await self._sending.given_up()]
        self._uncounted.clear()
        self._begun, self._length_bytes = False, self._offset
        saved = self._opened().head
        if self._doubtful or (saved.runs, saved.tail) != (self._first.runs, self._first.tail):
            await self._save(self._first._replace(mark=new_mark()))
            spare += [one for one in saved.segments() if one.name.startswith(self._writer)]
        await self._staging.remove(self._id, spare)
