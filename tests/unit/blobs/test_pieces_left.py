"""What deaths leave of files with fences: it never counts again, and what looks for garbage finds all of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from obstore.store import MemoryStore

from penstock.blobs.inventory import Stage
from penstock.blobs.local import LocalBlobs, pieces, tree
from penstock.blobs.local.pieces import Pieces
from penstock.blobs.local.tree import Tree
from penstock.blobs.moving import MovingFiles
from penstock.blobs.objects.place import ObjectPlace
from penstock.ids import new_upload_id

from .test_pieces import appended, content, files, ours

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.blobs.base import BlobStore
    from penstock.blobs.inventory import Found, SupportsInventory

DEATHS = range(5)
"""How many files were removed before it: there are two fences, two pieces behind them, and the first file."""


class Death(BaseException):
    pass


def dies_after(removals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have whoever removes files die after so many of them; there is nothing to be handled then."""
    really, done = tree.remove, 0

    def remove(path: str) -> None:
        nonlocal done
        if os.path.exists(path):
            if done == removals:
                raise Death
            done += 1
        really(path)

    monkeypatch.setattr(pieces, "remove", remove)


async def in_pieces(blobs: LocalBlobs | MovingFiles) -> str:
    """Stage an upload that was taken over once, and put together."""
    upload = new_upload_id()
    await blobs.create(upload)
    async with blobs.append_confirmed(upload, 0, confirm=ours) as out:
        await out.write(b"abc")
    await blobs.fence(upload, None, None, ours)
    async with blobs.append_confirmed(upload, 3, confirm=ours) as out:
        await out.write(b"def")
    await blobs.seal(upload)
    return upload


async def found_of(blobs: SupportsInventory, upload: str) -> list[Found]:
    return [one async for batch in blobs.inventory() for one in batch if one.upload_id == upload]


async def read(blobs: BlobStore, upload: str) -> bytes:
    return b"".join([piece async for piece in blobs.read(upload)])


@pytest.mark.parametrize("deed", ["unstage", "put_right"])
@pytest.mark.parametrize("removals", DEATHS)
async def test_death_while_staged_files_are_removed_costs_no_released_one(
    tmp_path: Path, removals: int, deed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    final = ObjectPlace(store, store, name="a bucket", prefix="")
    async with MovingFiles(LocalBlobs(tmp_path, fenced=True), final) as blobs:
        upload = await in_pieces(blobs)
        await blobs.release(upload)
        with monkeypatch.context() as patch:
            dies_after(removals, patch)
            with pytest.raises(Death):
                await (blobs.unstage(upload) if deed == "unstage" else blobs.put_right(upload, 6))
        for _ in range(2):
            await blobs.put_right(upload, 6)  # what every sweep does
        assert b"".join([piece async for piece in final.read(upload)]) == b"abcdef"
        for left in await found_of(blobs, upload):
            assert left.stage in (Stage.PIECES, Stage.RELEASED)
            if left.stage is Stage.PIECES:
                assert await blobs.remove_found(left)
        assert files(tmp_path, upload) == []
        assert await read(blobs, upload) == b"abcdef"


@pytest.mark.parametrize("removals", DEATHS[:-1])
async def test_a_release_that_dies_while_it_tidies_up_is_whole(
    tmp_path: Path, removals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LocalBlobs(tmp_path, fenced=True) as blobs:
        upload = await in_pieces(blobs)
        with monkeypatch.context() as patch:
            dies_after(removals, patch)
            with pytest.raises(Death):
                await blobs.release(upload)
        assert await blobs.length(upload) == 6
        assert await read(blobs, upload) == b"abcdef"
        await blobs.release(upload)
        for left in await found_of(blobs, upload):
            assert left.stage is Stage.RELEASED or await blobs.remove_found(left)
        assert files(tmp_path, upload) == [upload]
        assert await read(blobs, upload) == b"abcdef"


async def test_what_somebody_left_who_was_about_to_take_over_goes_with_the_upload(tmp_path: Path) -> None:
    async with LocalBlobs(tmp_path, fenced=True) as blobs:
        upload = new_upload_id()
        await blobs.create(upload)
        await appended(blobs, upload, 0, b"abc")
        draft = Pieces(Tree(tmp_path), upload).new()
        (tmp_path / "staged" / upload[:2] / f"{os.path.basename(draft.path)}.fence").write_bytes(b"3 ")
        assert await content(blobs, upload) == b"abc"
        (found,) = await found_of(blobs, upload)
        assert (found.stage, found.size_bytes) == (Stage.STAGED, 3)
        await blobs.seal(upload)
        await blobs.release(upload)
        assert files(tmp_path, upload) == [upload]


async def test_an_upload_in_pieces_is_found_as_one_and_removed_as_it_was_found(tmp_path: Path) -> None:
    async with LocalBlobs(tmp_path, fenced=True) as blobs:
        upload, other = await in_pieces(blobs), await in_pieces(blobs)
        (found,) = await found_of(blobs, upload)
        assert (found.stage, found.size_bytes) == (Stage.STAGED, 6)
        newest = Pieces(Tree(tmp_path), upload).last.path
        assert abs(found.changed_at.timestamp() - os.stat(newest).st_mtime) < 1
        os.utime(newest)
        assert not await blobs.remove_found(found)
        assert await read(blobs, upload) == b"abcdef"
        (found,) = await found_of(blobs, upload)
        assert await blobs.remove_found(found)
        assert not await blobs.remove_found(found)
        assert files(tmp_path, upload) == []
        assert await read(blobs, other) == b"abcdef"


async def test_a_folder_that_cannot_be_looked_into_holds_up_no_other(tmp_path: Path) -> None:
    async with LocalBlobs(tmp_path) as blobs:
        upload = "ff" + new_upload_id()[2:]
        await blobs.create(upload)
        (tmp_path / "staged" / "00").rmdir()
        found, failure = [], ""
        try:
            async for batch in blobs.inventory():
                found += [one.upload_id for one in batch]
        except Exception as error:  # noqa: BLE001  what it is, is said next
            failure = type(error).__name__
        assert (found, failure) == ([upload], "BlobUnavailable")
