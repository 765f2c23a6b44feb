"""What tests of the local store have in common."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.ids import new_upload_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.blobs.local import LocalBlobs


@contextmanager
def full_beyond(size_bytes: int) -> Iterator[None]:
    """No file of this process may grow larger: the kernel writes what fits, then refuses, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def staged(blobs: LocalBlobs, body: bytes = b"") -> str:
    upload = new_upload_id()
    await blobs.create(upload)
    async with blobs.append(upload, 0) as out:
        await out.write(body)
    return upload
