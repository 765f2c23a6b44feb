"""Uploads made of parts: what is left when somebody dies in the middle, and what they cost."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from penstock.blobs.base import BlobMissing, StorageFull
from penstock.blobs.local import LocalBlobs
from penstock.testing.faults import Faults, Killed, die, fail
from penstock.uploads.allowances import Allowance, Allowances
from penstock.uploads.errors import BadHeader, ChecksumMismatch, Gone, Locked, TooLarge, TooMany
from penstock.uploads.receiving.finals import NotAPart
from penstock.uploads.upload import Phase
from tests.unit.uploads.way_in import EXPIRATION, WayIn, body, way_in

HOUR = timedelta(hours=1)


async def part(parts: WayIn, content: bytes, *, sent: int | None = None) -> str:
    made = await parts.receiver.create(None, size_bytes=len(content), concat="partial")
    first = content if sent is None else content[:sent]
    if first:
        await parts.receiver.receive(made.upload.id, 0, body(first), length=len(first))
    return made.upload.id


def of(*ids: str) -> str:
    return "final;" + " ".join(f"/uploads/{one}" for one in ids)


async def only_final(parts: WayIn) -> str:
    (final,) = [one for one in (await parts.catalogue.list()).uploads if one.parts]
    return final.id


async def test_only_the_final_is_announced(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        ids = [await part(parts, b"one "), await part(parts, b"two")]
        assert parts.announced == []
        final = await parts.receiver.create("whole.txt", size_bytes=None, concat=of(*ids))
        assert (final.upload.phase, final.upload.size_bytes, final.offset) == (Phase.PROCESSING, 7, 7)
        assert await parts.content(final.upload.id) == b"one two"
        assert [event.upload_id for event in parts.announced] == [final.upload.id]


@pytest.mark.parametrize(
    "call", ["blobs.create", "catalogue.add", "blobs.concatenate", "blobs.seal", "catalogue.change"]
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_whoever_dies_leaves_a_final_that_goes_on_or_was_never_made(tmp_path: Path, call: str, when: str) -> None:
    faults = Faults()
    async with way_in(tmp_path, faults=faults) as parts:
        ids = [await part(parts, b"one "), await part(parts, b"two")]
        getattr(faults, when)(call, die())
        with pytest.raises(Killed):
            await parts.receiver.create("whole.txt", size_bytes=None, concat=of(*ids))
        assert faults.is_dead
    async with way_in(tmp_path) as parts:
        await parts.gateway.reconcile()
        await parts.gateway.catch_up()
        finals = [one for one in (await parts.catalogue.list()).uploads if one.parts]
        assert len(finals) == (call != "blobs.create" and (call, when) != ("catalogue.add", "before"))
        again = await parts.receiver.create("whole.txt", size_bytes=None, concat=of(*ids))
        assert [again.upload.id] == [one.id for one in finals] or not finals
        assert again.upload.phase is Phase.PROCESSING
        assert await parts.content(again.upload.id) == b"one two"


async def test_a_final_that_fails_for_now_is_as_if_never_made(tmp_path: Path) -> None:
    faults = Faults()
    async with way_in(tmp_path, faults=faults) as parts:
        ids = [await part(parts, b"one")]
        faults.before("blobs.concatenate", fail(StorageFull("full")), number=1)
        with pytest.raises(StorageFull):
            await parts.receiver.create(None, size_bytes=None, concat=of(*ids))
        failed = await only_final(parts)
        with pytest.raises(Gone):
            await parts.receiver.find(failed)
        again = await parts.receiver.create(None, size_bytes=None, concat=of(*ids))
        assert again.upload.id != failed
        assert await parts.content(again.upload.id) == b"one"


async def test_what_its_last_part_could_not_complete_the_next_sweep_does(tmp_path: Path) -> None:
    faults = Faults()
    async with way_in(tmp_path, faults=faults) as parts:
        late = await part(parts, b"late", sent=0)
        final = (await parts.receiver.create(None, size_bytes=None, concat=of(late))).upload
        assert (final.phase, final.size_bytes) == (Phase.RECEIVING, 4)
        faults.before("blobs.concatenate", fail(StorageFull("full")), number=1)
        await parts.receiver.receive(late, 0, body(b"late"), length=4)
        assert (await parts.receiver.find(final.id)).phase is Phase.RECEIVING
        sent = await parts.receiver.find(late)
        for dry_run in (True, False):
            assert not await parts.receiver.expire(sent, dry_run=dry_run), "nobody else has its bytes yet"
        await parts.gateway.catch_up()
        assert (await parts.receiver.find(final.id)).phase is Phase.PROCESSING
        assert await parts.content(final.id) == b"late"
        assert await parts.receiver.expire(sent)


async def test_who_asks_again_for_what_has_lost_a_part_is_told(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        ids = [await part(parts, b"one"), await part(parts, b"late", sent=0)]
        await parts.receiver.create("whole.txt", size_bytes=None, concat=of(*ids))
        assert await parts.receiver.expire(await parts.receiver.find(ids[0]))
        with pytest.raises(NotAPart, match=f"{ids[0]} is expired"):
            await parts.receiver.create("whole.txt", size_bytes=None, concat=of(*ids))


async def test_parts_go_when_their_time_is_over_and_finals_stay(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        used, unused = await part(parts, b"used"), await part(parts, b"unused")
        final = (await parts.receiver.create(None, size_bytes=None, concat=of(used))).upload.id
        await parts.clock.advance(EXPIRATION + HOUR)
        async for batch in parts.catalogue.overdue(parts.clock.now()):
            for one in batch:
                assert await parts.receiver.expire(one)
        for gone in (used, unused):
            with pytest.raises(Gone):
                await parts.receiver.find(gone)
            with pytest.raises(BlobMissing):
                await parts.blobs.length(gone)
        assert await parts.content(final) == b"used"


async def test_a_final_whose_parts_never_come_expires(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        final = (await parts.receiver.create(None, size_bytes=None, concat=of(await part(parts, b"x", sent=0)))).upload
        await parts.clock.advance(EXPIRATION + HOUR)
        assert await parts.receiver.expire(final)


async def test_a_final_whose_parts_are_there_is_completed_instead_of_expiring(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        late = await part(parts, b"late", sent=0)
        final = (await parts.receiver.create(None, size_bytes=None, concat=of(late))).upload
        async with parts.blobs.append(late, 0) as out:
            await out.write(b"late")
        assert not await parts.receiver.expire(final)
        assert (await parts.receiver.find(final.id)).phase is Phase.PROCESSING


async def test_limits_count_the_sum_and_the_room_for_it(tmp_path: Path) -> None:
    async with way_in(tmp_path, max_size_bytes=10) as parts:
        one = await part(parts, b"123456")
        with pytest.raises(TooLarge):
            await parts.receiver.create(None, size_bytes=None, concat=of(one, one))
    free = 1000

    class Small(LocalBlobs):
        async def free_bytes(self) -> int:
            return free

    async with way_in(tmp_path, Small(tmp_path / "blobs"), spare_bytes=0) as parts:
        one = await part(parts, bytes(600), sent=0)
        with pytest.raises(StorageFull):
            await parts.receiver.create(None, size_bytes=None, concat=of(one))
        assert [one.id for one in (await parts.catalogue.list()).uploads if one.parts] == []


async def test_a_final_is_one_of_those_that_are_begun_in_a_minute(tmp_path: Path) -> None:
    async with way_in(tmp_path, allowances=Allowances(each_user=Allowance(max_per_minute=2))) as parts:
        one = await part(parts, b"1")
        final = await parts.receiver.create("a", size_bytes=None, concat=of(one))
        with pytest.raises(TooMany):
            await parts.receiver.create("b", size_bytes=None, metadata="filename Yg==", concat=of(one))
        again = await parts.receiver.create("a", size_bytes=None, concat=of(one))  # its answer was lost
        assert again.upload.id == final.upload.id == await only_final(parts)


async def test_what_is_no_part_is_refused(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        whole = (await parts.receiver.create("a", size_bytes=1)).upload.id
        open_ended = (await parts.receiver.create(None, size_bytes=None, concat="partial")).upload.id
        ended = await part(parts, b"x")
        await parts.receiver.terminate(ended)
        for wrong in (whole, "0" * 32, open_ended, ended):
            with pytest.raises(NotAPart):
                await parts.receiver.create(None, size_bytes=None, concat=of(wrong))


async def test_the_parts_of_others_are_none_of_ones_own(tmp_path: Path) -> None:
    """Neither to make something of them, nor to be given what somebody has made of them."""
    async with way_in(tmp_path) as parts:
        made = await parts.receiver.create(None, size_bytes=3, concat="partial", owner="alice")
        await parts.receiver.receive(made.upload.id, 0, body(b"one"), length=3)
        for owner in ("bob", ""):
            with pytest.raises(NotAPart, match="there is no upload"):
                await parts.receiver.create(None, size_bytes=None, concat=of(made.upload.id), owner=owner)
        own = await parts.receiver.create(None, size_bytes=None, concat=of(made.upload.id), owner="alice")
        assert await parts.content(own.upload.id) == b"one"
        with pytest.raises(NotAPart, match="there is no upload"):
            await parts.receiver.create(None, size_bytes=None, concat=of(made.upload.id), owner="bob")


async def test_a_final_that_is_not_what_was_announced_ends(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        one = await part(parts, b"one")
        metadata = "checksum bWQ1IDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw"  # md5 000…
        with pytest.raises(ChecksumMismatch, match="its md5 is"):
            await parts.receiver.create(None, size_bytes=None, concat=of(one), metadata=metadata)
        ended = await parts.catalogue.get(await only_final(parts))
        assert ended is not None
        assert ended.phase is Phase.CANCELLED
        assert "as was announced" in ended.reason
        assert parts.announced == []
        with pytest.raises(BlobMissing):
            await parts.blobs.length(ended.id)


async def test_a_death_before_the_comparison_lets_nothing_through(tmp_path: Path) -> None:
    metadata = "checksum bWQ1IDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw"
    async with way_in(tmp_path) as parts:
        upload = (await parts.receiver.create("a", size_bytes=5, metadata=metadata)).upload.id
        async with parts.blobs.append(upload, 0) as out:
            await out.write(b"hello")
    async with way_in(tmp_path) as parts:
        await parts.gateway.reconcile()
        ended = await parts.catalogue.get(upload)
        assert ended is not None
        assert (ended.phase, parts.announced) == (Phase.CANCELLED, [])


async def test_a_size_that_is_declared_survives_and_does_not_change(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        upload = (await parts.receiver.create("a", size_bytes=None)).upload.id
        await parts.receiver.receive(upload, 0, body(b"hello"), length=5)
        await parts.receiver.receive(upload, 5, body(b"wo"), length=2, size_bytes=10)
    async with way_in(tmp_path) as parts:
        standing = await parts.receiver.status(upload)
        assert (standing.upload.size_bytes, standing.offset) == (10, 7)
        with pytest.raises(BadHeader):
            await parts.receiver.receive(upload, 7, body(b"rld!"), length=4, size_bytes=11)
        assert (await parts.receiver.receive(upload, 7, body(b"rld"), length=3)).complete


async def test_an_upload_without_a_size_is_continued_with_the_room_it_needs(tmp_path: Path) -> None:
    mib = 1024 * 1024

    class Small(LocalBlobs):
        async def free_bytes(self) -> int:
            return 40 * mib

    async with way_in(tmp_path, Small(tmp_path / "blobs"), spare_bytes=0) as parts:
        upload = (await parts.receiver.create("a", size_bytes=None)).upload.id
        for offset in range(0, 12, 4):
            await parts.receiver.receive(upload, offset * mib, body(*[bytes(mib)] * 4), length=4 * mib)
        with pytest.raises(StorageFull):
            await parts.receiver.receive(upload, 12 * mib, body(b""), length=0, size_bytes=60 * mib)
        assert (await parts.receiver.status(upload)).upload.size_bytes is None
        assert (await parts.receiver.receive(upload, 12 * mib, body(b""), length=0, size_bytes=12 * mib)).complete


async def test_a_repeat_that_finds_somebody_at_work_cancels_nothing(tmp_path: Path) -> None:
    faults = Faults()
    async with way_in(tmp_path, faults=faults) as parts:
        ids = [await part(parts, b"one")]
        faults.before("blobs.concatenate", fail(Locked("another instance puts it together")), number=1)
        with pytest.raises(Locked):
            await parts.receiver.create(None, size_bytes=None, concat=of(*ids))
        entered = await only_final(parts)
        assert (await parts.receiver.find(entered)).phase is Phase.RECEIVING
        faults.before("blobs.concatenate", fail(StorageFull("full")), number=1)
        with pytest.raises(StorageFull):
            await parts.receiver.create(None, size_bytes=None, concat=of(*ids))
        assert (await parts.receiver.find(entered)).phase is Phase.RECEIVING
        again = await parts.receiver.create(None, size_bytes=None, concat=of(*ids))
        assert (again.upload.id, again.upload.phase) == (entered, Phase.PROCESSING)


async def test_finals_are_asked_for_by_part(tmp_path: Path) -> None:
    """However many of others wait."""
    async with way_in(tmp_path) as parts:
        ids = [await part(parts, b"ab", sent=1) for _ in range(3)]
        finals = [
            (await parts.receiver.create("whole", size_bytes=None, concat=of(*named))).upload.id
            for named in (ids[:2], ids[1:], [ids[0], ids[0]])
        ]
        waiting = parts.catalogue.waiting_finals
        assert {final.id for final in await waiting()} == set(finals)
        assert [{final.id for final in await waiting(one)} for one in ids] == [
            {finals[0], finals[2]}, {finals[0], finals[1]}, {finals[1]}
        ]  # fmt: skip
        assert await waiting("0" * 32) == []
