from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.delivery.base import BytesUnavailable
from penstock.delivery.folders import OwnFolder
from penstock.testing import eventually


async def pieces(*given: bytes) -> AsyncGenerator[bytes, None]:
    for piece in given:
        yield piece


def writing(monkeypatch: pytest.MonkeyPatch, how: Callable[[Callable[[int, Any], int], int, Any], int]) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, piece: how(write, descriptor, piece))


async def test_bytes_are_kept_while_they_are_needed(tmp_path: Path) -> None:
    async with OwnFolder(tmp_path) as folder:
        async with folder.file_of(pieces(b"abc", b"", b"def")) as one, folder.file_of(pieces()) as other:
            assert (one.read_bytes(), other.read_bytes()) == (b"abcdef", b"")
            assert one.stat().st_mode & 0o777 == 0o600
        assert list(folder.path.iterdir()) == []


async def test_a_system_that_writes_less_than_it_was_given_is_given_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing(monkeypatch, lambda write, descriptor, piece: write(descriptor, piece[:3]))
    async with OwnFolder(tmp_path) as folder, folder.file_of(pieces(b"0123456789")) as path:
        assert path.read_bytes() == b"0123456789"


async def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(write: Callable[[int, Any], int], descriptor: int, piece: Any) -> int:
        if os.fstat(descriptor).st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, piece)

    writing(monkeypatch, fill)
    async with OwnFolder(tmp_path) as folder:
        with pytest.raises(BytesUnavailable, match=r"cannot be kept in .*: No space left") as raised:
            async with folder.file_of(pieces(b"a", b"b")):
                pytest.fail("bytes were handed out")
        assert list(folder.path.iterdir()) == []
    assert str(tmp_path) not in raised.value.told


async def test_a_folder_that_somebody_has_removed_is_said(tmp_path: Path) -> None:
    async with OwnFolder(tmp_path) as folder:
        shutil.rmtree(folder.path)
        with pytest.raises(BytesUnavailable, match=r"cannot be kept in .*: No such file"):
            await folder.file_of(pieces(b"a")).__aenter__()


async def test_a_file_is_not_closed_while_a_thread_writes_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is opened next might get the same number, and the rest of the bytes."""
    begun, go_on, written = threading.Event(), threading.Event(), list[int]()

    def wait(write: Callable[[int, Any], int], descriptor: int, piece: Any) -> int:
        begun.set()
        go_on.wait(60)
        written.append(write(descriptor, piece))
        return written[-1]

    writing(monkeypatch, wait)
    async with OwnFolder(tmp_path) as folder:
        keeping = asyncio.ensure_future(folder.file_of(pieces(b"abc")).__aenter__())
        await eventually(begun.is_set)
        keeping.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await keeping
        assert written == [3]
        assert list(folder.path.iterdir()) == []
