"""Rules as one worker has compiled them, kept for the next: files that change later do not change what is scanned with.

They lie in memory that has no name and, once they are complete, cannot be written any more, not even by a worker that
a hostile file has taken over.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from ..base import ScannerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class CompiledRules:
    """Where a worker finds compiled rules, or, where there are none yet, puts them."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("yara-rules", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.complete = False
        """Whether they are there."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @contextmanager
    def descriptor(self) -> Iterator[int]:
        """Lend a descriptor that stays open, also when these rules are closed meanwhile.

        Raises:
            ScannerUnavailable: they are closed already.
        """
        if self._fd == -1:
            raise ScannerUnavailable("the YARA scanner has been closed")
        fd = os.dup(self._fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def seal(self) -> None:
        """Keep them as they are."""
        if self._fd != -1 and not self.complete:
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, _SEALS)
            self.complete = True

    def empty(self) -> None:
        """Forget what a worker has written that did not get ready."""
        if self._fd != -1:
            os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """Let go of them; workers that have them keep them."""
        if self._fd != -1:
            os.close(self._fd)
            self._fd = -1
