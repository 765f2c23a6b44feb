"""Uploads staged in object stores, by the suite for blobs, each on a real server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.moving import MovingBlobs
from penstock.blobs.objects import AzurePlace, S3Place
from penstock.testing.blob_contract import BlobContract
from tests.servers.azurite import ACCOUNT, running_azurite
from tests.servers.azurite import KEY as ACCOUNT_KEY
from tests.servers.s3 import KEY, REGION, SECRET, running_s3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from penstock.blobs.base import BlobStore
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


def looked_up(content: Callable[[str], bytes | None], prefix: str, upload_id: str) -> bytes | None:
    """What is staged of an upload, or else released, put together from the objects themselves."""
    folder = f"{prefix}staging/{upload_id}"
    head = content(f"{folder}/head")
    if head is None:
        return content(f"{prefix}{upload_id}")
    line, _, tail = head.partition(b"\n")
    whole, begin = b"", 0
    for writer, end, step in json.loads(line)[2]:
        while begin < end:
            segment = content(f"{folder}/{writer}-{begin:x}")
            assert segment is not None
            assert len(segment) == min(step, end - begin)
            whole += segment
            begin += len(segment)
    return whole + tail


class TestS3(BlobContract):
    @pytest.fixture(autouse=True)
    def place(self, s3: S3Server, bucket: str) -> None:
        self.server, self.bucket = s3, bucket

    def open(self) -> AbstractAsyncContextManager[BlobStore]:
        place = S3Place(
            self.bucket,
            prefix="below/this",
            endpoint=self.server.endpoint,
            region=REGION,
            access_key=KEY,
            secret_key=SECRET,
        )
        return MovingBlobs(place.staging(), place)

    def peek(self, upload_id: str) -> bytes | None:
        return looked_up(lambda key: self.server.content(self.bucket, key), "below/this/", upload_id)


class TestAzure(BlobContract):
    @pytest.fixture(autouse=True)
    def place(self, azurite: AzuriteServer, container: str) -> None:
        self.server, self.container = azurite, container

    def open(self) -> AbstractAsyncContextManager[BlobStore]:
        place = AzurePlace(self.container, endpoint=self.server.endpoint, account=ACCOUNT, account_key=ACCOUNT_KEY)
        return MovingBlobs(place.staging(), place)

    def peek(self, upload_id: str) -> bytes | None:
        return looked_up(lambda key: self.server.content(self.container, key), "", upload_id)
