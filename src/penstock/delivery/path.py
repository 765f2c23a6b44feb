"""Delivery `path`: the bytes lie on a volume that the step shares with the gateway.

The start event's URL is a `file://` URL below one folder, the staging area. Nothing outside of that folder is ever
opened, whatever the event says and wherever links in the folder lead: events come over a bus that others write to.
The volume may be mounted at different places: give the one of this machine, and the gateway must know the same.
"""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

from .base import BytesGone, BytesUnavailable, Delivery, DeliveryRefused
from .localfile import LocalBytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..events.types import StartPostprocessingStep
    from .base import Delivered


class PathDelivery(Delivery):
    """Hands out files below `root`, and only those."""

    def __init__(self, root: Path) -> None:
        """`root` is the folder that holds the staged bytes; it need not exist yet."""
        self._root = root

    @asynccontextmanager
    async def deliver(self, start: StartPostprocessingStep) -> AsyncIterator[Delivered]:
        """Hand out the file that `start.url` names; there is nothing to let go of at the end."""
        path = await asyncio.to_thread(self._locate, start)
        yield LocalBytes(path, start.filesize)

    def _locate(self, start: StartPostprocessingStep) -> Path:
        named = _path_of(start.url)
        try:
            path, root = named.resolve(), self._root.resolve()
        except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
            raise DeliveryRefused(f"{start.url} leads nowhere: {error}") from error
        if not path.is_relative_to(root) or path == root:
            raise DeliveryRefused(
                f"{start.url} is not below the staging area {root}. Step and gateway must be given the same folder."
            )
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BytesGone(
                f"the bytes of upload {start.upload_id} are gone from {path}: the upload was cancelled or has ended"
            ) from error
        except OSError as error:
            raise BytesUnavailable(f"{path} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(found.st_mode):
            raise DeliveryRefused(f"{start.url} is not a regular file")
        if found.st_size != start.filesize:
            raise BytesUnavailable(
                f"{path} holds {found.st_size} bytes, but upload {start.upload_id} has {start.filesize}"
            )
        return path


def _path_of(url: str) -> Path:
    """Return the absolute path that a `file://` URL of this machine names (RFC 8089)."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise DeliveryRefused(f"{url[:200]!r} is not a URL: {error}") from error
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise DeliveryRefused(
            f"{url[:200]!r} is not a file:// URL of this machine, and the step gets its bytes by path only"
        )
    raw = unquote_to_bytes(parts.path)
    if parts.query or parts.fragment or b"\0" in raw or not raw.startswith(b"/"):
        raise DeliveryRefused(f"{url[:200]!r} does not name a file")
    return Path(os.fsdecode(raw))
