"""Which files clamd may be told to open, and the proof that it sees the same ones."""

from __future__ import annotations

import fcntl
import stat
from pathlib import Path

import pytest

from penstock.antivirus import LocalFile
from penstock.antivirus.clamav.local import path_for_clamd, probes_in
from penstock.antivirus.eicar import eicar
from penstock.antivirus.sources import opened


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    (tmp_path / "shared" / "below").mkdir(parents=True)
    return tmp_path / "shared"


def in_shared(shared: Path) -> Path:
    return shared.resolve() / "below" / "file"


async def path_of(path: Path, folder: Path) -> Path | None:
    async with opened(LocalFile(path), 1) as file:
        return path_for_clamd(file, folder)


async def test_a_file_in_the_folder_or_below_is_named_without_links(shared: Path, tmp_path: Path) -> None:
    (shared / "below" / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(shared)
    expected = in_shared(shared)
    assert await path_of(shared / "below" / "file", shared) == expected
    assert await path_of(tmp_path / "link" / "below" / "file", shared) == expected
    assert await path_of(shared / "below" / "file", tmp_path / "link") == expected
    with expected.open("rb") as file:
        assert await path_of(Path(f"/proc/self/fd/{file.fileno()}"), shared) == expected


async def test_files_elsewhere_are_not_named(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (shared / "link").symlink_to(tmp_path / "file")
    assert await path_of(tmp_path / "file", shared) is None
    assert await path_of(shared / "link", shared) is None
    assert await path_of(shared / ".." / "file", shared) is None


async def test_a_name_that_has_gone_to_another_file_is_not_used(shared: Path) -> None:
    path = shared / "file"
    path.write_bytes(b"x")
    async with opened(LocalFile(path), 1) as file:
        assert path_for_clamd(file, shared) is not None
        path.rename(shared / "old")
        assert path_for_clamd(file, shared) is None
        path.write_bytes(b"y")
        assert path_for_clamd(file, shared) is None


def test_probes_can_be_read_by_all_and_are_gone_afterwards(shared: Path) -> None:
    with probes_in(shared) as (bad, good):
        assert bad.read_bytes() == eicar()
        assert good.read_bytes() != eicar()
        assert all(stat.S_IMODE(probe.stat().st_mode) == 0o644 for probe in (bad, good))
    assert [path.name for path in shared.iterdir()] == ["below"]


def test_what_a_killed_one_left_is_removed_and_what_others_use_is_not(shared: Path) -> None:
    left, used = shared / ".penstock-self-test-left", shared / ".penstock-self-test-used"
    left.write_bytes(b"x")
    with used.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with probes_in(shared):
            assert not left.exists()
            assert used.exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"), probes_in(tmp_path / "none"):
        pass
