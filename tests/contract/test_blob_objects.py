"""Released bytes in object stores, by the suite for blobs, each on a real server; that of Google on a fake."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
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
    from tests.servers.fake_gcs import FakeGcs
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


class TestGcs(BlobContract):
    """On a fake: Google's storage has no server that runs elsewhere."""

    @pytest.fixture(autouse=True)
    def place(self, root: Path, fake_gcs: FakeGcs, gcs_bucket: str) -> None:
        self.root, self.server, self.bucket = root, fake_gcs, gcs_bucket

    def open(self) -> AbstractAsyncContextManager[BlobStore]:
        final = self.server.place(self.bucket, prefix="below/this")
        return MovingFiles(LocalBlobs(self.root), final)

    def peek(self, upload_id: str) -> bytes | None:
        here = staged(self.root, upload_id)
        return self.server.content(self.bucket, f"below/this/{upload_id}") if here is None else here


@pytest.mark.parametrize("service", ["s3", "azure", "gcs"])
async def test_a_copy_with_other_bytes_has_another_tag(
    s3: S3Server,
    bucket: str,
    azurite: AzuriteServer,
    container: str,
    fake_gcs: FakeGcs,
    gcs_bucket: str,
    service: str,
) -> None:
    places = {"s3": s3.place(bucket), "azure": azurite.place(container), "gcs": fake_gcs.place(gcs_bucket)}
    place: ObjectPlace = places[service]

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


async def test_the_address_of_a_copy_on_gcs_is_signed_by_the_account(fake_gcs: FakeGcs, gcs_bucket: str) -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"lent"

    lending, upload_id = fake_gcs.place(gcs_bucket).lending(), "d" * 32
    await lending.put(upload_id, pieces(), size_bytes=4, sha256="")
    url = await fake_gcs.place(gcs_bucket, signs=True).lending().link(upload_id, life=timedelta(minutes=5))
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(url)).content == b"lent"
        assert (await client.get(url.replace("penstock%40", "somebody%40"))).status_code == 403
    await lending.remove(upload_id)
