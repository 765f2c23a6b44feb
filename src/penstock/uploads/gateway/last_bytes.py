"""The last bytes of an upload, on their way to the disk: whoever hands the upload on has them put there, once.

So a file can be flushed, moved and written down as released by one thread in one go. Who dies in between has put the
bytes into their place, and left an upload that is on its way in and has all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...blobs.base import Appender, SupportsSealedRelease

    class ReleasingAppender(Appender, SupportsSealedRelease):
        """Can do both."""


class NotMoved(Exception):
    """All bytes are on disk, and could not be moved to their final place now."""


class LastBytes:
    """Those of one request, all written to its appender."""

    def __init__(self, appender: ReleasingAppender) -> None:
        self._appender = appender
        self._on_disk = False

    async def seal(self) -> None:
        """Force all bytes of the upload to disk, unless that was tried before.

        Raises:
            StorageFull, BlobUnavailable: they may not be there.
        """
        if not self._on_disk:
            self._on_disk = True
            await self._appender.seal()

    async def release(self, then: Callable[[], None]) -> None:
        """Force them to disk and move them to their final place; go on with `then` in the thread that has done it.

        Raises:
            StorageFull, BlobUnavailable: they may not be on disk.
            NotMoved: they are, and were not moved.
        """
        self._on_disk = True
        if not await self._appender.seal_and_release(then):
            raise NotMoved
