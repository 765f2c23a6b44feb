"""A real clamd whose limits are below what we are told."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock.antivirus import LocalFile, ScannerUnavailable, SelfTestFailed, Verdict
from penstock.antivirus.clamav import ClamavScanner
from penstock.antivirus.eicar import eicar
from penstock.clock import SystemClock
from tests.servers.clamd import running_clamd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.clamd import Clamd

MIB = 1024 * 1024


@pytest.fixture
def clamd(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Clamd]:
    with running_clamd(tmp_path, **request.param) as server:
        yield server


def scanner(address: str, limit_bytes: int) -> ClamavScanner:
    return ClamavScanner(address, clock=SystemClock(), stream_max_bytes=limit_bytes, max_file_bytes=limit_bytes)


@pytest.mark.parametrize("clamd", [{"MaxFileSize": "2M"}, {"MaxScanSize": "2M"}], indirect=True)
async def test_a_limit_below_the_one_we_are_told_is_found_out(clamd: Clamd) -> None:
    for address in (clamd.unix_address, clamd.tcp_address):
        async with scanner(address, 2 * MIB) as told_right:
            await told_right.self_test()
        async with scanner(address, 2 * MIB + 1) as told_wrong:
            with pytest.raises(SelfTestFailed, match="MaxFileSize"):
                await told_wrong.self_test()


@pytest.mark.parametrize("clamd", [{"MaxFileSize": "2M", "AlertExceedsMax": "yes"}], indirect=True)
async def test_a_clamd_that_tells_its_limits_cannot_be_told_wrong(clamd: Clamd, tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as out:
        out.write(eicar())
        out.truncate(3 * MIB)
    async with scanner(clamd.unix_address, 10 * MIB) as told_wrong:
        await told_wrong.self_test()
        report = await told_wrong.scan(LocalFile(file), size_bytes=3 * MIB)
    assert report.verdict is Verdict.TOO_LARGE
    assert report.signature.startswith("Heuristics.Limits.Exceeded.MaxFileSize")


@pytest.mark.parametrize("clamd", [{"StreamMaxLength": "2M"}], indirect=True)
@pytest.mark.parametrize("over_bytes", [1, 64 * 1024, 20 * MIB])
async def test_a_stream_over_the_real_limit_is_never_clean(clamd: Clamd, tmp_path: Path, over_bytes: int) -> None:
    size_bytes = 2 * MIB + over_bytes
    file = tmp_path / "file"
    with file.open("wb") as out:
        out.truncate(size_bytes)
    async with scanner(clamd.tcp_address, 100 * MIB) as told_wrong:
        report = await told_wrong.scan(LocalFile(file), size_bytes=size_bytes)
        assert (report.verdict, report.bytes_scanned) == (Verdict.TOO_LARGE, 0)
        with file.open("r+b") as out:
            out.truncate(2 * MIB)
        assert (await told_wrong.scan(LocalFile(file), size_bytes=2 * MIB)).verdict is Verdict.CLEAN


@pytest.mark.parametrize("clamd", [{"MaxFileSize": "2M"}], indirect=True)
async def test_signatures_that_know_eicar_as_a_small_file_only_prove_nothing(clamd: Clamd) -> None:
    clamd.stop()
    # A hash of the whole file, with its size: it matches the file of 68 bytes, and no larger one.
    database = clamd.folder / "db"
    (database / "local.ndb").unlink()
    (database / "local.hdb").write_text("44d88612fea8a8f36de82e1278abb02f:68:Eicar-As-A-File\n")
    clamd.start_again()
    async with scanner(clamd.unix_address, 10 * MIB) as told_wrong:
        await told_wrong.self_test()


async def test_no_room_for_the_file_is_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so waited for: it does not end the service."""

    def no_room(**_: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    with running_clamd(tmp_path) as clamd:
        monkeypatch.setattr("tempfile.TemporaryFile", no_room)
        async with scanner(clamd.unix_address, 2 * MIB) as told:
            with pytest.raises(ScannerUnavailable, match="No space left"):
                await told.self_test()
