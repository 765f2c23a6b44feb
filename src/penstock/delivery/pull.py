"""Delivery `pull`: the bytes are fetched by HTTP into a file, for steps that want one."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from .base import BytesUnavailable, Delivery, DeliveryRefused
from .download import STALL_LIMIT, Downloads, is_web_address
from .localfile import LocalBytes

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from datetime import timedelta

    from ..events.types import StartPostprocessingStep
    from .base import Delivered

_PREFIX: Final = "penstock-step-"


class PullDelivery(Delivery):
    """Fetches each upload into a file of its own, which is gone when the step is done with it.

    Open it before use. What a killed process left behind is removed when the next one opens.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        tls: ssl.SSLContext | bool = True,
        stall_limit: timedelta = STALL_LIMIT,
    ) -> None:
        """Build a delivery.

        Args:
            folder: where the files lie, in a folder of our own below it; None: the system's temporary folder.
            tls: how servers have to prove who they are; False believes any.
            stall_limit: how long a transfer may stand still.
        """
        self._parent = folder
        self._folder = Path()
        self._lock = -1
        self._downloads = Downloads(tls=tls, stall_limit=stall_limit)

    async def __aenter__(self) -> Self:
        """Make the folder."""
        self._folder, self._lock = await asyncio.to_thread(_make_folder, self._parent)
        await self._downloads.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._downloads.__aexit__(*exc_info)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        os.close(self._lock)

    @asynccontextmanager
    async def deliver(self, start: StartPostprocessingStep) -> AsyncIterator[Delivered]:
        """Fetch the bytes; the file is removed at the end."""
        if not is_web_address(start.url):
            raise DeliveryRefused("the address in the start event is not an http:// or https:// URL")
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=True) as file:
            try:
                async with contextlib.aclosing(self._downloads.pieces(start)) as pieces:
                    async for piece in pieces:
                        await asyncio.to_thread(file.write, piece)
                await asyncio.to_thread(file.flush)
            except OSError as error:
                raise BytesUnavailable(f"the bytes cannot be kept in {self._folder}: {error.strerror}") from error
            yield LocalBytes(Path(file.name), start.filesize)


def _make_folder(parent: Path | None) -> tuple[Path, int]:
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
