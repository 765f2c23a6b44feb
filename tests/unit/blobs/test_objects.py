"""Object stores that fail, lie, keep silent or are interrupted: nothing is lost, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from obstore.exceptions import GenericError

from penstock.blobs.base import BlobMissing, BlobUnavailable, StorageFull
from penstock.blobs.carrying import HUGE_BYTES
from penstock.blobs.local import LocalBlobs
from penstock.blobs.moving import MovingFiles
from penstock.blobs.objects import GcsPlace, place
from penstock.blobs.objects import bucket as bucket_module
from penstock.blobs.objects.place import part_bytes, parts_at_once
from penstock.blobs.objects.trouble import reason_of, trouble_about
from penstock.errors import ConfigurationError
from penstock.ids import new_upload_id
from tests.servers.s3 import SECRET
from tests.servers.unruly import Trouble, UnrulyServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from penstock.blobs.objects import S3Place
    from tests.servers.s3 import S3Server

MIB = 1024 * 1024
SMALL = b"a small one"
LARGE = random.Random(3).randbytes(17 * MIB)
"""In three parts."""


@pytest.fixture
async def final(bucket: str, s3: S3Server, proxy: UnrulyServer) -> AsyncIterator[S3Place]:
    async with s3.place(bucket, endpoint=proxy.endpoint) as opened:
        yield opened


@pytest.fixture
async def blobs(tmp_path: Path, final: S3Place) -> AsyncIterator[MovingFiles]:
    async with MovingFiles(LocalBlobs(tmp_path / "blobs"), final) as store:
        yield store


async def stage(blobs: MovingFiles, body: bytes) -> str:
    upload = new_upload_id()
    await blobs.create(upload)
    async with blobs.append(upload, 0) as out:
        await out.write(body)
    return upload


async def read(blobs: MovingFiles, upload: str) -> bytes:
    return b"".join([piece async for piece in blobs.read(upload)])


@pytest.mark.parametrize("trouble", [Trouble.ERROR, Trouble.BUSY, Trouble.CUT_REQUEST, Trouble.CUT_ANSWER], ids=str)
@pytest.mark.parametrize("method", ["PUT", "HEAD", "GET", "POST"])
async def test_a_short_trouble_is_overcome(
    blobs: MovingFiles, proxy: UnrulyServer, s3: S3Server, bucket: str, method: str, trouble: Trouble
) -> None:
    upload = await stage(blobs, LARGE)
    proxy.plans[method] = [trouble]
    try:
        await blobs.release(upload)
    except BlobUnavailable:
        await blobs.release(upload)  # as the event does that asks for it
    assert proxy.plans[method] == []
    await blobs.unstage(upload)
    assert s3.content(bucket, upload) == LARGE
    assert await blobs.staged() == []


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("method", ["PUT", "GET"])
async def test_a_long_trouble_leaves_everything_staged(
    blobs: MovingFiles, proxy: UnrulyServer, s3: S3Server, bucket: str, method: str, body: bytes
) -> None:
    upload = await stage(blobs, body)
    proxy.always[method] = Trouble.BUSY
    with pytest.raises(BlobUnavailable, match="503") as raised:
        await blobs.release(upload)
    assert SECRET not in str(raised.value)
    assert "Signature" not in str(raised.value)
    assert await blobs.staged() == [upload]
    assert await read(blobs, upload) == body
    assert s3.unfinished(bucket) == []
    proxy.always.clear()
    await blobs.release(upload)
    assert s3.content(bucket, upload) == body


async def test_a_large_file_waits_in_the_middle_for_a_store_that_is_away(
    blobs: MovingFiles, proxy: UnrulyServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "PATIENT_BYTES", len(LARGE))
    upload = await stage(blobs, LARGE)
    proxy.plans["PUT"] = [Trouble.BUSY] * 12  # more than anybody else is let get away with
    await blobs.release(upload)
    assert s3.content(bucket, upload) == LARGE
    assert sum("?uploads" in line for line in proxy.seen) == 1  # it was begun once


async def test_every_fifth_part_is_dropped_and_all_arrive(
    blobs: MovingFiles, proxy: UnrulyServer, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = random.Random(9).randbytes(42 * MIB)
    monkeypatch.setattr(place, "PATIENT_BYTES", len(body))  # the same part may be the fifth several times
    upload = await stage(blobs, body)
    seen = list[float]()

    def look() -> None:
        if handover := blobs.handovers.of(upload):
            seen.append(handover.fraction)

    proxy.every["PUT"] = (5, Trouble.CUT_REQUEST)
    with blobs.handovers.watch(look):
        await blobs.release(upload)
    assert seen == sorted(seen)
    assert s3.content(bucket, upload) == body
    assert s3.unfinished(bucket) == []


async def test_a_store_that_says_yes_and_keeps_nothing_is_not_believed(
    blobs: MovingFiles, proxy: UnrulyServer, s3: S3Server, bucket: str
) -> None:
    upload = await stage(blobs, SMALL)
    proxy.plans["PUT"] = [Trouble.LIE]
    with pytest.raises(BlobUnavailable, match="other bytes"):
        await blobs.release(upload)
    assert await blobs.staged() == [upload]
    with pytest.raises(BlobUnavailable, match="stay staged"):
        await blobs.unstage(upload)
    await blobs.release(upload)
    await blobs.unstage(upload)
    assert s3.content(bucket, upload) == SMALL


async def test_an_object_that_is_not_what_is_staged_is_replaced(blobs: MovingFiles, s3: S3Server, bucket: str) -> None:
    for body in (SMALL, LARGE):
        upload = await stage(blobs, body)
        s3.client.put_object(Bucket=bucket, Key=upload, Body=body[::-1])
        await blobs.release(upload)
        assert s3.content(bucket, upload) == body


async def test_a_large_object_that_is_there_already_is_not_sent_again(blobs: MovingFiles, proxy: UnrulyServer) -> None:
    upload = await stage(blobs, LARGE)
    await blobs.release(upload)
    proxy.seen.clear()
    await blobs.release(upload)
    assert [line.split()[0] for line in proxy.seen] == ["HEAD", "GET"]


async def test_what_is_still_staged_goes_without_being_read_or_sent(blobs: MovingFiles, proxy: UnrulyServer) -> None:
    for body in (SMALL, LARGE):
        upload = await stage(blobs, body)
        await blobs.release(upload)
        proxy.seen.clear()
        await blobs.put_right(upload, len(body))
        assert [line.split()[0] for line in proxy.seen] == ["HEAD"]
        assert await blobs.staged() == []
        assert await read(blobs, upload) == body


async def test_who_is_late_removes_nothing_that_another_instance_has_released(
    blobs: MovingFiles, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await stage(blobs, SMALL)

    async def meanwhile(*_: object) -> bool:
        """The other one is done; what this one reads is not what it should be."""
        await blobs.unstage(upload)
        return False

    monkeypatch.setattr(blobs._carrier, "_holds", meanwhile)
    with pytest.raises(BlobMissing):
        await blobs.release(upload)
    assert s3.content(bucket, upload) == SMALL


async def test_what_keeps_silent_is_not_waited_for(
    blobs: MovingFiles, proxy: UnrulyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await stage(blobs, SMALL)
    for module in (place, bucket_module):
        monkeypatch.setattr(module, "STALL_SECONDS", 0.2)
    for method in ("HEAD", "GET"):
        proxy.always = {method: Trouble.SILENCE}
        with pytest.raises(BlobUnavailable, match="in time"):
            await blobs.release(upload)
        assert await blobs.staged() == [upload]


async def test_a_reading_that_is_cut_goes_on_or_fails_but_never_ends_early(
    blobs: MovingFiles, proxy: UnrulyServer
) -> None:
    upload = await stage(blobs, LARGE)
    await blobs.release(upload)
    await blobs.unstage(upload)
    proxy.plans["GET"] = [Trouble.CUT_ANSWER]
    try:
        assert await read(blobs, upload) == LARGE
    except BlobUnavailable:
        assert await read(blobs, upload) == LARGE


async def test_who_is_cancelled_leaves_no_part_behind(final: S3Place, s3: S3Server, bucket: str) -> None:
    upload, under_way = new_upload_id(), asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes, None]:
        for begin in range(0, len(LARGE), MIB):
            if begin > 9 * MIB:
                under_way.set()
            await asyncio.sleep(0.01)
            yield LARGE[begin : begin + MIB]

    task = asyncio.create_task(final.put(upload, pieces(), size_bytes=len(LARGE), sha256=""))
    await under_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert s3.unfinished(bucket) == []
    assert s3.content(bucket, upload) is None


async def test_a_source_that_fails_leaves_nothing_behind(final: S3Place, s3: S3Server, bucket: str) -> None:
    upload = new_upload_id()

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield LARGE[: 9 * MIB]
        raise BlobUnavailable("the disk is gone")

    with pytest.raises(BlobUnavailable, match="the disk is gone"):
        await final.put(upload, pieces(), size_bytes=len(LARGE), sha256="")
    assert s3.unfinished(bucket) == []
    assert s3.content(bucket, upload) is None


async def test_a_bucket_that_is_gone_is_no_missing_file(final: S3Place, s3: S3Server, bucket: str) -> None:
    await final.check()
    s3.client.delete_bucket(Bucket=bucket)
    with pytest.raises(BlobUnavailable, match="does not exist"):
        await final.check()
    with pytest.raises(BlobUnavailable, match="does not exist"):
        await final.size(new_upload_id())
    with pytest.raises(BlobUnavailable, match="does not exist"):
        _ = [piece async for piece in final.read(new_upload_id())]


async def test_files_that_were_released_on_the_disk_before_are_read(tmp_path: Path, blobs: MovingFiles) -> None:
    async with LocalBlobs(tmp_path / "blobs") as before:
        upload = new_upload_id()
        await before.create(upload)
        async with before.append(upload, 0) as out:
            await out.write(SMALL)
        await before.release(upload)
    assert await blobs.length(upload) == len(SMALL)
    assert await read(blobs, upload) == SMALL
    await blobs.discard(upload)
    with pytest.raises(BlobMissing):
        await blobs.length(upload)


def test_parts_grow_with_the_file_so_that_there_are_never_too_many() -> None:
    assert part_bytes(9 * MIB) == 8 * MIB
    for size in (80 * 1024 * MIB, 5 * 1024**2 * MIB):
        assert -(-size // part_bytes(size)) <= 10_000
        assert part_bytes(size) % MIB == 0


def test_no_more_is_in_memory_for_a_large_file_than_for_a_small_one() -> None:
    for size in (9 * MIB, HUGE_BYTES - 1):
        assert part_bytes(size) * parts_at_once(part_bytes(size)) <= 32 * MIB
    assert parts_at_once(part_bytes(100 * 1024 * MIB)) == 2
    assert parts_at_once(part_bytes(5 * 1024**2 * MIB)) == 1


@pytest.mark.parametrize(
    "said",
    [
        "status code: 507 Insufficient Storage: ",
        "status code: 400 Bad Request: <Error><Code>XMinioAdminBucketQuotaExceeded</Code></Error>",
        "status code: 503 Service Unavailable: <Error><Code>XMinioStorageFull</Code></Error>",
    ],
)
def test_a_service_that_is_full_is_not_one_that_is_away(said: str) -> None:
    with pytest.raises(StorageFull, match="the bucket has no room"), trouble_about("ab", "the bucket"):
        raise GenericError(f"Generic S3 error: https://s3/b/k: Server returned non-2xx {said}")
    with pytest.raises(BlobUnavailable), trouble_about("ab", "the bucket"):
        raise GenericError("Generic S3 error: https://s3/b/507: non-2xx status code: 503 Slow Down: <Code>Busy</Code>")


def test_messages_hold_no_address_and_no_signature() -> None:
    text = (
        "Generic S3 error: Error performing GET https://key:pw@s3/b/k?X-Amz-Signature=abc in 3ms - Server returned "
        "non-2xx status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code><StringToSign>AWS4 secret"
    )
    assert reason_of(ValueError(text)) == "403 Forbidden (SignatureDoesNotMatch)"
    assert reason_of(ValueError("Error performing GET https://s3/b?sig=abc in 1s: cut\n\nDebug source: x")) == (
        "Error performing GET … in 1s: cut"
    )


def test_a_key_of_google_that_cannot_be_read_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="storage_credentials_file"):
        GcsPlace("bucket", credentials_file=tmp_path / "missing.json")
    with pytest.raises(ConfigurationError, match="storage_credentials_file"):
        GcsPlace("bucket", endpoint="http://127.0.0.1:1")
