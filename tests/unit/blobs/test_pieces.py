"""Fences in the folder: what counts after a writer was away for too long, whatever it does when it wakes up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import BlobUnavailable, OffsetConflict
from penstock.blobs.inventory import Stage
from penstock.blobs.local import LocalBlobs
from penstock.blobs.local.pieces import Pieces
from penstock.blobs.local.tree import Tree
from penstock.errors import PenstockError
from penstock.ids import new_upload_id
from penstock.testing.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    async with LocalBlobs(tmp_path, fenced=True) as opened:
        yield opened


async def ours(*arguments: object) -> None:
    del arguments


class Lost(PenstockError):
    code = "lost"


async def not_ours(*arguments: object) -> None:
    raise Lost("somebody else has it")


async def appended(blobs: LocalBlobs, upload: str, offset: int, data: bytes) -> None:
    async with blobs.append_confirmed(upload, offset, confirm=ours) as out:
        await out.write(data)


async def content(blobs: LocalBlobs, upload: str, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join([piece async for piece in blobs.read(upload, start=start, stop=stop)])


def files(folder: Path, upload: str) -> list[str]:
    return sorted(path.name for path in folder.rglob(f"{upload}*"))


async def test_what_a_writer_adds_behind_a_fence_does_not_count(blobs: LocalBlobs, tmp_path: Path) -> None:
    upload = new_upload_id()
    await blobs.create(upload)
    async with blobs.append_confirmed(upload, 0, confirm=ours) as sleeper:
        await sleeper.write(b"a" * 2_000_000)
        await sleeper.write(b"b")
        await eventually(lambda: sleeper.written_bytes >= 2_000_000)
        await blobs.fence(upload, None, None, ours)
        fenced = await blobs.length(upload)
        await appended(blobs, upload, fenced, b"new")
        await sleeper.write(b"late" * 1_000_000)
    assert await blobs.length(upload) == fenced + 3
    assert await content(blobs, upload, fenced - 1) == b"anew"
    assert await content(blobs, upload, fenced - 2, fenced + 1) == b"aan"
    assert await content(blobs, upload, fenced - 2, fenced) == b"aa"
    assert await blobs.seal(upload) == fenced + 3
    assert blobs.path(upload).read_bytes() == b"a" * fenced + b"new"
    await blobs.release(upload)
    assert files(tmp_path, upload) == [upload]
    assert blobs.path(upload).parent.parent.name == "released"
    assert await content(blobs, upload) == b"a" * fenced + b"new"


async def test_who_finds_the_upload_taken_leaves_the_file_as_it_is(blobs: LocalBlobs) -> None:
    upload = new_upload_id()
    await blobs.create(upload)
    await appended(blobs, upload, 0, b"abc")
    with pytest.raises(Lost):
        async with blobs.append_confirmed(upload, 3, confirm=not_ours):
            pass
    with pytest.raises(Lost):
        await blobs.fence(upload, None, None, not_ours)
    assert await blobs.length(upload) == 3


async def test_the_second_of_two_who_make_the_same_fence_is_refused(blobs: LocalBlobs, tmp_path: Path) -> None:
    upload = new_upload_id()
    await blobs.create(upload)
    await appended(blobs, upload, 0, b"abc")
    late, early = (Pieces(Tree(tmp_path), upload) for _ in range(2))
    assert early.fence(early.new()._replace(begin=3))
    await appended(blobs, upload, 3, b"def")
    assert not late.fence(late.new()._replace(begin=1))
    assert await content(blobs, upload) == b"abcdef"

    async def faster() -> None:
        await blobs.fence(upload, None, None, ours)

    with pytest.raises(BlobUnavailable):
        await blobs.fence(upload, None, None, faster)


@pytest.mark.parametrize(("kept", "stands"), [(None, 5), (2, 2), (9, 5)])
async def test_of_what_another_machine_wrote_only_what_is_known_to_be_on_disk_counts(
    blobs: LocalBlobs, kept: int | None, stands: int
) -> None:
    upload = new_upload_id()
    await blobs.create(upload)
    await appended(blobs, upload, 0, b"abcde")
    await blobs.fence(upload, kept, None, ours)
    assert await blobs.length(upload) == stands
    with pytest.raises(OffsetConflict):
        await appended(blobs, upload, stands + 1, b"x")
    await appended(blobs, upload, stands, b"XY")
    await blobs.fence(upload, None, None, ours)
    await appended(blobs, upload, stands + 2, b"Z")
    assert await blobs.flushed(upload) == stands + 3
    assert await content(blobs, upload) == b"abcde"[:stands] + b"XYZ"
    assert await blobs.seal(upload) == stands + 3
    assert await blobs.seal(upload) == stands + 3


async def test_there_is_nothing_to_fence_where_all_is_there(blobs: LocalBlobs, tmp_path: Path) -> None:
    upload = new_upload_id()
    await blobs.create(upload)
    await appended(blobs, upload, 0, b"abc")
    await blobs.fence(upload, None, 3, ours)
    assert files(tmp_path, upload) == [upload]


async def test_tentative_bytes_of_a_dead_writer_do_not_count(blobs: LocalBlobs) -> None:
    upload = new_upload_id()
    await blobs.create(upload)
    await appended(blobs, upload, 0, b"abc")
    async with blobs.append_confirmed(upload, 3, tentative=True, confirm=ours) as sleeper:
        await sleeper.write(b"x" * 2_000_000)
        await sleeper.write(b"x" * 2_000_000)
        await blobs.fence(upload, None, None, ours)
        assert await blobs.length(upload) == 3
        await appended(blobs, upload, 3, b"def")
    assert await content(blobs, upload) == b"abcdef"
    assert await blobs.seal(upload) == 6


async def test_who_has_lost_an_upload_cuts_nothing_off(blobs: LocalBlobs) -> None:
    upload = new_upload_id()
    await blobs.create(upload)
    lost = False

    async def confirm(offset: int) -> None:
        del offset
        if lost:
            raise Lost("somebody else has it")

    async with blobs.append_confirmed(upload, 0, confirm=confirm) as sleeper:
        await sleeper.write(b"a" * 2_000_000)
        await sleeper.write(b"b")
        await blobs.fence(upload, None, None, ours)
        lost, fenced = True, await blobs.length(upload)
        await sleeper.rollback()
    await appended(blobs, upload, fenced, b"c")
    assert await blobs.seal(upload) == fenced + 1


async def test_bytes_that_are_gone_are_noticed_when_all_is_put_together(blobs: LocalBlobs, tmp_path: Path) -> None:
    upload = new_upload_id()
    await blobs.create(upload)
    await appended(blobs, upload, 0, b"abc")
    await blobs.fence(upload, None, None, ours)
    await appended(blobs, upload, 3, b"def")
    os.truncate(Tree(tmp_path).staged(upload), 1)
    with pytest.raises(BlobUnavailable, match="are gone"):
        await blobs.seal(upload)
    with pytest.raises(BlobUnavailable, match="are gone"):
        await content(blobs, upload)


async def test_parts_with_fences_are_put_together_and_a_discarded_upload_leaves_nothing(
    blobs: LocalBlobs, tmp_path: Path
) -> None:
    part, final = new_upload_id(), new_upload_id()
    for upload in (part, final):
        await blobs.create(upload)
    await appended(blobs, part, 0, b"abc")
    await blobs.fence(part, None, None, ours)
    await appended(blobs, part, 3, b"def")
    assert await blobs.concatenate(final, [part, part]) == 12
    assert await blobs.concatenate(final, [part]) == 6
    assert await blobs.seal(final) == 6
    assert await content(blobs, final) == b"abcdef"
    for upload in (part, final):
        await blobs.discard(upload)
        assert files(tmp_path, upload) == []


async def test_a_release_that_died_half_way_is_ended_by_the_next(blobs: LocalBlobs, tmp_path: Path) -> None:
    upload = new_upload_id()
    await blobs.create(upload)
    await appended(blobs, upload, 0, b"abc")
    await blobs.fence(upload, None, None, ours)
    await appended(blobs, upload, 3, b"def")
    await blobs.seal(upload)
    tree = Tree(tmp_path)
    os.rename(blobs.path(upload), tree.released(upload))
    await blobs.release(upload)
    assert files(tmp_path, upload) == [upload]
    assert await content(blobs, upload) == b"abcdef"


async def test_a_fence_that_says_nothing_stops_everything_but_a_removal(blobs: LocalBlobs, tmp_path: Path) -> None:
    upload = new_upload_id()
    await blobs.create(upload)
    await appended(blobs, upload, 0, b"abc")
    blobs.path(upload).with_name(f"{upload}.1").write_bytes(b"")
    with pytest.raises(BlobUnavailable, match=r"does not say where"):
        await blobs.length(upload)
    assert [one.stage async for batch in blobs.inventory() for one in batch] == [Stage.PIECES]
    await blobs.discard(upload)
    assert files(tmp_path, upload) == []
