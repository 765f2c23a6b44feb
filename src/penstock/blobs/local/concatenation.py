"""Puts files together to a staged one, in the kernel where it can: a file system that shares extents copies nothing.

Blocking: everything here runs in threads, a bounded amount of work at a time, so that an end of the server does not
have to wait for all of it.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from .staged import StagedFile
from .tree import NOT_IN_KERNEL, errors_about
from .writeback import begin_writeback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .pieces import Piece
    from .tree import Tree

STRIDE_BYTES: Final = 64 * 1024 * 1024
"""The most that is copied in one hop to a thread: some 50 ms where nothing can be shared."""
_PIECE_BYTES: Final = 1024 * 1024


class Concatenation:
    """The bytes of some uploads, on their way into the staged file of another one.

    They are tentative until `finish`: whatever dies before, the file counts as empty. What was in it is replaced.

    Args:
        tree: where the files lie.
        upload_id: whose file is written.
        sources: uploads, in their order; the same one may come more than once.
        open_source: opens an upload's file for reading, wherever it is.
        last: tells which file has the staged bytes of an upload.
        piece: what to write; None: the staged file.
    """

    def __init__(
        self,
        tree: Tree,
        upload_id: str,
        sources: Sequence[str],
        open_source: Callable[[str], int],
        last: Callable[[str], Piece],
        piece: Piece | None = None,
    ) -> None:
        self._id = upload_id
        self._left = list(reversed(sources))
        self._open_source = open_source
        self._last = last
        self._file = StagedFile(tree, upload_id, 0, tentative=True, piece=piece)
        self._source: int | None = None
        self._begin = 0
        self._end = 0

    @property
    def length_bytes(self) -> int:
        """How many bytes have been put together."""
        return self._file.length_bytes

    def begin(self) -> None:
        """Open the file, and forget what is in it."""
        self._file.begin_anew()

    def advance(self) -> bool:
        """Copy up to `STRIDE_BYTES`; return whether there is more to do."""
        budget = STRIDE_BYTES
        while budget:
            if self._source is None:
                if not self._left:
                    return False
                self._next_source(self._left.pop())
            elif self._begin == self._end:
                self._close_source()
            else:
                copied = self._copy(min(budget, self._end - self._begin))
                self._begin += copied
                budget -= copied
        return True

    def finish(self, *, keep: bool) -> None:
        """Have the bytes count, or forget all of them; close everything. To be called whatever happened before."""
        self._close_source()
        if self._file.opened:
            self._file.finish([], keep=keep, sync=False)

    def _next_source(self, source_id: str) -> None:
        self._source = self._open_source(source_id)
        with errors_about(source_id):
            length, marked = os.fstat(self._source).st_size, self._last(source_id).marked()
        self._begin, self._end = 0, length if marked is None else min(length, marked)

    def _close_source(self) -> None:
        if self._source is not None:
            os.close(self._source)
            self._source = None

    def _copy(self, size: int) -> int:
        with errors_about(self._id):
            return self._file.take(lambda target, offset: self._copied(target, offset, size))

    def _copied(self, target: int, offset: int, size: int) -> int:
        source = self._source if self._source is not None else -1
        try:
            copied = os.copy_file_range(source, target, size, self._begin, offset)
        except OSError as error:
            if error.errno not in NOT_IN_KERNEL:
                raise
            copied = os.pwrite(target, os.pread(source, min(size, _PIECE_BYTES), self._begin), offset)
        if copied == 0:
            raise OSError(errno.EIO, "a file became shorter while it was read")
        begin_writeback(target, offset, offset + copied)
        return copied
