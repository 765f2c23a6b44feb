"""What only a local store does: real full disks, modes, paths, and a disk that loses what it was given."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penstock.blobs.base import BlobMissing, BlobUnavailable, StorageFull
from penstock.blobs.local import LocalBlobs, writeback
from penstock.errors import ConfigurationError
from penstock.ids import new_upload_id
from tests.unit.blobs.local import full_beyond, staged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MIB = 1024 * 1024
LIMIT = 5 * MIB + 1000


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    async with LocalBlobs(tmp_path / "blobs") as store:
        yield store


@pytest.fixture
def small_disk() -> Iterator[None]:
    with full_beyond(LIMIT):
        yield


async def fill(blobs: LocalBlobs, upload: str, size: int, *, seal: bool = False, tentative: bool = False) -> None:
    async with blobs.append(upload, await blobs.length(upload), tentative=tentative) as out:
        for _ in range(size // MIB):
            await out.write(bytes(MIB))
        await out.write(bytes(size % MIB))
        if seal:
            await out.seal()


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("size", [LIMIT + 1, 9 * MIB], ids=["in the last batch", "in the middle"])
@pytest.mark.parametrize("seal", [False, True])
async def test_a_full_disk_keeps_what_fits(blobs: LocalBlobs, size: int, seal: bool) -> None:
    upload = await staged(blobs)
    with pytest.raises(StorageFull, match=r"File too large.*make room"):
        await fill(blobs, upload, size, seal=seal)
    assert await blobs.length(upload) == blobs.path(upload).stat().st_size == LIMIT


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("size", [LIMIT + 1, 9 * MIB])
async def test_a_full_disk_keeps_nothing_tentative(blobs: LocalBlobs, size: int) -> None:
    upload = await staged(blobs, b"bytes")
    with pytest.raises(StorageFull):
        await fill(blobs, upload, size, tentative=True)
    assert await blobs.length(upload) == blobs.path(upload).stat().st_size == 5
    await fill(blobs, upload, 10)
    assert await blobs.length(upload) == 15


async def test_a_disk_that_fails_to_flush_makes_the_upload_start_again(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await staged(blobs, b"bytes")

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(BlobUnavailable, match="send them again from the start"):
            await blobs.seal(upload)
    # The kernel reports the loss once. A second, successful fsync must not vouch for bytes that are not there.
    assert await blobs.seal(upload) == 0


async def test_other_failures_of_the_disk_are_said_and_change_nothing(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await staged(blobs, b"bytes")

    def broken(*arguments: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", broken)
        with pytest.raises(BlobUnavailable, match=upload):
            await fill(blobs, upload, 3 * MIB)
    assert await blobs.length(upload) == 5


async def test_bytes_and_folder_are_flushed_before_seal_returns(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await staged(blobs)
    flushed = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    await fill(blobs, upload, 3 * MIB, seal=True)
    path = blobs.path(upload)
    assert flushed == [str(path), str(path.parent)]

    flushed.clear()
    await blobs.release(upload)
    assert flushed == [str(blobs.path(upload).parent), str(path.parent)]


async def test_bytes_are_written_off_the_event_loop(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = await staged(blobs)
    threads = set()
    for name in ("open", "pwritev", "fsync", "close"):
        real = getattr(os, name)

        def watched(*arguments: object, real: object = real) -> object:
            threads.add(threading.current_thread())
            return real(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(os, name, watched)
    await fill(blobs, upload, 3 * MIB, seal=True)
    assert threads
    assert threading.main_thread() not in threads


async def test_small_bodies_cost_one_hop(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = await staged(blobs)
    hops = 0
    real = blobs._run

    def counted(*arguments: Any) -> Any:
        nonlocal hops
        hops += 1
        return real(*arguments)

    monkeypatch.setattr(blobs, "_run", counted)
    async with blobs.append(upload, 0) as out:
        for _ in range(10):
            await out.write(bytes(1024))
        await out.seal()
    assert hops == 1


async def test_a_small_file_is_written_flushed_and_released_in_one_hop(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await staged(blobs)
    calls: list[str] = []
    for name in ("pwritev", "fsync", "rename"):
        real = getattr(os, name)

        def watched(*arguments: Any, name: str = name, real: Any = real) -> Any:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, watched)
    run, hops = blobs._run, 0

    def counted(*arguments: Any) -> Any:
        nonlocal hops
        hops += 1
        return run(*arguments)

    monkeypatch.setattr(blobs, "_run", counted)
    async with blobs.append(upload, 0) as out:
        await out.write(b"bytes")
        assert await out.seal_and_release()
    assert calls == ["pwritev", "fsync", "rename", "fsync", "fsync"]  # first the file; then both folders
    assert hops == 1
    assert await blobs.staged() == []
    assert blobs.path(upload).parent.parent.name == "released"
    assert blobs.path(upload).read_bytes() == b"bytes"
    assert await blobs.seal(upload) == 5


async def test_a_mark_is_gone_for_good_before_its_file_is_moved(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await staged(blobs)
    calls: list[str] = []
    with monkeypatch.context() as patch:
        for name in ("unlink", "fsync", "rename"):
            real = getattr(os, name)

            def watched(*arguments: Any, name: str = name, real: Any = real, **named: Any) -> Any:
                calls.append(name)
                return real(*arguments, **named)

            patch.setattr(os, name, watched)
        async with blobs.append(upload, 0, tentative=True) as out:
            for _ in range(5):
                await out.write(bytes(1024 * 1024))
            assert await out.seal_and_release()
    assert calls == ["fsync", "unlink", "fsync", "rename", "fsync", "fsync"]
    assert await blobs.length(upload) == 5 * 1024 * 1024


async def test_a_file_behind_fences_is_not_released_with_its_last_byte(tmp_path: Path) -> None:
    async def confirm(offset: int) -> None:
        pass

    async with LocalBlobs(tmp_path / "shared", fenced=True) as blobs:
        upload = new_upload_id()
        await blobs.create(upload)
        async with blobs.append_confirmed(upload, 0, confirm=confirm) as out:
            await out.write(b"bytes")
            assert not await out.seal_and_release()
        assert await blobs.staged() == [upload]
        assert await blobs.length(upload) == 5


async def test_a_slow_disk_slows_the_sender_down(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = await staged(blobs)
    disk_is_free = threading.Event()
    real = os.pwritev

    def slow(*arguments: object) -> int:
        assert disk_is_free.wait(60)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "pwritev", slow)
    async with blobs.append(upload, 0) as out:
        await out.write(bytes(MIB))
        second = asyncio.create_task(out.write(bytes(MIB)))
        done, _ = await asyncio.wait([second], timeout=0.1)
        assert not done
        disk_is_free.set()
        await second
    assert await blobs.length(upload) == 2 * MIB


async def test_large_files_are_written_out_early(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(writeback, "_sync_file_range", lambda _, start, size, __: asked.append((start, size)))
    upload = await staged(blobs)
    await fill(blobs, upload, 2 * writeback.WINDOW_BYTES + MIB)
    assert asked == [(0, writeback.WINDOW_BYTES), (writeback.WINDOW_BYTES, writeback.WINDOW_BYTES)]


async def test_tiny_chunks_are_not_hoarded(blobs: LocalBlobs) -> None:
    upload = await staged(blobs)
    async with blobs.append(upload, 0) as out:
        for _ in range(2000):
            await out.write(b"x")
        assert blobs.path(upload).stat().st_size >= 1024


async def test_the_file_of_a_blob_is_where_path_says(blobs: LocalBlobs, tmp_path: Path) -> None:
    upload = await staged(blobs, b"bytes")
    assert blobs.path(upload) == tmp_path / "blobs" / "staged" / upload[:2] / upload
    await blobs.release(upload)
    assert blobs.path(upload) == tmp_path / "blobs" / "released" / upload[:2] / upload
    await blobs.discard(upload)
    with pytest.raises(BlobMissing):
        blobs.path(upload)


async def test_others_on_the_machine_cannot_read_what_is_held_back(blobs: LocalBlobs) -> None:
    upload = await staged(blobs, b"bytes")
    path = blobs.path(upload)
    for one in (path, path.parent, path.parent.parent):
        assert not stat.S_IMODE(one.stat().st_mode) & stat.S_IRWXO


async def test_links_are_not_followed(blobs: LocalBlobs, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"")
    upload = await staged(blobs)
    path = blobs.path(upload)
    path.unlink()
    path.symlink_to(outside)
    with pytest.raises(BlobUnavailable):
        await fill(blobs, upload, 10)
    with pytest.raises(BlobUnavailable):
        await anext(aiter(blobs.read(upload)))
    assert outside.read_bytes() == b""


async def test_a_reader_keeps_its_file_and_closes_it(blobs: LocalBlobs) -> None:
    upload = await staged(blobs, bytes(MIB))
    before = len(os.listdir("/proc/self/fd"))
    reading = blobs.read(upload)
    size = len(await anext(reading))
    await blobs.discard(upload)
    size += sum([len(piece) async for piece in reading])
    assert size == MIB

    other = await staged(blobs, bytes(MIB))
    reading = blobs.read(other)
    await anext(reading)
    await reading.aclose()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_half_written_mark_means_that_nothing_was_tentative(blobs: LocalBlobs) -> None:
    upload = await staged(blobs, b"bytes")
    mark = blobs.path(upload).with_name(f"{upload}.tentative")
    mark.write_bytes(b"")
    assert await blobs.length(upload) == 5
    await fill(blobs, upload, 1)
    assert await blobs.length(upload) == 6
    assert not mark.exists()


async def test_nothing_but_blobs_is_listed(blobs: LocalBlobs, tmp_path: Path) -> None:
    upload = await staged(blobs)
    (blobs.path(upload).parent / "README").write_text("not a blob")
    assert await blobs.staged() == [upload]


async def test_a_folder_that_cannot_be_used_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"file.*choose another folder"):
        await LocalBlobs(tmp_path / "file").__aenter__()


async def test_folders_on_two_file_systems_are_refused_where_files_are_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(*paths: str) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), *paths)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(ConfigurationError, match="two file systems"):
        await LocalBlobs(tmp_path).__aenter__()
    async with LocalBlobs(tmp_path, releases=False):
        pass
    assert not [name for _, _, names in os.walk(tmp_path) for name in names]


async def test_free_room_is_what_the_file_system_says(blobs: LocalBlobs, tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    assert abs(await blobs.free_bytes() - found.f_bavail * found.f_frsize) < 1 << 30


async def test_a_folder_that_has_gone_is_unavailable_and_may_come_back(blobs: LocalBlobs, tmp_path: Path) -> None:
    upload = await staged(blobs)
    root = blobs.path(upload).parents[2]
    root.rename(tmp_path / "elsewhere")
    for look in (blobs.staged, blobs.free_bytes):
        with pytest.raises(BlobUnavailable, match="cannot be looked at"):
            await look()
    (tmp_path / "elsewhere").rename(root)
    assert await blobs.staged() == [upload]
