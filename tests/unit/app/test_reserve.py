"""Room that is kept for tidying up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.app import reserve
from penstock.app.reserve import Reserve

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 64 * 1024


async def test_it_is_there_unless_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, free_bytes = Reserve(tmp_path, SIZE), 10 * SIZE
    monkeypatch.setattr(reserve, "_free_bytes", lambda _: free_bytes)
    kept.keep()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= SIZE
    async with kept.lent():
        assert (tmp_path / "reserve").exists()
    free_bytes = SIZE - 1
    async with kept.lent():
        assert not (tmp_path / "reserve").exists()
    assert not (tmp_path / "reserve").exists(), "it would fill the disk again"
    free_bytes = 4 * SIZE
    async with kept.lent():
        pass
    assert (tmp_path / "reserve").exists()


def test_a_folder_that_cannot_be_written_is_no_trouble(tmp_path: Path) -> None:
    Reserve(tmp_path / "missing", SIZE).keep()
    Reserve(tmp_path / "missing", SIZE).give_way()
