"""Staging in an object store that fails, lies or is shared, by processes that die: what counts is there, and right."""

from __future__ import annotations

import asyncio
import hashlib
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import Appender, BlobMissing, BlobUnavailable, OffsetConflict
from penstock.blobs.inventory import Stage
from penstock.blobs.moving import MovingFenced
from penstock.blobs.objects import place, sending
from penstock.blobs.objects.appender import ObjectAppender
from penstock.blobs.objects.heads import Heads, Saved
from penstock.blobs.objects.staging import ObjectStaging
from penstock.errors import ConfigurationError, PenstockError
from penstock.ids import new_upload_id
from penstock.testing import eventually
from penstock.uploads.errors import Interrupted
from tests.servers.unruly import Trouble, UnrulyServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from penstock.blobs.objects import S3Place
    from tests.servers.s3 import S3Server

KIB = 1024
SEGMENT = 128 * KIB
BODY = random.Random(4).randbytes(5 * SEGMENT + 77)


def store(final: S3Place) -> MovingFenced:
    staging = final.staging()
    staging.segment_bytes = SEGMENT
    return MovingFenced(staging, final)


@pytest.fixture
async def blobs(bucket: str, s3: S3Server, proxy: UnrulyServer) -> AsyncIterator[MovingFenced]:
    async with store(s3.place(bucket, endpoint=proxy.endpoint)) as opened:
        proxy.seen.clear()
        yield opened


@pytest.fixture
async def other(bucket: str, s3: S3Server) -> AsyncIterator[MovingFenced]:
    """The same place, as another gateway sees it."""
    async with store(s3.place(bucket)) as opened:
        yield opened


async def append(blobs: MovingFenced, upload: str, body: bytes, *, tentative: bool = False) -> None:
    offset = await blobs.length(upload)
    async with blobs.append(upload, offset, tentative=tentative) as out:
        for begin in range(0, len(body), 50 * KIB):
            await out.write(body[begin : begin + 50 * KIB])


async def staged(blobs: MovingFenced, body: bytes) -> str:
    upload = new_upload_id()
    await blobs.create(upload)
    await append(blobs, upload, body)
    return upload


async def read(blobs: MovingFenced, upload: str) -> bytes:
    return b"".join([piece async for piece in blobs.read(upload)])


async def to_its_end(blobs: MovingFenced, upload: str, body: bytes) -> None:
    """Do what a client and a gateway do together, from wherever the upload stands."""
    await blobs.create(upload)
    await append(blobs, upload, body[await blobs.length(upload) :])
    assert await blobs.seal(upload) == len(body)
    await blobs.release(upload)
    await blobs.unstage(upload)


@pytest.mark.parametrize(
    "trouble", [Trouble.ERROR, Trouble.BUSY, Trouble.CUT_REQUEST, Trouble.CUT_ANSWER, Trouble.LIE], ids=str
)
@pytest.mark.parametrize("method", ["PUT", "HEAD", "GET"])
async def test_a_short_trouble_is_overcome(
    blobs: MovingFenced, other: MovingFenced, proxy: UnrulyServer, method: str, trouble: Trouble
) -> None:
    upload = await staged(blobs, BODY[:100])
    if trouble is Trouble.LIE and method != "PUT":
        trouble = Trouble.BUSY
    proxy.plans[method] = [trouble]
    await append(blobs, upload, BODY[100:])
    assert proxy.plans[method] == []
    assert await read(other, upload) == BODY


async def test_a_store_that_keeps_nothing_is_not_believed(
    blobs: MovingFenced, other: MovingFenced, proxy: UnrulyServer
) -> None:
    upload = await staged(blobs, BODY[:300_000])
    proxy.always["PUT"] = Trouble.LIE
    for more in (b"small", BODY[300_000:]):
        with pytest.raises(BlobUnavailable, match="but"):
            await append(blobs, upload, more)
        assert await read(other, upload) == BODY[:300_000]


async def test_every_fifth_write_is_dropped(blobs: MovingFenced, other: MovingFenced, proxy: UnrulyServer) -> None:
    proxy.every["PUT"] = (5, Trouble.LIE)
    upload = new_upload_id()
    for _ in range(2):
        await blobs.create(upload)  # the answer to the first one may have been a lie
    reached = 0
    while reached < len(BODY):
        await append(blobs, upload, BODY[reached : reached + 150_000])
        assert await other.length(upload) > reached
        reached = await other.length(upload)
    proxy.every.clear()
    await to_its_end(blobs, upload, BODY)
    assert await read(other, upload) == BODY


async def test_a_store_that_goes_away_keeps_what_was_counted(
    blobs: MovingFenced, other: MovingFenced, proxy: UnrulyServer, s3: S3Server, bucket: str
) -> None:
    upload = new_upload_id()
    await blobs.create(upload)
    with pytest.raises(BlobUnavailable):  # noqa: PT012  it may come when the context ends
        async with blobs.append(upload, 0) as out:
            for begin in range(0, len(BODY), SEGMENT):
                await out.write(BODY[begin : begin + SEGMENT])
                if begin >= 4 * SEGMENT:
                    proxy.always["PUT"] = Trouble.REFUSAL
    reached = await other.length(upload)
    assert out.length_bytes == reached
    assert await read(other, upload) == BODY[:reached]
    await to_its_end(other, upload, BODY)
    assert s3.keys(bucket) == [upload]


async def test_death_between_any_two_requests_loses_nothing(
    bucket: str, blobs: MovingFenced, other: MovingFenced, proxy: UnrulyServer, s3: S3Server
) -> None:
    body, deaths = BODY[: SEGMENT + 70 * KIB], 0
    while True:
        upload, proxy.left = new_upload_id(), deaths
        promised = await live_and_die(blobs, upload, body)
        survived, proxy.left = proxy.left >= 0, None
        try:
            length = await other.length(upload)
        except BlobMissing:
            assert promised == -1
        else:
            assert max(promised, 0) <= length <= len(body)
            assert await read(other, upload) == body[:length]
        if upload in await other.staged() or promised == -1:
            await to_its_end(other, upload, body)
        assert s3.content(bucket, upload) == body
        assert s3.keys(bucket) == [upload]
        await other.discard(upload)
        if survived:
            break
        deaths += 1
    assert deaths > 15


async def live_and_die(blobs: MovingFenced, upload: str, body: bytes) -> int:
    """Take an upload to its end, as far as it goes; return how many bytes somebody was told to be there."""
    promised = -1
    try:
        await blobs.create(upload)
        promised = 0
        for end in (1000, len(body)):
            await append(blobs, upload, body[promised:end])
            promised = end
        await blobs.seal(upload)
        await blobs.release(upload)
        await blobs.unstage(upload)
    except PenstockError:
        pass
    return promised


async def test_a_damaged_head_holds_up_no_other(
    bucket: str, blobs: MovingFenced, other: MovingFenced, s3: S3Server
) -> None:
    damaged, whole = await staged(blobs, b"damaged"), await staged(blobs, b"whole")
    s3.client.put_object(Bucket=bucket, Key=f"staging/{damaged}/head", Body=b"what is this?")
    with pytest.raises(BlobUnavailable, match="something else than was written"):
        await other.length(damaged)
    found = {one.upload_id: one async for batch in other.inventory() for one in batch}
    assert found[whole].size_bytes == len(b"whole")
    assert found[damaged].size_bytes == len(b"what is this?")
    assert await other.remove_found(found[damaged])
    assert await other.staged() == [whole]


@pytest.mark.parametrize("late", [b"late", BODY[::-1]], ids=["small", "large"])
async def test_a_late_writer_changes_nothing(
    bucket: str, blobs: MovingFenced, other: MovingFenced, s3: S3Server, late: bytes
) -> None:
    upload = await staged(blobs, BODY[:10])
    with pytest.raises(OffsetConflict) as raised:  # noqa: PT012  it may come when the context ends
        async with blobs.append(upload, 10) as out:
            await out.write(late[:SEGMENT])
            await append(other, upload, BODY[10:])
            await out.write(late[SEGMENT:])
    assert raised.value.length_bytes == len(BODY)
    assert await read(blobs, upload) == BODY
    await to_its_end(other, upload, BODY)
    assert s3.keys(bucket) == [upload]


async def ours(*_: object) -> None:
    """Confirm that an upload is still ours."""


@pytest.mark.parametrize("tentative", [False, True])
@pytest.mark.parametrize("late", [b"late", BODY[::-1]], ids=["small", "large"])
async def test_behind_a_fence_nothing_counts_that_was_begun_before(
    blobs: MovingFenced, other: MovingFenced, late: bytes, tentative: bool
) -> None:
    upload = await staged(blobs, BODY[:10])
    with pytest.raises(OffsetConflict):  # noqa: PT012  it may come when the context ends
        async with blobs.append_confirmed(upload, 10, tentative=tentative, confirm=ours) as out:
            await out.write(late[:SEGMENT])
            await other.fence(upload, None, None, ours)
            assert await other.length(upload) == 10
            await out.write(late[SEGMENT:])
    assert await read(other, upload) == BODY[:10]
    await to_its_end(other, upload, BODY)


async def test_behind_a_fence_nothing_is_taken_back(blobs: MovingFenced, other: MovingFenced) -> None:
    body = BODY + BODY  # some of it counts before the end
    upload = await staged(blobs, b"")
    with pytest.raises(OffsetConflict):  # noqa: PT012  it may come when the context ends
        async with blobs.append_confirmed(upload, 0, confirm=ours) as out:
            await out.write(body)
            counted = await other.length(upload)
            await other.fence(upload, None, counted, ours)
            await out.rollback()
    assert counted > 0
    assert await read(other, upload) == body[:counted]


async def test_who_has_lost_the_upload_opens_and_fences_nothing(blobs: MovingFenced, other: MovingFenced) -> None:
    async def not_ours(*_: object) -> None:
        raise Interrupted("somebody else continues")

    upload = await staged(blobs, b"abc")
    async with blobs.append_confirmed(upload, 3, confirm=ours) as out:
        await out.write(b"def")
        with pytest.raises(Interrupted):
            await other.fence(upload, None, None, not_ours)
        with pytest.raises(Interrupted):
            async with other.append_confirmed(upload, 3, confirm=not_ours):
                pass
    assert await read(other, upload) == b"abcdef"
    with pytest.raises(BlobMissing):
        await other.fence(new_upload_id(), None, None, ours)


async def test_what_a_newcomer_has_read_stays_though_its_writer_never_heard_that_it_counts(
    blobs: MovingFenced, other: MovingFenced, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await staged(blobs, b"")
    heads = staging_of(blobs).heads
    reading, reads = heads.read, 0

    async def read_late(upload_id: str) -> Saved:
        nonlocal reads
        reads += 1
        if reads == 2:  # the first was at the begin; this is what it has just written
            await other.fence(upload, None, None, ours)
        return await reading(upload_id)

    monkeypatch.setattr(heads, "read", read_late)
    with pytest.raises(OffsetConflict):
        async with blobs.append(upload, 0) as out:
            await out.write(BODY)
    assert await read(other, upload) == BODY[: await other.length(upload)] != b""


@pytest.mark.parametrize("by_appender", [False, True])
async def test_once_it_is_sealed_nothing_is_added_by_what_is_still_on_its_way(
    blobs: MovingFenced, other: MovingFenced, by_appender: bool
) -> None:
    upload = await staged(blobs, b"all of it")
    with pytest.raises(OffsetConflict):  # noqa: PT012  it comes when the context ends
        async with blobs.append(upload, 9) as out:
            await out.write(b"late")
            await asyncio.wait([opening_of(out)])
            if by_appender:
                async with other.append(upload, 9) as last:
                    await last.seal()
            else:
                assert await other.seal(upload) == 9
    assert await read(other, upload) == b"all of it"


async def test_a_service_that_cannot_be_shared_is_refused(
    bucket: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def knows_no_conditions(heads: Heads, key: str) -> bool:
        del heads, key
        return False

    monkeypatch.setattr(Heads, "find_out", knows_no_conditions)
    final = s3.place(bucket)
    with pytest.raises(ConfigurationError, match="If-Match"):
        async with final.staging(shared=True):
            pass
    async with final.staging():
        pass


async def test_a_place_has_one_name_whoever_asks_first(blobs: MovingFenced, other: MovingFenced) -> None:
    first, second = staging_of(blobs), staging_of(other)
    assert await first.identity(make=False) == ""
    name, *names = await asyncio.gather(*(one.identity(make=True) for one in (first, second, first, second)))
    assert names == [name] * 3
    assert name == await second.identity(make=False) != ""
    assert await blobs.staged() == []


def staging_of(blobs: MovingFenced) -> ObjectStaging:
    staging = blobs._staging
    assert isinstance(staging, ObjectStaging)
    return staging


def opening_of(out: Appender) -> asyncio.Future[Saved]:
    assert isinstance(out, ObjectAppender)
    assert out._opening is not None
    return out._opening


async def test_who_reads_while_a_file_is_released_reads_it_to_its_end(blobs: MovingFenced, other: MovingFenced) -> None:
    upload = await staged(blobs, BODY)
    reading = blobs.read(upload, start=10)
    found = await anext(reading)
    await to_its_end(other, upload, BODY)
    assert found + b"".join([piece async for piece in reading]) == BODY[10:]


async def test_what_a_death_has_left_of_a_removal_goes_with_the_next_one(
    bucket: str, blobs: MovingFenced, other: MovingFenced, s3: S3Server
) -> None:
    upload = await staged(blobs, BODY)
    await blobs.seal(upload)
    await blobs.release(upload)
    for key in s3.keys(bucket):
        if key.startswith(f"staging/{upload}/") and key.endswith("/head"):
            s3.client.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(BlobMissing):
        await blobs._staging.length(upload)
    assert await other.staged() == [upload]
    await other.release(upload)
    await other.unstage(upload)
    assert await other.staged() == []
    assert await read(other, upload) == BODY


async def test_bytes_that_come_after_their_upload_was_removed(
    bucket: str, blobs: MovingFenced, other: MovingFenced, s3: S3Server
) -> None:
    upload = await staged(blobs, BODY[:10])
    with pytest.raises(BlobMissing):  # noqa: PT012  it may come when the context ends
        async with blobs.append(upload, 10) as out:
            await out.write(BODY[: 3 * SEGMENT])
            await other.discard(upload)
            await out.write(BODY[: 3 * SEGMENT])
    assert s3.keys(bucket) == []
    s3.client.put_object(Bucket=bucket, Key=f"staging/{upload}/0123456789abcdef-0", Body=b"later still")
    assert await other.staged() == [upload]
    with pytest.raises(BlobMissing):
        await other.length(upload)
    await other.discard(upload)
    assert s3.keys(bucket) == []


async def test_what_is_rolled_back_was_never_there(
    bucket: str, blobs: MovingFenced, other: MovingFenced, s3: S3Server
) -> None:
    upload = await staged(blobs, BODY[:200_000])
    before = sorted(s3.keys(bucket))
    async with blobs.append(upload, 200_000) as out:
        for _ in range(3):
            await out.write(BODY)  # more than is on its way at the same time: some of it counts by now
        assert await other.length(upload) > 200_000
        await out.rollback()
        assert out.length_bytes == 200_000
    with pytest.raises(ConnectionError):  # noqa: PT012  it may come when the context ends
        async with blobs.append(upload, 200_000, tentative=True) as out:
            await out.write(BODY)
            raise ConnectionError
    assert sorted(s3.keys(bucket)) == before
    assert await read(other, upload) == BODY[:200_000]


@pytest.mark.parametrize(("size", "most"), [(5 * KIB, 4), (90 * KIB, 18)])
async def test_many_small_requests_make_few_objects(
    bucket: str, blobs: MovingFenced, other: MovingFenced, s3: S3Server, size: int, most: int
) -> None:
    body = random.Random(size).randbytes(20 * size)
    upload = await staged(blobs, b"")
    for begin in range(0, len(body), size):
        await append(blobs, upload, body[begin : begin + size])
        assert len(s3.keys(bucket)) <= most
    assert await read(other, upload) == body


async def test_bytes_that_have_gone_bad_are_not_released(
    bucket: str, blobs: MovingFenced, other: MovingFenced, s3: S3Server
) -> None:
    upload = await staged(blobs, BODY)
    key = next(key for key in s3.keys(bucket) if not key.endswith("/head"))
    body, noted = s3.content(bucket, key) or b"", s3.metadata(bucket, key)
    s3.client.put_object(Bucket=bucket, Key=key, Body=body[::-1], Metadata=noted)
    with pytest.raises(BlobUnavailable, match="other bytes"):
        await blobs.release(upload)
    s3.client.put_object(Bucket=bucket, Key=key, Body=body, Metadata=noted)
    await to_its_end(blobs, upload, BODY)
    assert await read(other, upload) == BODY


async def test_a_head_that_nobody_can_read_is_left_alone(bucket: str, blobs: MovingFenced, s3: S3Server) -> None:
    upload = await staged(blobs, BODY[:10])
    for head in (b"", b"{}", b'[2,"mark",[]]\n', b'[1,"mark",[["a",5,8],["b",5,8]]]\n'):
        s3.client.put_object(Bucket=bucket, Key=f"staging/{upload}/head", Body=head)
        with pytest.raises(BlobUnavailable, match="something else"):
            await blobs.length(upload)
        with pytest.raises(BlobUnavailable, match="something else"):
            await append(blobs, upload, b"more")
        assert s3.content(bucket, f"staging/{upload}/head") == head


async def test_no_more_than_four_segments_of_an_upload_are_on_their_way(
    blobs: MovingFenced, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = flying = 0
    send = sending.Sending._send

    async def watched(self: sending.Sending, segment: object, body: bytes) -> None:
        nonlocal most, flying
        flying += 1
        most = max(most, flying)
        try:
            await send(self, segment, body)  # type: ignore[arg-type]
        finally:
            flying -= 1

    monkeypatch.setattr(sending.Sending, "_send", watched)
    upload = await staged(blobs, b"")
    await append(blobs, upload, BODY + BODY)
    assert most == sending.AT_ONCE


async def test_many_slow_uploads_send_what_they_hold_before_it_is_too_much(
    blobs: MovingFenced, other: MovingFenced, monkeypatch: pytest.MonkeyPatch
) -> None:
    most_bytes, chunk = 120 * KIB, 10 * KIB
    monkeypatch.setattr(sending, "WAITING_BYTES", most_bytes)
    uploads = [await staged(blobs, b"") for _ in range(6)]
    together = asyncio.Barrier(6)
    staging = blobs._staging
    assert isinstance(staging, ObjectStaging)
    waiting = list[int]()

    async def slow(upload: str) -> None:
        async with blobs.append(upload, 0) as out:
            for begin in range(0, 100 * KIB, chunk):
                await out.write(BODY[begin : begin + chunk])
                await together.wait()
                waiting.append(staging.limits.waiting_bytes)

    await asyncio.gather(*map(slow, uploads))
    assert most_bytes // 2 < max(waiting) <= most_bytes + 6 * chunk
    assert staging.limits.waiting_bytes == 0
    for upload in uploads:
        assert await read(other, upload) == BODY[: 100 * KIB]


@pytest.mark.parametrize("trouble", [None, Trouble.ERROR, Trouble.LIE], ids=str)
async def test_what_is_one_object_is_copied_by_the_service(
    bucket: str, blobs: MovingFenced, proxy: UnrulyServer, s3: S3Server, trouble: Trouble | None
) -> None:
    """It need not be read here once more, only compared; where the service does not do it, the bytes are sent."""
    body = BODY[: SEGMENT - 1]
    upload = await staged(blobs, body)
    proxy.seen.clear()
    proxy.plans["PUT"] = [] if trouble is None else [trouble] * (4 if trouble is Trouble.ERROR else 1)
    await blobs.release(upload)
    segment = [line for line in proxy.seen if f"/{upload}/" in line and "/head" not in line]
    assert len(segment) == (1 if trouble is None else 2)
    assert {line.partition(" ")[0] for line in segment} == {"GET"}
    assert s3.content(bucket, upload) == body
    assert s3.metadata(bucket, upload)["sha256"] == hashlib.sha256(body).hexdigest()
    await blobs.unstage(upload)
    assert s3.keys(bucket) == [upload]


async def test_there_are_as_few_parts_as_the_length_needs(
    bucket: str, other: MovingFenced, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a limit of 2 parts: it is known when the one object is written; staging has no limit."""
    monkeypatch.setattr(place, "_PARTS", 2)
    body = random.Random(9).randbytes(17 * 1024 * KIB)
    upload = await staged(other, b"")
    async with other.append(upload, 0) as out:
        await out.write(body)
    await to_its_end(other, upload, body)
    assert s3.content(bucket, upload) == body
    assert s3.client.head_object(Bucket=bucket, Key=upload)["ETag"].strip('"').endswith("-2")


async def test_garbage_is_found_and_removed_as_it_was_found(
    bucket: str, blobs: MovingFenced, other: MovingFenced, s3: S3Server
) -> None:
    first, second, left = await staged(blobs, BODY), await staged(blobs, b"small"), new_upload_id()
    for key in (
        f"staging/{left}/0123456789abcdef-0",
        f"staging/penstock-check-{'0' * 16}",
        "staging/theirs",
        "their/own",
    ):
        s3.client.put_object(Bucket=bucket, Key=key, Body=b"left")
    found = {one.upload_id: one for batch in [batch async for batch in other.inventory()] for one in batch}
    assert {key: one.size_bytes for key, one in found.items()} == {first: len(BODY), second: 5, left: 4, "": 4}
    assert [found[key].stage for key in (first, left, "")] == [Stage.STAGED, Stage.STAGED, Stage.PROBE]
    await eventually(lambda: datetime.now(UTC) - found[second].changed_at > timedelta(seconds=1))  # S3 counts seconds
    await append(blobs, second, b" and more")
    assert [await other.remove_found(found[key]) for key in (first, second, left, "")] == [True, False, True, True]
    assert await blobs.staged() == [second]
    assert await read(blobs, second) == b"small and more"
    assert sorted(s3.keys(bucket)) == [f"staging/{second}/head", "staging/theirs", "their/own"]


async def test_a_store_without_conditions_is_used_by_one_at_a_time(
    bucket: str, blobs: MovingFenced, other: MovingFenced
) -> None:
    for one in (blobs, other):
        staging = one._staging
        assert isinstance(staging, ObjectStaging)
        assert staging.heads.fenced
        staging.heads.fenced = False
    upload = await staged(blobs, BODY[:10])
    await blobs.create(upload)
    with pytest.raises(OffsetConflict):  # noqa: PT012  it may come when the context ends
        async with blobs.append(upload, 10) as out:
            await out.write(b"late")
            await append(other, upload, BODY[10:])
    assert await read(other, upload) == BODY
