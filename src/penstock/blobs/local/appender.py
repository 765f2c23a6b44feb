"""Puts the chunks of a request together to batches, and hands these to a thread that writes them.

A hop to a thread costs as much as copying a few hundred KiB, so small chunks share one; and while a batch is being
written the next one fills, so that the network and the disk work at the same time. No more than the two are held. How
large they become depends on how many requests there are (`sharing`).
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from ...errors import PenstockError
from ...threads import to_the_end
from ..base import Appender, SupportsSealedRelease
from ..filling import SupportsFilling
from .batch import Batch

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from .sharing import Sharing
    from .staged import StagedFile


class LocalAppender(Appender, SupportsSealedRelease, SupportsFilling, AbstractAsyncContextManager["LocalAppender"]):
    """Writes to one staged file. The file is opened with the first batch, in its hop."""

    def __init__(
        self,
        file: StagedFile,
        run: Callable[..., asyncio.Future[Any]],
        sharing: Sharing,
        *,
        tentative: bool,
        confirm: Callable[[int], Awaitable[None]] | None = None,
        put_together: Callable[[], None] | None = None,
    ) -> None:
        """Begin at the end of the file.

        Args:
            file: what is written.
            run: calls a function in a thread.
            sharing: says how large a batch may become.
            tentative: see the port.
            confirm: called with the offset when the file is open, and before anything is cut off; None: no need.
            put_together: has all that was staged be in one file; None: it is.
        """
        self._file = file
        self._confirm = confirm
        self._put_together = put_together
        self._run = run
        self._sharing = sharing
        self._tentative = tentative
        self._batch = Batch(sharing)
        self._length_bytes = file.length_bytes
        self._start_bytes = file.length_bytes
        self._writing: asyncio.Future[None] | None = None
        self._failed = False
        self._finished = False

    @property
    def length_bytes(self) -> int:
        """Where the blob ends."""
        return self._file.length_bytes if self._finished or self._failed else self._length_bytes

    @property
    def written_bytes(self) -> int:
        """Where the file ends."""
        return self._start_bytes if self._tentative and not self._finished else self._file.length_bytes

    async def write(self, chunk: bytes) -> None:
        """Add a chunk; wait when two batches are full."""
        self._batch.add(chunk)
        await self._grown(len(chunk))

    def space(self, wanted_bytes: int) -> memoryview | None:
        """Return memory for the next bytes, if there are not too many requests for that."""
        return self._batch.space(wanted_bytes)

    async def filled(self, count: int) -> None:
        """Add the first bytes of that memory; wait when two batches are full."""
        self._batch.filled(count)
        await self._grown(count)

    async def _grown(self, more_bytes: int) -> None:
        self._length_bytes += more_bytes
        if self._batch.is_full():
            await self._wait_for_batch()
            self._writing = self._run(self._file.write, self._batch.take())

    async def seal(self) -> None:
        """Write the rest and force everything to disk, in one hop."""
        await self._finish(keep=True, sync=True)
        if self._put_together is not None:
            await to_the_end(self._run(self._put_together))

    async def seal_and_release(self, then: Callable[[], None] | None = None) -> bool:
        """Do what `seal` does, and move the file to the released ones in the same hop, if that works now."""
        if self._put_together is not None:  # it may lie in several files
            await self.seal()
            return False
        await self._finish(keep=True, sync=True, release=True, then=then)
        return self._file.released

    async def rollback(self) -> None:
        """Let the blob end where the context began."""
        self._batch.take()
        self._length_bytes = self._start_bytes
        with suppress(PenstockError):  # what could not be written is to be forgotten anyway
            await self._wait_for_batch()
        if self._file.opened and await self._may_cut():
            await to_the_end(self._run(self._file.rollback))

    async def __aenter__(self) -> Self:
        self._sharing.begin()
        try:
            return await self._begin()
        except BaseException:
            self._sharing.end()
            raise

    async def _begin(self) -> Self:
        if self._confirm is not None:
            await to_the_end(self._run(self._file.grasp))
            try:
                await self._confirm(self._start_bytes)
            except BaseException:
                await to_the_end(self._run(self._file.let_go))
                raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._sharing.end()
        if self._finished:
            return
        try:
            await self._finish(keep=kind is None or not self._tentative, sync=False)
        except PenstockError:
            # Whoever is on the way out with an error already, or is being cancelled, learns from the length what the
            # storage made of the rest.
            if error is None:
                raise

    async def _finish(
        self, *, keep: bool, sync: bool, release: bool = False, then: Callable[[], None] | None = None
    ) -> None:
        failure: PenstockError | None = None
        try:
            await self._wait_for_batch()
        except PenstockError as error:
            failure = error
        self._finished = True
        pieces = self._batch.take()
        if self._failed:
            pieces, sync, keep = [], False, keep and not self._tentative
        if not keep and not await self._may_cut():
            await to_the_end(self._run(self._file.let_go))
        elif self._file.opened or not self._failed:
            await to_the_end(self._run(partial(self._end, pieces, keep=keep, sync=sync, release=release, then=then)))
        if failure is not None:
            raise failure

    def _end(
        self,
        pieces: list[bytes | memoryview],
        *,
        keep: bool,
        sync: bool,
        release: bool,
        then: Callable[[], None] | None,
    ) -> None:
        """End the file, and go on from there. Runs in a thread."""
        self._file.finish(pieces, keep=keep, sync=sync, release=release)
        if then is not None and self._file.released:
            then()

    async def _may_cut(self) -> bool:
        """Tell whether the end of the file is ours to be cut off. If it is not, what is tentative stays so."""
        if self._confirm is None:
            return True
        try:
            await self._confirm(self._start_bytes)
        except PenstockError:
            return False
        return True

    async def _wait_for_batch(self) -> None:
        if self._writing is None:
            return
        try:
            await to_the_end(self._writing)
        except PenstockError:
            self._failed = True
            raise
