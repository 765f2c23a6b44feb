"""Uploads staged in object stores, by the suite for blobs, each on a real server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.moving import MovingBlobs
from penstock.testing.blob_contract import BlobContract

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from penstock.blobs.base import BlobStore
    from tests.servers.azurite import AzuriteServer
    from tests.servers.s3 import S3Server


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
        place = self.server.place(self.bucket, prefix="below/this")
        return MovingBlobs(place.staging(), place)

    def peek(self, upload_id: str) -> bytes | None:
        return looked_up(lambda key: self.server.content(self.bucket, key), "below/this/", upload_id)


class TestAzure(BlobContract):
    @pytest.fixture(autouse=True)
    def place(self, azurite: AzuriteServer, container: str) -> None:
        self.server, self.container = azurite, container

    def open(self) -> AbstractAsyncContextManager[BlobStore]:
        place = self.server.place(self.container)
        return MovingBlobs(place.staging(), place)

    def peek(self, upload_id: str) -> bytes | None:
        return looked_up(lambda key: self.server.content(self.container, key), "", upload_id)
