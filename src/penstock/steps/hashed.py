"""How far files were hashed, so that nobody has to read again what was hashed as it came.

A SHA-256 that was begun cannot be handed to another process, so a restart forgets it. Then a file is read from its
beginning, but for as long only as somebody waits for an answer; what was hashed by then is what counts of it.

Blocking: everything here is to be called in threads.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final, NamedTuple, TypeAlias

MayGoOn: TypeAlias = Callable[[], bool]
"""Tells whether there is time left to read more."""

_PIECE_BYTES: Final = 1024 * 1024
_KEPT: Final = 1000


class Hashed:
    """The SHA-256 of the beginning of a file."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        """How long that beginning is."""

    @property
    def sha256(self) -> str:
        """The digest so far, in hex."""
        return self._digest.hexdigest()

    def add(self, piece: bytes | memoryview) -> None:
        """Add what comes next."""
        self._digest.update(piece)
        self.size_bytes += len(piece)

    def catch_up(self, file: int, upto: int, may_go_on: MayGoOn) -> None:
        """Read what comes next from a file, up to byte `upto`, its end, or when there is no more time for that.

        Some is read in any case, so that it comes to an end for those who ask again.
        """
        while self.size_bytes < upto:
            piece = os.pread(file, min(_PIECE_BYTES, upto - self.size_bytes), self.size_bytes)
            if not piece:
                return
            self.add(piece)
            if not may_go_on():
                return


class _Stamp(NamedTuple):
    """What a file is as long as nobody has changed it."""

    device: int
    inode: int
    size_bytes: int
    changed_ns: int


class _Kept(NamedTuple):
    stamp: _Stamp
    hashed: Hashed


class Hashes:
    """Remembers how far files were hashed, each for as long as nobody changes it: the latest thousand."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = Lock()

    def take(self, name: str, file: int) -> Hashed:
        """Return how far an open file was hashed, for the caller alone; if nobody knows, nothing of it was."""
        with self._lock:
            kept = self._kept.pop(name, None)
        return kept.hashed if kept is not None and kept.stamp == _stamp(file) else Hashed()

    def keep(self, name: str, file: int, hashed: Hashed) -> None:
        """Remember how far an open file was hashed; of two who have hashed the same one, who has got further."""
        stamp = _stamp(file)
        with self._lock:
            other = self._kept.pop(name, None)
            if other is not None and other.stamp == stamp and other.hashed.size_bytes > hashed.size_bytes:
                hashed = other.hashed
            self._kept[name] = _Kept(stamp, hashed)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)


def _stamp(file: int) -> _Stamp:
    found = os.fstat(file)
    return _Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
