"""Bytes for steps in the gateway's process, from a store whose blobs are not files."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import BlobUnavailable
from penstock.blobs.local import LocalBlobs
from penstock.delivery.base import BytesGone, BytesUnavailable
from penstock.delivery.blobs import BlobDelivery
from penstock.events.types import StartPostprocessingStep
from penstock.ids import new_upload_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

BODY = random.Random(1).randbytes(2 * 1024 * 1024 + 1)


def start(upload_id: str, size_bytes: int = len(BODY)) -> StartPostprocessingStep:
    return StartPostprocessingStep(upload_id=upload_id, url="", filesize=size_bytes, step_to_start="thumbnail")


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    async with LocalBlobs(tmp_path) as store:
        yield store


@pytest.fixture
async def upload(blobs: LocalBlobs) -> str:
    upload_id = new_upload_id()
    await blobs.create(upload_id)
    async with blobs.append(upload_id, 0) as out:
        await out.write(BODY)
    return upload_id


async def test_a_step_reads_a_stream(blobs: LocalBlobs, upload: str) -> None:
    async with BlobDelivery(blobs, as_files=False) as delivery, delivery.deliver(start(upload)) as delivered:
        assert (delivered.is_file, delivered.size_bytes) == (False, len(BODY))
        assert b"".join([piece async for piece in delivered.stream()]) == BODY
        assert b"".join([piece async for piece in delivered.stream(start=5, stop=9)]) == BODY[5:9]
        await anext(delivered.stream())  # and no more: it is closed with the context
        with pytest.raises(BytesUnavailable, match="stream"):
            delivered.path  # noqa: B018  asking is what is tested


async def test_a_step_opens_a_file_which_is_gone_afterwards(blobs: LocalBlobs, upload: str) -> None:
    async with AsyncExitStack() as stack:
        delivery = await stack.enter_async_context(BlobDelivery(blobs, as_files=True))
        async with delivery.deliver(start(upload)) as delivered:
            path = delivered.path
            assert path.read_bytes() == BODY
        assert not path.exists()
        folder = path.parent
        assert folder.exists()
    assert not folder.exists()


@pytest.mark.parametrize("as_files", [False, True])
async def test_bytes_that_are_not_as_announced(blobs: LocalBlobs, upload: str, as_files: bool) -> None:
    async with BlobDelivery(blobs, as_files=as_files) as delivery:
        with pytest.raises(BytesUnavailable, match="are kept, but"):
            await delivery.deliver(start(upload, 5)).__aenter__()
        with pytest.raises(BytesGone):
            await delivery.deliver(start(new_upload_id())).__aenter__()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_store_that_stops_in_the_middle(blobs: LocalBlobs, upload: str, fails: bool) -> None:
    class Short(LocalBlobs):
        async def length(self, upload_id: str) -> int:
            return await blobs.length(upload_id)

        async def read(self, upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
            yield BODY[start:7]
            if fails:
                raise BlobUnavailable("it has gone")

    async with (
        BlobDelivery(Short(blobs.path(upload).parent), as_files=False) as delivery,
        delivery.deliver(start(upload)) as delivered,
    ):
        with pytest.raises(BytesUnavailable, match="gone" if fails else "ends after 7"):
            async for _ in delivered.stream():
                pass
