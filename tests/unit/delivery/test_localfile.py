from __future__ import annotations

from pathlib import Path

import pytest

from penstock.delivery.base import BytesUnavailable
from penstock.delivery.localfile import PIECE_BYTES, LocalBytes


async def read(delivered: LocalBytes, *, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join([piece async for piece in delivered.stream(start=start, stop=stop)])


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 3), (2, 5), (4, None), (0, 99), (10, None), (3, 3), (5, 2)])
async def test_a_range_is_what_slicing_would_give(tmp_path: Path, start: int, stop: int | None) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    assert await read(LocalBytes(file, 10), start=start, stop=stop) == b"0123456789"[start:stop]


async def test_a_large_file_comes_in_bounded_pieces(tmp_path: Path) -> None:
    file = tmp_path / "file"
    content = bytes(range(256)) * (PIECE_BYTES // 256) * 2 + b"rest"
    file.write_bytes(content)
    pieces = [piece async for piece in LocalBytes(file, len(content)).stream()]
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert b"".join(pieces) == content


async def test_a_file_that_became_shorter_is_an_error_and_not_a_shorter_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"01234")
    with pytest.raises(BytesUnavailable, match="ends after 5 of 10 bytes"):
        await read(LocalBytes(file, 10))


async def test_a_file_that_grew_is_read_as_far_as_announced(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    assert await read(LocalBytes(file, 5)) == b"01234"


async def test_a_file_that_is_away_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BytesUnavailable, match="cannot be opened"):
        await read(LocalBytes(tmp_path / "away", 1))


def open_files() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


async def test_leaving_the_stream_early_closes_the_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * (PIECE_BYTES + 1))
    before = open_files()
    stream = LocalBytes(file, PIECE_BYTES + 1).stream()
    assert len(await anext(stream)) == PIECE_BYTES
    await stream.aclose()
    assert open_files() <= before
