"""Asks the kernel to begin writing to disk early, so that little is left to do when an upload is flushed at its end.

Otherwise gigabytes may wait in memory for that moment, and the uploader for its answer.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

WINDOW_BYTES: Final = 32 * 1024 * 1024
"""How often to ask. The last one of a 5 GiB upload is flushed in well under a second on any disk."""
_WRITE: Final = 2  # SYNC_FILE_RANGE_WRITE of <linux/fs.h>: begin, don't wait


def _function() -> Any:
    """Return `sync_file_range(2)`, or None where the system has none: then nothing is asked."""
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function


_sync_file_range: Final = _function()


def begin_writeback(descriptor: int, start: int, stop: int) -> None:
    """Have the windows written out that end between `start` and `stop`. Only a hint: errors come with the flush."""
    if _sync_file_range is not None:
        first, last = start // WINDOW_BYTES * WINDOW_BYTES, stop // WINDOW_BYTES * WINDOW_BYTES
        if last > first:
            _sync_file_range(descriptor, first, last - first, _WRITE)
