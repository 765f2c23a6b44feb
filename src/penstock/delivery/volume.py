"""Delivery `volume`: the bytes lie on a volume that the step shares with the gateway, each mounting it where it likes.

The start event names the file from the volume's root, with its size and SHA-256 (`volumes`). Nothing outside of the
volume is ever opened: each folder on the way, and the file, is opened from the one above it, and none may be a link.
The file is locked (`flock`, shared) while the step has it, and all of it is read and hashed before.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from .base import BytesGone, BytesUnavailable, Delivery, DeliveryRefused
from .localfile import LocalBytes
from .volumes import OnVolume, read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from ..events.types import StartPostprocessingStep
    from .base import Delivered

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE_BYTES: Final = 1024 * 1024


class VolumeDelivery(Delivery):
    """Hands out files on volumes, and only those."""

    def __init__(self, volumes: Mapping[str, Path]) -> None:
        """`volumes` says where each is mounted here."""
        self._volumes = dict(volumes)

    @asynccontextmanager
    async def deliver(self, start: StartPostprocessingStep) -> AsyncIterator[Delivered]:
        """Hand out the file that `start.url` names; it stays locked until the end."""
        file = self._read(start)
        root = self._volumes.get(file.volume)
        if root is None:
            known = ", ".join(sorted(self._volumes)) or "none"
            raise DeliveryRefused(
                f"the bytes are on the volume {file.volume!r}, and this step knows {known}. "
                f"Say where it is mounted, as PENSTOCK_DELIVERY_VOLUMES={file.volume}=/mnt/…"
            )
        path = root.joinpath(*file.parts)
        descriptor = await asyncio.to_thread(_opened, root, file, path)
        try:
            await asyncio.to_thread(_check, descriptor, file, path)
            yield LocalBytes(path, file.size_bytes)
        finally:
            os.close(descriptor)

    def _read(self, start: StartPostprocessingStep) -> OnVolume:
        try:
            file = read(start.url)
        except ValueError as error:
            raise DeliveryRefused(f"{start.url[:200]!r} is not the address of a file on a volume: {error}") from error
        if file.size_bytes != start.filesize:
            raise BytesUnavailable(
                f"upload {start.upload_id} has {start.filesize} bytes, but its address says {file.size_bytes}"
            )
        return file


def _opened(root: Path, file: OnVolume, path: Path) -> int:
    """Open the file from the root down, link by link."""
    *folders, name = file.parts
    try:
        at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for folder in folders:
                below = os.open(folder, _FOLDER, dir_fd=at)
                os.close(at)
                at = below
            return os.open(name, _FILE, dir_fd=at)
        finally:
            os.close(at)
    except FileNotFoundError as error:
        raise BytesGone(f"{path} is gone: the upload was cancelled or has ended, or it is another volume") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise DeliveryRefused(f"{path} is not below the volume {file.volume!r}: there is a link in it") from error
        raise BytesUnavailable(f"{path} cannot be opened: {error.strerror}") from error


def _check(descriptor: int, file: OnVolume, path: Path) -> None:
    """Make sure that the file is whole, and stays so while it is locked."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise DeliveryRefused(f"{path} is not a regular file")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BytesUnavailable(f"{path} is being written: somebody has it locked") from error
    digest, position = hashlib.sha256(), 0
    try:
        while piece := os.pread(descriptor, _PIECE_BYTES, position):
            digest.update(piece)
            position += len(piece)
    except OSError as error:
        raise BytesUnavailable(f"{path} cannot be read: {error.strerror}") from error
    if position != file.size_bytes:
        raise BytesUnavailable(f"{path} holds {position} bytes, but the gateway says {file.size_bytes}")
    if digest.hexdigest() != file.sha256:
        raise BytesUnavailable(f"{path} holds other bytes than the gateway says: its SHA-256 differs")
