"""Streams on disk."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from penstock.antivirus import ByteStream, ScannerUnavailable, SourceUnreadable
from penstock.antivirus.spool import spooled
from penstock.testing import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MIB = 1024 * 1024


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


async def spool(data: bytes, size_bytes: int, folder: Path | None) -> None:
    async with spooled(ByteStream(pieces(data)), size_bytes, folder):
        pass


async def test_the_bytes_are_there_and_without_a_name(tmp_path: Path) -> None:
    data = os.urandom(3 * MIB + 1)
    async with spooled(ByteStream(pieces(data)), len(data), tmp_path) as file:
        assert os.pread(file.fd, len(data) + 1, 0) == data
        assert os.listdir(tmp_path) == []
        assert os.readlink(f"/proc/self/fd/{file.fd}").startswith(str(tmp_path))
        await file.verify_unchanged()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file.fd)


async def test_the_system_chooses_where() -> None:
    async with spooled(ByteStream(pieces(b"bytes")), 5, None) as file:
        assert os.readlink(f"/proc/self/fd/{file.fd}").startswith(tempfile.gettempdir())


@pytest.mark.parametrize("size_bytes", [4, 6])
async def test_another_number_of_bytes_is_an_error(tmp_path: Path, size_bytes: int) -> None:
    with pytest.raises(SourceUnreadable):
        await spool(b"bytes", size_bytes, tmp_path)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScannerUnavailable, match=f"{tmp_path}/none: No such file"):
        await spool(b"bytes", 5, tmp_path / "none")


async def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> IO[bytes]:
        return open("/dev/full", "r+b", buffering=0)  # the code under test closes it

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(ScannerUnavailable, match=f"{tmp_path}: No space left on device"):
        await spool(b"bytes", 5, tmp_path)


async def test_a_file_is_not_closed_while_a_thread_writes_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is opened next might get the same number, and the rest of the bytes."""
    begun, go_on, written = threading.Event(), threading.Event(), list[int]()
    make = tempfile.TemporaryFile

    class Slow:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._file: Any = make(*arguments, **options)
            self.fileno, self.close = self._file.fileno, self._file.close

        def write(self, piece: bytes) -> int:
            begun.set()
            go_on.wait(60)
            written.append(self._file.write(piece))
            return written[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", Slow)
    spooling = asyncio.ensure_future(spool(b"bytes", 5, tmp_path))
    await eventually(begun.is_set)
    spooling.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await spooling
    assert written == [5]
