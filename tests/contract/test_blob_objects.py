"""Released bytes in object stores, by the suite for blobs, each on a real server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import BlobMissing
from penstock.blobs.local import LocalBlobs
from penstock.blobs.moving import MovingFiles
from penstock.testing.blob_contract import BlobContract

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from penstock.blobs.base import BlobStore
    from penstock.blobs.objects.place import ObjectPlace
    from tests.servers.azurite import AzuriteServer
    from tests.servers.s3 import S3Server


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blobs")


def staged(root: Path, upload_id: str) -> bytes | None:
    path = root / "staged" / upload_id[:2] / upload_id
    return path.read_bytes() if path.exists() else None


class TestS3(BlobContract):
    @pytest.fixture(autouse=True)
    def place(self, root: Path, s3: S3Server, bucket: str) -> None:
        self.root, self.server, self.bucket = root, s3, bucket

    def open(self) -> AbstractAsyncContextManager[BlobStore]:
        final = self.server.place(self.bucket, prefix="below/this")
        return MovingFiles(LocalBlobs(self.root), final)

    def peek(self, upload_id: str) -> bytes | None:
        here = staged(self.root, upload_id)
        return self.server.content(self.bucket, f"below/this/{upload_id}") if here is None else here


class TestAzure(BlobContract):
    @pytest.fixture(autouse=True)
    def place(self, root: Path, azurite: AzuriteServer, container: str) -> None:
        self.root, self.server, self.container = root, azurite, container

    def open(self) -> AbstractAsyncContextManager[BlobStore]:
        final = self.server.place(self.container)
        return MovingFiles(LocalBlobs(self.root), final)

    def peek(self, upload_id: str) -> bytes | None:
        here = staged(self.root, upload_id)
        return self.server.content(self.container, upload_id) if here is None else here


@pytest.mark.parametrize("service", ["s3", "azure"])
async def test_a_copy_with_other_bytes_has_another_tag(
    s3: S3Server, bucket: str, azurite: AzuriteServer, container: str, service: str
) -> None:
    place: ObjectPlace = s3.place(bucket) if service == "s3" else azurite.place(container)

    async def pieces(body: bytes) -> AsyncGenerator[bytes, None]:
        yield body

    lending, upload_id = place.lending(), "c" * 32
    with pytest.raises(BlobMissing):
        await lending.copy(upload_id)
    await lending.put(upload_id, pieces(b"one"), size_bytes=3, sha256="")
    one = await lending.copy(upload_id)
    assert one.size_bytes == 3
    assert one.tag
    assert await lending.copy(upload_id) == one
    await lending.put(upload_id, pieces(b"two"), size_bytes=3, sha256="")
    assert (await lending.copy(upload_id)).tag != one.tag
    await lending.remove(upload_id)
