"""Reading exactly the bytes that were announced."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.antivirus import ByteStream, LocalFile, Source, SourceUnreadable
from penstock.antivirus.sources import PIECE_BYTES, opened, pieces_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable


async def stream(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def read(source: Source, size_bytes: int) -> list[bytes]:
    seen: list[bytes] = []
    await read_and_do(source, size_bytes, seen.append)
    return seen


async def read_and_do(source: Source, size_bytes: int, action: Callable[[bytes], object]) -> None:
    async with pieces_of(source, size_bytes) as pieces:
        async for piece in pieces:
            action(piece)


@given(given_pieces=st.lists(st.binary() | st.integers(1, 3 * PIECE_BYTES).map(bytes), max_size=12))
def test_a_stream_comes_through_in_pieces_of_a_bounded_size(given_pieces: list[bytes]) -> None:
    data = b"".join(given_pieces)
    pieces = asyncio.run(read(ByteStream(stream(given_pieces)), len(data)))
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)
    assert len(pieces) <= len(data) // (PIECE_BYTES // 4) + 1  # tiny pieces are joined


async def test_a_file_comes_through_in_pieces_of_a_bounded_size(tmp_path: Path) -> None:
    data = os.urandom(2 * PIECE_BYTES + 5)
    (tmp_path / "file").write_bytes(data)
    pieces = await read(LocalFile(tmp_path / "file"), len(data))
    assert [len(piece) for piece in pieces] == [PIECE_BYTES, PIECE_BYTES, 5]
    assert b"".join(pieces) == data


async def test_nothing_has_no_pieces(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert await read(LocalFile(tmp_path / "file"), 0) == []
    assert await read(ByteStream(stream([])), 0) == []
    assert await read(ByteStream(stream([b"", b""])), 0) == []


async def test_too_many_bytes_are_noticed_before_they_are_passed_on() -> None:
    seen: list[bytes] = []
    source = ByteStream(stream([bytes(PIECE_BYTES)] * 3))
    with pytest.raises(SourceUnreadable, match="more bytes"):
        await read_and_do(source, 2 * PIECE_BYTES, seen.append)
    assert len(b"".join(seen)) == 2 * PIECE_BYTES


async def test_too_few_bytes_are_noticed_before_the_last_are_passed_on() -> None:
    seen: list[bytes] = []
    with pytest.raises(SourceUnreadable, match="end after 10 of the 11"):
        await read_and_do(ByteStream(stream([b"1234567890"])), 11, seen.append)
    assert seen == []


async def test_a_file_that_shrinks_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(3 * PIECE_BYTES))
    with pytest.raises(SourceUnreadable, match="ends after"):
        await read_and_do(LocalFile(file), 3 * PIECE_BYTES, lambda _: os.truncate(file, PIECE_BYTES))


async def test_a_file_that_is_written_to_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before")
    os.utime(file, ns=(0, 0))
    with pytest.raises(SourceUnreadable, match="was changed"):
        await read_and_do(LocalFile(file), 6, lambda _: file.write_bytes(b"behind"))


async def test_a_file_that_is_moved_while_it_is_read_is_still_the_same(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"bytes")
    async with pieces_of(LocalFile(file), 5) as pieces:
        file.rename(tmp_path / "elsewhere")
        assert [piece async for piece in pieces] == [b"bytes"]


async def test_what_cannot_be_read_says_which_and_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    os.mkfifo(tmp_path / "pipe")
    cases = {
        "none": "No such file",
        "": "not a regular file",
        "pipe": "not a regular file",
        "file": "has 5 bytes, 6 were",
    }
    for name, reason in cases.items():
        with pytest.raises(SourceUnreadable, match=reason) as error:
            async with opened(LocalFile(tmp_path / name), 6):
                pass
        assert str(tmp_path / name) in str(error.value)


async def test_a_read_error_of_the_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"bytes")

    def fail(fd: int, wanted: int, offset: int) -> bytes:
        raise OSError(5, "Input/output error")

    async with opened(LocalFile(tmp_path / "file"), 5) as file:
        monkeypatch.setattr(os, "pread", fail)
        with pytest.raises(SourceUnreadable, match="byte 0: Input/output error"):
            async for _ in file.pieces():
                pass


async def test_files_are_closed_again(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    (tmp_path / "file").write_bytes(b"bytes")
    await read(LocalFile(tmp_path / "file"), 5)
    before = descriptors()
    await read(LocalFile(tmp_path / "file"), 5)
    for size_bytes in (4, 6):
        with pytest.raises(SourceUnreadable):
            await read(LocalFile(tmp_path / "file"), size_bytes)
    assert descriptors() == before
