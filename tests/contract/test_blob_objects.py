"""Released bytes in object stores, by the suite for blobs, each on a real server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import BlobMissing
from penstock.blobs.local import LocalBlobs
from penstock.blobs.moving import MovingFiles
from penstock.blobs.objects import AzurePlace, S3Place
from penstock.testing.blob_contract import BlobContract
from tests.servers.azurite import ACCOUNT, running_azurite
from tests.servers.azurite import KEY as ACCOUNT_KEY
from tests.servers.s3 import KEY, REGION, SECRET, running_s3

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from contextlib import AbstractAsyncContextManager

    from penstock.blobs.base import BlobStore
    from penstock.blobs.objects.place import ObjectPlace
    from tests.servers.azurite import AzuriteServer
    from tests.servers.s3 import S3Server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteServer]:
    with running_azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    return s3.new_bucket()


@pytest.fixture(scope="module")
def container(azurite: AzuriteServer) -> str:
    return azurite.new_container()


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
        final = S3Place(
            self.bucket,
            prefix="below/this",
            endpoint=self.server.endpoint,
            region=REGION,
            access_key=KEY,
            secret_key=SECRET,
        )
        return MovingFiles(LocalBlobs(self.root), final)

    def peek(self, upload_id: str) -> bytes | None:
        here = staged(self.root, upload_id)
        return self.server.content(self.bucket, f"below/this/{upload_id}") if here is None else here


class TestAzure(BlobContract):
    @pytest.fixture(autouse=True)
    def place(self, root: Path, azurite: AzuriteServer, container: str) -> None:
        self.root, self.server, self.container = root, azurite, container

    def open(self) -> AbstractAsyncContextManager[BlobStore]:
        final = AzurePlace(self.container, endpoint=self.server.endpoint, account=ACCOUNT, account_key=ACCOUNT_KEY)
        return MovingFiles(LocalBlobs(self.root), final)

    def peek(self, upload_id: str) -> bytes | None:
        here = staged(self.root, upload_id)
        return self.server.content(self.container, upload_id) if here is None else here


@pytest.mark.parametrize("service", ["s3", "azure"])
async def test_a_copy_with_other_bytes_has_another_tag(
    s3: S3Server, bucket: str, azurite: AzuriteServer, container: str, service: str
) -> None:
    place: ObjectPlace = (
        S3Place(bucket, endpoint=s3.endpoint, region=REGION, access_key=KEY, secret_key=SECRET)
        if service == "s3"
        else AzurePlace(container, endpoint=azurite.endpoint, account=ACCOUNT, account_key=ACCOUNT_KEY)
    )

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
