"""The way `path`: the step opens the file on a volume that it shares with us.

Before it is told, the file is whole: its bytes and its folder entry are on the disk, its size and SHA-256 are known,
and nobody writes to it. While it is hashed it is locked (`flock`, exclusive); readers take the same lock, shared.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ..volumes import OnVolume, write
from .base import NotDelivered, Way

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ...blobs.base import SupportsPath
    from ...events.types import StartPostprocessingStep
    from .base import Report
    from .digests import Digests

_CLOSED: Final = "the file could not be shared with the worker: it cannot be opened in the storage"
_LOCKED: Final = "the file could not be shared with the worker: somebody still writes to it"


class VolumeWay(Way):
    """Names files by where they lie on a volume."""

    name = "path"
    at_once = False

    def __init__(self, volume: str, root: Path, blobs: SupportsPath, digests: Digests) -> None:
        """Build it.

        Args:
            volume: what the volume is called, here and there.
            root: the folder of ours that is the volume's root.
            blobs: keeps files below that.
            digests: knows their SHA-256.
        """
        self._volume = volume
        self._root = root.absolute()
        self._blobs = blobs
        self._digests = digests

    async def address(self, start: StartPostprocessingStep, start_id: str, report: Report) -> str:
        """Return the file's address on the volume, with what it has to be like."""
        del start_id
        path = self._blobs.path(start.upload_id)
        descriptor = await asyncio.to_thread(_opened, path)
        try:
            with _locked(descriptor, path):
                await asyncio.to_thread(os.fsync, descriptor)
                sha256 = await self._digests.of(start.upload_id, start.filesize, report)
        finally:
            os.close(descriptor)
        return write(OnVolume(self._volume, path.relative_to(self._root).parts, start.filesize, sha256))


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise NotDelivered(f"{path} cannot be opened: {error.strerror}", told=_CLOSED) from error


@contextmanager
def _locked(descriptor: int, path: Path) -> Iterator[None]:
    """Hold the lock, exclusively; a reader of an earlier attempt that has not let go may go on reading."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NotDelivered(f"{path} is locked by somebody who writes to it", told=_LOCKED) from error
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
