"""Delivery `pull`: the bytes are fetched by HTTP from the address in the start event, as the Go services do it.

The address carries its own permission (a token in it), so it is never logged. Whoever can publish start events chooses
where we connect to: the bus must only be open to services that are trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

import httpx

from .base import BytesUnavailable, Delivery, DeliveryRefused
from .localfile import PIECE_BYTES, LocalBytes

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from ..events.types import StartPostprocessingStep
    from .base import Delivered

_TIMEOUT: Final = httpx.Timeout(connect=10, read=60, write=60, pool=None)
_REDIRECTS: Final = 5
_PREFIX: Final = "penstock-step-"


class PullDelivery(Delivery):
    """Fetches each upload into a file of its own, which is gone when the step is done with it.

    Open it before use. What a killed process left behind is removed when the next one opens.
    """

    def __init__(self, folder: Path | None = None, *, tls: ssl.SSLContext | bool = True) -> None:
        """Build a delivery.

        Args:
            folder: where the files lie, in a folder of our own below it; None: the system's temporary folder.
            tls: how servers have to prove who they are; False believes any.
        """
        self._parent = folder
        self._folder = Path()
        self._lock = -1
        self._tls = tls

    async def __aenter__(self) -> Self:
        """Make the folder."""
        self._folder, self._lock = await asyncio.to_thread(_make_folder, self._parent)
        self._client = httpx.AsyncClient(
            verify=self._tls, timeout=_TIMEOUT, follow_redirects=True, max_redirects=_REDIRECTS, trust_env=False
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.aclose()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        os.close(self._lock)

    @asynccontextmanager
    async def deliver(self, start: StartPostprocessingStep) -> AsyncIterator[Delivered]:
        """Fetch the bytes; the file is removed at the end."""
        if urlsplit(start.url).scheme not in ("http", "https"):
            raise DeliveryRefused("the address in the start event is not an http:// or https:// URL")
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=True) as file:
            try:
                received = await self._fetch(start, file)
            except httpx.HTTPError as error:
                reason = str(error) or type(error).__name__
                raise BytesUnavailable(f"{_server(start.url)} did not deliver the bytes: {reason}") from error
            except OSError as error:
                raise BytesUnavailable(f"the bytes cannot be kept in {self._folder}: {error.strerror}") from error
            if received != start.filesize:
                raise BytesUnavailable(
                    f"{_server(start.url)} delivered {received} bytes, but the upload has {start.filesize}"
                )
            yield LocalBytes(Path(file.name), received)

    async def _fetch(self, start: StartPostprocessingStep, file: tempfile._TemporaryFileWrapper[bytes]) -> int:
        received = 0
        async with self._client.stream("GET", start.url, headers={"Accept-Encoding": "identity"}) as answer:
            if answer.status_code != HTTPStatus.OK:
                raise BytesUnavailable(f"{_server(start.url)} answered {answer.status_code} when asked for the bytes")
            async for piece in answer.aiter_bytes(PIECE_BYTES):
                received += len(piece)
                if received > start.filesize:
                    break
                await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(file.flush)
        return received


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


def _server(url: str) -> str:
    """Return what of an address may be shown: not its path, which carries the permission."""
    return urlsplit(url).netloc.rpartition("@")[2]
