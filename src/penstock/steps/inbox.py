"""The folder that pushed files arrive in: a part until all of it is there and right, then, by a rename, the file.

::

    <folder>/.<ID>.part    what has arrived of a file; locked while somebody writes to it
    <folder>/<ID>          a file: its size and SHA-256 were checked, and it is on the disk

Blocking: everything here is to be called in threads.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ..delivery.pushed import ID
from ..errors import PenstockError, Unavailable

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from pathlib import Path

_PIECE_BYTES: Final = 1024 * 1024
_MODE: Final = 0o640
_TRIES: Final = 100
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Busy(Unavailable):
    """Somebody else writes to this file."""

    code = "busy"


class NoRoom(Unavailable):
    """The disk is full."""

    code = "no-room"


class WrongBytes(PenstockError):
    """What has arrived is not what was announced; it was removed."""

    code = "wrong-bytes"


class Arriving:
    """A file on its way in. Close it, whatever happens.

    Raises:
        Busy: somebody else writes to it.
        NoRoom: there is none.
    """

    def __init__(self, folder: Path, name: str, *, anew: bool) -> None:
        """`anew` forgets what has arrived before."""
        self._folder = folder
        self._final = folder / name
        self._part = _part(folder, name)
        self._digest = hashlib.sha256()
        self._file = _locked(self._part)
        if anew:
            os.ftruncate(self._file, 0)
        self.offset = os.fstat(self._file).st_size
        """How many bytes there are."""

    def hash_what_is_there(self) -> None:
        """Read what arrived before, to go on from there."""
        position = 0
        while piece := os.pread(self._file, _PIECE_BYTES, position):
            self._digest.update(piece)
            position += len(piece)

    def write(self, piece: bytes) -> None:
        """Add bytes at the end."""
        self._digest.update(piece)
        rest = memoryview(piece)
        while rest:
            try:
                written = os.pwrite(self._file, rest, self.offset)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    raise NoRoom(f"no room in {self._folder}") from error
                raise
            rest = rest[written:]
            self.offset += written

    def finish(self, sha256: str) -> None:
        """Make the file of the part.

        Raises:
            WrongBytes: its SHA-256 is another one.
        """
        if self._digest.hexdigest() != sha256:
            self._part.unlink(missing_ok=True)
            raise WrongBytes(f"the SHA-256 of what arrived is {self._digest.hexdigest()}, not {sha256}")
        os.fsync(self._file)
        self._part.rename(self._final)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Let go of it; what has arrived stays."""
        os.close(self._file)


def _locked(part: Path) -> int:
    """Open and lock a part.

    Whoever had the lock before may have made the whole file of what was opened, and may even be read from by a step: it
    must not be written to any more. So the lock counts only if the part is still what has this name.
    """
    for _ in range(_TRIES):
        file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_still(file, part):
                return file
        except BlockingIOError:
            os.close(file)
            raise Busy(f"{part.name} is being written by another request") from None
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    raise Busy(f"{part.name} is made and finished by other requests all the time")


def is_still(file: int, path: Path) -> bool:
    """Tell whether an open file is what its path names now."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def arrived(folder: Path, name: str) -> tuple[int, str] | None:
    """Return size and SHA-256 of a file; None when it is not there as a whole."""
    try:
        with open(folder / name, "rb") as file:
            return os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def arrived_so_far(folder: Path, name: str) -> int | None:
    """Return how much of a file is there; None when nothing is."""
    try:
        return _part(folder, name).stat().st_size
    except FileNotFoundError:
        return None


def collect(folder: Path, now: datetime, keep: timedelta) -> list[str]:
    """Remove files and parts that nobody has touched for `keep`: their step never came. Return their names.

    What a step reads, or somebody writes to, is locked, and stays.
    """
    removed = []
    for path in folder.iterdir():
        name = path.name.removeprefix(".").removesuffix(".part")
        if ID.fullmatch(name):
            with suppress(OSError):  # it is in use, or gone by now
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    old = now.timestamp() - os.fstat(descriptor).st_mtime > keep.total_seconds()
                    if old and is_still(descriptor, path):
                        path.unlink()
                        removed.append(path.name)
                finally:
                    os.close(descriptor)
    return sorted(removed)


def _part(folder: Path, name: str) -> Path:
    return folder / f".{name}.part"
