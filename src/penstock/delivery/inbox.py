"""Delivery `inbox`: the bytes were pushed into a folder of this machine before the step was started.

`steps.receiving` puts them there. The last part of the start event's address is the file's name. What is not there is
fetched like anything else. A file is removed once its step is done with it; while the step has it, it is locked, and
not taken for forgotten.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .base import BytesUnavailable, Delivery
from .localfile import LocalBytes
from .pushed import ID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ..events.types import StartPostprocessingStep
    from .base import Delivered


class InboxDelivery(Delivery):
    """Hands out what was pushed."""

    def __init__(self, folder: Path, otherwise: Delivery) -> None:
        """`folder` is where the receiver puts files; `otherwise` has what is not there."""
        self._folder = folder
        self._otherwise = otherwise

    def deliver(self, start: StartPostprocessingStep) -> AbstractAsyncContextManager[Delivered]:
        """Hand out the file; it is removed at the end, unless that is an error or the end of this process."""
        name = _name_in(start.url)
        if name is None or not (self._folder / name).exists():
            return self._otherwise.deliver(start)
        return self._deliver(start, self._folder / name)

    @asynccontextmanager
    async def _deliver(self, start: StartPostprocessingStep, path: Path) -> AsyncIterator[Delivered]:
        descriptor = await asyncio.to_thread(_opened, path, start)
        try:
            yield LocalBytes(path, start.filesize)
            await asyncio.to_thread(path.unlink, missing_ok=True)
        finally:
            os.close(descriptor)


def _name_in(url: str) -> str | None:
    try:
        name = urlsplit(url).path.rpartition("/")[2]
    except ValueError:
        return None
    return name if ID.fullmatch(name) else None


def _opened(path: Path, start: StartPostprocessingStep) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BytesUnavailable(f"{path} cannot be opened: {error.strerror}") from error
    try:
        _check(descriptor, path, start)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(descriptor: int, path: Path, start: StartPostprocessingStep) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size != start.filesize:
        raise BytesUnavailable(f"{path} is not the {start.filesize} bytes of upload {start.upload_id}")
