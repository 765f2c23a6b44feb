"""Uploads staged in object stores, by the suite for blobs, each on a real server; that of Google on a fake."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import OffsetConflict
from penstock.blobs.moving import MovingFenced
from penstock.blobs.sharing import SupportsIdentity
from penstock.ids import new_upload_id
from penstock.testing.blob_contract import BlobContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.azurite import AzuriteServer
    from tests.servers.fake_gcs import FakeGcs
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


async def ours(*_: object) -> None:
    """Confirm that an upload is still ours."""


class StagingContract(BlobContract):
    """The suite, and what several instances need of a service."""

    @abstractmethod
    def open(self) -> MovingFenced: ...

    async def test_behind_a_fence_nothing_counts_that_was_begun_before(self) -> None:
        upload = new_upload_id()
        async with self.open() as sleeper, self.open() as blobs:
            await blobs.create(upload)
            with pytest.raises(OffsetConflict):  # noqa: PT012  it comes when the context ends
                async with sleeper.append_confirmed(upload, 0, confirm=ours) as out:
                    await out.write(b"late")
                    await blobs.fence(upload, None, None, ours)
            async with blobs.append_confirmed(upload, 0, confirm=ours) as out:
                await out.write(b"in time")
            assert await sleeper.length(upload) == 7

    async def test_a_place_has_one_name_whoever_asks_first(self) -> None:
        async with self.open() as first, self.open() as second:
            stagings = [one._staging for one in (first, second)]
            names = {await one.identity(make=True) for one in stagings if isinstance(one, SupportsIdentity)}
        assert len(names) == 1
        assert names != {""}


class TestS3(StagingContract):
    @pytest.fixture(autouse=True)
    def place(self, s3: S3Server, bucket: str) -> None:
        self.server, self.bucket = s3, bucket

    def open(self) -> MovingFenced:
        place = self.server.place(self.bucket, prefix="below/this")
        return MovingFenced(place.staging(), place)

    def peek(self, upload_id: str) -> bytes | None:
        return looked_up(lambda key: self.server.content(self.bucket, key), "below/this/", upload_id)


class TestAzure(StagingContract):
    @pytest.fixture(autouse=True)
    def place(self, azurite: AzuriteServer, container: str) -> None:
        self.server, self.container = azurite, container

    def open(self) -> MovingFenced:
        place = self.server.place(self.container)
        return MovingFenced(place.staging(), place)

    def peek(self, upload_id: str) -> bytes | None:
        return looked_up(lambda key: self.server.content(self.container, key), "", upload_id)


class TestGcs(StagingContract):
    """On a fake: Google's storage has no server that runs elsewhere."""

    @pytest.fixture(autouse=True)
    def place(self, fake_gcs: FakeGcs, gcs_bucket: str) -> None:
        self.server, self.bucket = fake_gcs, gcs_bucket

    def open(self) -> MovingFenced:
        place = self.server.place(self.bucket)
        return MovingFenced(place.staging(), place)

    def peek(self, upload_id: str) -> bytes | None:
        return looked_up(lambda key: self.server.content(self.bucket, key), "", upload_id)


async def test_azure_copies_what_is_one_object(azurite: AzuriteServer, container: str) -> None:
    """It may say that it is still at it: then what is there is compared, and the bytes are sent."""
    body, upload = bytes(range(256)) * 2000, new_upload_id()
    place = azurite.place(container)
    async with MovingFenced(place.staging(), place) as blobs:
        await blobs.create(upload)
        async with blobs.append(upload, 0) as out:
            await out.write(body)
        await blobs.release(upload)
        assert azurite.content(container, upload) == body
        await blobs.unstage(upload)
        assert b"".join([piece async for piece in blobs.read(upload)]) == body
