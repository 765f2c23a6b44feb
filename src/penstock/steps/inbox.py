"""The folder that pushed files arrive in: a part until all of it is there and right, then, by a rename, the file.

::

    <folder>/.<ID>.part    what has arrived of a file; locked while somebody writes to it
    <folder>/<ID>          a file: its size and SHA-256 were checked, and it is on the disk

Of a part, what was hashed counts. That is done as bytes come, so at its end nothing has to be read again, however large
a file is; only what an earlier process has written is read, and of that only what there is time for (`hashed`).

Blocking: everything here is to be called in threads.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ..delivery.pushed import ID
from ..errors import PenstockError, Unavailable
from .hashed import Hashed, Hashes

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from pathlib import Path

    from .hashed import MayGoOn

_FLUSH_BYTES: Final = 256 * 1024 * 1024
"""How much may wait to be written to the disk: whoever sends waits for that at the end."""
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
        FileNotFoundError: nothing of it is there, and it was not to be made.
    """

    def __init__(self, folder: Path, name: str, *, anew: bool, make: bool = True, hashes: Hashes | None = None) -> None:
        """`anew` forgets what has arrived before; `make` begins it; `hashes` knows how far it was hashed before."""
        self._folder = folder
        self._final = folder / name
        self._part = _part(folder, name)
        self._hashes = Hashes() if hashes is None else hashes
        self._file = _locked(self._part, make=make)
        self._ended = False
        if anew:
            os.ftruncate(self._file, 0)
        self._hashed = Hashed() if anew else self._hashes.take(self._part.name, self._file)
        self._flushed_bytes = self.offset

    @property
    def offset(self) -> int:
        """How many bytes count."""
        return self._hashed.size_bytes

    def catch_up(self, to: int | None, may_go_on: MayGoOn) -> None:
        """Hash what is there and does not count yet, for as long as there is time, but not beyond byte `to`.

        None, or a byte that is not there: all of it.
        """
        there = os.fstat(self._file).st_size
        self._hashed.catch_up(self._file, there if to is None or to > there else to, may_go_on)
        self._flushed_bytes = self.offset

    def drop_the_rest(self) -> None:
        """Remove what does not count, so that whoever waits for the file sees it grow when that comes again."""
        os.ftruncate(self._file, self.offset)

    def write(self, piece: bytes) -> None:
        """Add bytes behind those that count."""
        rest = memoryview(piece)
        try:
            while rest:
                written = os.pwrite(self._file, rest, self.offset)
                self._hashed.add(rest[:written])
                rest = rest[written:]
            if self.offset - self._flushed_bytes >= _FLUSH_BYTES:
                self._flush()
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise NoRoom(f"no room in {self._folder}") from error
            raise

    def finish(self, sha256: str) -> None:
        """Make the file of the part.

        Raises:
            WrongBytes: its SHA-256 is another one.
        """
        if self._hashed.sha256 != sha256:
            self._ended = True
            self._part.unlink(missing_ok=True)
            raise WrongBytes(f"the SHA-256 of what arrived is {self._hashed.sha256}, not {sha256}")
        self._flush()
        self._part.rename(self._final)
        self._ended = True
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._hashes.keep(self._final.name, self._file, self._hashed)

    def _flush(self) -> None:
        try:
            os.fsync(self._file)
        except OSError:
            # The system has dropped what it could not write, and says so once; which bytes these are, nobody knows.
            self._hashed = Hashed()
            os.ftruncate(self._file, 0)
            raise
        self._flushed_bytes = self.offset

    def close(self) -> None:
        """Let go of it; what has arrived stays, and how far it was hashed is remembered."""
        if not self._ended:
            self._hashes.keep(self._part.name, self._file, self._hashed)
        os.close(self._file)


def _locked(part: Path, *, make: bool) -> int:
    """Open and lock a part.

    Whoever had the lock before may have made the whole file of what was opened, and may even be read from by a step: it
    must not be written to any more. So the lock counts only if the part is still what has this name.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if make else 0)
    for _ in range(_TRIES):
        file = os.open(part, flags, _MODE)
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


def arrived(folder: Path, name: str, hashes: Hashes, may_go_on: MayGoOn) -> tuple[int, str | None] | None:
    """Return size and SHA-256 of a file; None when it is not there as a whole.

    Its SHA-256 is known of what has arrived in this process. Else it is None if there was no time to read all of it.
    """
    try:
        with open(folder / name, "rb") as whole:
            file, size = whole.fileno(), os.fstat(whole.fileno()).st_size
            hashed = hashes.take(name, file)
            hashed.catch_up(file, size, may_go_on)
            hashes.keep(name, file, hashed)
            return size, hashed.sha256 if hashed.size_bytes == size else None
    except FileNotFoundError:
        return None


def arrived_so_far(folder: Path, name: str, hashes: Hashes, may_go_on: MayGoOn) -> int | None:
    """Return how much of a file is there and counts, after hashing what there is time for; None: nothing is there."""
    try:
        file = Arriving(folder, name, anew=False, make=False, hashes=hashes)
    except FileNotFoundError:
        return None
    except Busy:  # its writer, who may have lost the sender without knowing it yet, knows what counts
        return _size(_part(folder, name))
    try:
        file.catch_up(None, may_go_on)
        return file.offset
    finally:
        file.close()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
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
