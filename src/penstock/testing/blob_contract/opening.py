"""What the suites have in common: a store to open, and what they do with it over and over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ...ids import new_upload_id

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ...blobs.base import BlobStore

MIB = 1024 * 1024


class OpensBlobs(ABC):
    """A store, and a look at what it keeps."""

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[BlobStore]:
        """Return a store over the same place every time: a second one sees what the first one left behind."""

    @abstractmethod
    def peek(self, upload_id: str) -> bytes | None:
        """Return the bytes that lie under an ID, staged or released, without asking the store; None: there are none."""


async def new_blob(blobs: BlobStore, body: bytes = b"") -> str:
    """Begin a blob, with these bytes; return its upload."""
    upload = new_upload_id()
    await blobs.create(upload)
    await append(blobs, upload, 0, body)
    return upload


async def append(blobs: BlobStore, upload: str, offset: int, body: bytes = b"") -> None:
    """Add bytes to a blob."""
    async with blobs.append(upload, offset) as out:
        if body:
            await out.write(body)


async def append_and_fail(blobs: BlobStore, upload: str, offset: int, body: bytes, *, tentative: bool = False) -> None:
    """Add bytes to a blob, and have the context end in an error."""
    async with blobs.append(upload, offset, tentative=tentative) as out:
        await out.write(body)
        assert out.length_bytes == offset + len(body)
        raise ConnectionError


async def read(blobs: BlobStore, upload: str, start: int = 0, stop: int | None = None) -> bytes:
    """Return the bytes of a blob, from `start` up to `stop`."""
    return b"".join([piece async for piece in blobs.read(upload, start=start, stop=stop)])
