"""Delivery `blobs`: the step runs in the gateway's process, and reads from the store that keeps the bytes.

For stores whose bytes are not files. Nothing depends on the address in the start event: the upload's ID is the key.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Self

from ..blobs.base import BlobMissing, BlobUnavailable
from .base import BytesGone, BytesUnavailable, Delivered, Delivery
from .elsewhere import BytesElsewhere
from .folders import OwnFolder
from .localfile import LocalBytes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from ..blobs.base import BlobStore
    from ..events.types import StartPostprocessingStep


class BlobDelivery(Delivery):
    """Hands out what the store keeps: as a stream, or as a file that is fetched first. Open it before use."""

    def __init__(self, blobs: BlobStore, *, as_files: bool) -> None:
        """`as_files`: for steps that open a file; it lies in the system's temporary folder while the step works."""
        self._blobs = blobs
        self._folder = OwnFolder(None) if as_files else None

    async def __aenter__(self) -> Self:
        if self._folder is not None:
            await self._folder.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._folder is not None:
            await self._folder.__aexit__(*exc_info)

    @asynccontextmanager
    async def deliver(self, start: StartPostprocessingStep) -> AsyncIterator[Delivered]:
        """Hand out the bytes of `start.upload_id`."""
        await _check(self._blobs, start)
        if self._folder is None:
            async with AsyncExitStack() as readings:
                yield BytesElsewhere(start.filesize, partial(_pieces, self._blobs, start), readings)
        else:
            async with self._folder.file_of(_pieces(self._blobs, start, start=0, stop=None)) as path:
                yield LocalBytes(path, start.filesize)


async def _check(blobs: BlobStore, start: StartPostprocessingStep) -> None:
    """Make sure that there are as many as announced.

    Raises:
        BytesGone, BytesUnavailable: as `Delivery.deliver`.
    """
    try:
        length = await blobs.length(start.upload_id)
    except BlobMissing as error:
        raise BytesGone(f"{error}: the upload was cancelled or has ended") from error
    except BlobUnavailable as error:
        raise BytesUnavailable(str(error)) from error
    if length != start.filesize:
        raise BytesUnavailable(f"{length} bytes are kept, but upload {start.upload_id} has {start.filesize}")


async def _pieces(
    blobs: BlobStore, wanted: StartPostprocessingStep, *, start: int, stop: int | None
) -> AsyncGenerator[bytes, None]:
    end = wanted.filesize if stop is None else min(stop, wanted.filesize)
    position = start
    try:
        async with aclosing(blobs.read(wanted.upload_id, start=start, stop=end)) as pieces:
            async for piece in pieces:
                position += len(piece)
                yield piece
    except (BlobMissing, BlobUnavailable) as error:
        raise BytesUnavailable(str(error)) from error
    if position < end:
        raise BytesUnavailable(f"upload {wanted.upload_id} ends after {position} of {end} bytes")
