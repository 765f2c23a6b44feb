"""A folder for the bytes that steps want in files: ours alone, and gone with us, or removed by the next one of us."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from ..threads import to_its_end
from .base import BytesUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

_PREFIX: Final = "penstock-step-"


class OwnFolder:
    """Made when it is opened, removed when it is closed."""

    def __init__(self, parent: Path | None) -> None:
        """It lies in `parent`; None: in the system's folder for temporary files."""
        self.path = Path()
        self._parent = parent
        self._lock = -1

    async def __aenter__(self) -> Self:
        """Make it; remove those that killed processes have left beside it."""
        self.path, self._lock = await asyncio.to_thread(_made, self._parent)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(shutil.rmtree, self.path, ignore_errors=True)
        os.close(self._lock)

    @asynccontextmanager
    async def file_of(self, pieces: AsyncGenerator[bytes, None]) -> AsyncIterator[Path]:
        """Keep these bytes in a file of its own, while the context is open.

        Raises:
            BytesUnavailable: they cannot be kept: there is no room, or no folder any more.
        """
        try:
            descriptor, name = tempfile.mkstemp(dir=self.path)
        except OSError as error:
            raise self._cannot_keep(error) from error
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    try:
                        await to_its_end(_written, descriptor, piece)
                    except OSError as error:
                        raise self._cannot_keep(error) from error
            yield Path(name)
        finally:
            await asyncio.to_thread(_removed, descriptor, name)

    def _cannot_keep(self, error: OSError) -> BytesUnavailable:
        return BytesUnavailable(f"the bytes cannot be kept in {self.path}: {error.strerror}")


def _written(descriptor: int, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _removed(descriptor: int, name: str) -> None:
    """Remove a file; a large one takes its time, when the last who has it open lets go."""
    Path(name).unlink(missing_ok=True)
    os.close(descriptor)


def _made(parent: Path | None) -> tuple[Path, int]:
    """Make a folder, lock it for as long as we live, and remove those whose owners have died."""
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    for other in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it is somebody else's, in use, or gone by now
            lock = os.open(other, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(other)
            finally:
                os.close(lock)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        if (own := _locked(folder)) is not None:
            return folder, own


def _locked(folder: Path) -> int | None:
    """Lock a new folder; None when another process took it for a dead one's before we could, and removed it."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    fcntl.flock(lock, fcntl.LOCK_EX)
    if folder.exists():
        return lock
    os.close(lock)
    return None
