"""Room on the disk that is kept for tidying up: where nothing can be written, no removal can be noted either."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

log = structlog.get_logger(__name__)

RESERVE_BYTES: Final = 16 * 1024 * 1024
"""What the database may need for its log while a thousand entries change."""


class Reserve:
    """A file in the data folder that is removed when the disk is full, and made again when there is room."""

    def __init__(self, folder: Path, size_bytes: int = RESERVE_BYTES) -> None:
        self._path = folder / "reserve"
        self._size_bytes = size_bytes

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        """Give the room away while the context is open, if there is no other; afterwards keep it again."""
        await asyncio.to_thread(self.give_way)
        try:
            yield
        finally:
            await asyncio.to_thread(self.keep)

    def give_way(self) -> None:
        """Remove the file if the disk is full without it."""
        with suppress(OSError):
            if _free_bytes(self._path) < self._size_bytes and self._path.exists():
                self._path.unlink()
                log.warning("disk_full", hint="the reserve in the data folder is used to tidy up; make room")

    def keep(self) -> None:
        """Make the file unless it is there, or would fill the disk."""
        with suppress(OSError):
            if self._path.exists() or _free_bytes(self._path) < 4 * self._size_bytes:
                return
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size_bytes)
            except OSError:
                self._path.unlink()
            finally:
                os.close(descriptor)


def _free_bytes(path: Path) -> int:
    found = os.statvfs(path.parent)
    return found.f_bavail * found.f_frsize
