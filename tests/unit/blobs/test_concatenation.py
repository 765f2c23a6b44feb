"""Files put together: without the kernel's help, on a full disk, and when the process dies in the middle."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import BlobUnavailable, StorageFull
from penstock.blobs.local import LocalBlobs
from penstock.blobs.local.concatenation import Concatenation
from penstock.blobs.local.pieces import Piece
from penstock.blobs.local.tree import Tree
from tests.unit.blobs.local import full_beyond, staged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MIB = 1024 * 1024
LIMIT = 3 * MIB
BODY = os.urandom(2 * MIB + 5)


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    async with LocalBlobs(tmp_path / "blobs") as store:
        yield store


@pytest.fixture
def small_disk() -> Iterator[None]:
    with full_beyond(LIMIT):
        yield


@pytest.mark.parametrize("reason", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
async def test_what_the_kernel_does_not_copy_is_copied_all_the_same(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def refused(*arguments: object) -> int:
        raise OSError(reason, os.strerror(reason))

    part, whole = await staged(blobs, BODY), await staged(blobs)
    monkeypatch.setattr(os, "copy_file_range", refused)
    assert await blobs.concatenate(whole, [part, part]) == 2 * len(BODY)
    assert blobs.path(whole).read_bytes() == BODY * 2


async def test_a_disk_that_fails_leaves_nothing_that_counts(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    part, whole = await staged(blobs, BODY), await staged(blobs, b"before")
    monkeypatch.setattr(os, "copy_file_range", broken)
    with pytest.raises(BlobUnavailable):
        await blobs.concatenate(whole, [part])
    assert await blobs.length(whole) == 0


@pytest.mark.usefixtures("small_disk")
async def test_a_full_disk_leaves_nothing_that_counts(blobs: LocalBlobs) -> None:
    part, whole = await staged(blobs, BODY), await staged(blobs)
    with pytest.raises(StorageFull):
        await blobs.concatenate(whole, [part, part])
    assert await blobs.length(whole) == 0
    assert blobs.path(whole).stat().st_size == 0
    assert await blobs.concatenate(whole, [part]) == len(BODY)


@pytest.mark.parametrize("deaths", [1, 2])
async def test_a_death_in_the_middle_leaves_an_empty_file(tmp_path: Path, blobs: LocalBlobs, deaths: int) -> None:
    part, whole = await staged(blobs, BODY), await staged(blobs, b"before")
    tree = Tree(tmp_path / "blobs")
    for _ in range(deaths):
        dying = Concatenation(
            tree,
            whole,
            [part, part],
            lambda upload: os.open(tree.staged(upload), os.O_RDONLY),
            lambda upload: Piece(tree.staged(upload)),
        )
        dying.begin()
        dying.advance()
        assert blobs.path(whole).stat().st_size > 0
        # And here the process dies: `finish` is never called.
        assert await blobs.length(whole) == 0
    assert await blobs.concatenate(whole, [part]) == len(BODY)
    assert blobs.path(whole).read_bytes() == BODY


async def test_tentative_bytes_of_a_source_do_not_count(tmp_path: Path, blobs: LocalBlobs) -> None:
    part, whole = await staged(blobs, b"part"), await staged(blobs)
    tentative = await blobs.append(part, 4, tentative=True).__aenter__()
    await tentative.write(bytes(3 * MIB))
    assert await blobs.concatenate(whole, [part]) == 4
