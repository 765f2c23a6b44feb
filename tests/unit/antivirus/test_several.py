"""What becomes of a file that several scanners look at."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from penstock.antivirus import (
    ByteStream,
    LocalFile,
    Scanner,
    ScannerUnavailable,
    ScannerVersion,
    ScanReport,
    ScanTimeout,
    SelfTestFailed,
    Source,
    SourceUnreadable,
    Verdict,
)
from penstock.antivirus.several import Agreement, SeveralScanners, combine
from penstock.clock import SystemClock
from penstock.errors import ConfigurationError
from penstock.testing import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BOTH = list(Agreement)


def said(scanner: str, verdict: Verdict, *, signature: str = "", detail: str = "", size: int = 7) -> ScanReport:
    return ScanReport(
        verdict=verdict,
        scanner=scanner,
        signature=signature,
        detail=detail,
        engine_version=f"{scanner} 1",
        database_version=f"{scanner} signatures",
        bytes_scanned=size,
    )


CLEAN_A = said("a", Verdict.CLEAN)
CLEAN_B = said("b", Verdict.CLEAN)
FOUND_A = said("a", Verdict.INFECTED, signature="Worm")
FOUND_B = said("b", Verdict.INFECTED, signature="Trojan")
LARGE = said("a", Verdict.TOO_LARGE, detail="larger than 25 MiB", size=0)
ENCRYPTED = said("b", Verdict.UNSCANNABLE, signature="Heuristics.Encrypted.Zip", size=0)


@pytest.mark.parametrize("agreement", BOTH)
def test_clean_is_what_all_call_clean(agreement: Agreement) -> None:
    report = combine([CLEAN_A, CLEAN_B], agreement)
    assert (report.verdict, report.scanner, report.signature, report.detail) == (Verdict.CLEAN, "a+b", "", "")
    assert (report.engine_version, report.database_version) == ("a 1; b 1", "a signatures; b signatures")
    assert report.bytes_scanned == 7


@pytest.mark.parametrize("agreement", BOTH)
@pytest.mark.parametrize("other", [CLEAN_A, LARGE, ScannerUnavailable("away")], ids=["clean", "large", "away"])
def test_one_find_is_enough_whatever_the_others_say(agreement: Agreement, other: ScanReport | Exception) -> None:
    report = combine([other, FOUND_B], agreement)
    assert (report.verdict, report.scanner, report.signature) == (Verdict.INFECTED, "b", "Trojan")
    assert (report.engine_version, report.database_version) == ("b 1", "b signatures")


def test_the_report_names_everybody_who_found_something() -> None:
    report = combine([FOUND_A, FOUND_B], Agreement.ALL)
    assert (report.scanner, report.signature, report.detail) == ("a", "Worm", "b found Trojan")


@pytest.mark.parametrize("agreement", BOTH)
def test_one_that_fails_leaves_no_verdict(agreement: Agreement) -> None:
    for failed in (ScannerUnavailable("away"), ScanTimeout("slow"), SourceUnreadable("gone"), RuntimeError("a bug")):
        for reports in ([CLEAN_A, failed], [failed, CLEAN_B], [LARGE, failed]):
            with pytest.raises(type(failed), match=str(failed)):
                combine(reports, agreement)


@pytest.mark.parametrize("reports", [[LARGE, CLEAN_B], [CLEAN_A, ENCRYPTED]], ids=["large", "encrypted"])
def test_one_that_cannot_look_is_made_up_for_only_where_any_will_do(reports: list[ScanReport]) -> None:
    strict, lenient = combine(reports, Agreement.ALL), combine(reports, Agreement.ANY)
    assert strict.verdict in {Verdict.TOO_LARGE, Verdict.UNSCANNABLE}
    assert lenient.verdict is Verdict.CLEAN
    assert lenient.bytes_scanned == 7
    assert lenient.scanner in {"a", "b"}
    assert "says too large (larger than 25 MiB)" in lenient.detail or "Heuristics.Encrypted.Zip" in lenient.detail


@pytest.mark.parametrize("agreement", BOTH)
def test_nobody_who_looked_is_never_clean(agreement: Agreement) -> None:
    report = combine([LARGE, ENCRYPTED], agreement)
    assert report.verdict is Verdict.TOO_LARGE
    assert report.detail == "larger than 25 MiB; b says unscannable (Heuristics.Encrypted.Zip)"


class Scripted(Scanner):
    """Says what it is told to, reads its source, and can be held up."""

    def __init__(self, name: str, answer: ScanReport | Exception) -> None:
        self.name = name
        self.answer = answer
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.seen = b""
        self.is_open = False
        self.cancelled = False
        self.fit = True

    async def __aenter__(self) -> Self:
        if isinstance(self.answer, ConfigurationError):
            raise self.answer
        self.is_open = True
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.is_open = False

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        assert isinstance(source, LocalFile)
        self.seen = source.path.read_bytes()
        assert len(self.seen) == size_bytes
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def version(self) -> ScannerVersion:
        if isinstance(self.answer, Exception):
            raise self.answer
        return ScannerVersion(engine=f"{self.name} 1", database="")

    async def self_test(self) -> None:
        if not self.fit:
            raise SelfTestFailed(f"{self.name} is blind")


def several(*scanners: Scanner, agreement: Agreement = Agreement.ALL) -> SeveralScanners:
    return SeveralScanners(scanners, agreement=agreement, clock=SystemClock())


async def stream(data: bytes) -> AsyncIterator[bytes]:
    for byte in data:
        yield bytes([byte])


async def test_all_see_the_same_bytes_of_a_stream() -> None:
    a, b = Scripted("a", CLEAN_A), Scripted("b", CLEAN_B)
    async with several(a, b) as scanner:
        report = await scanner.scan(ByteStream(stream(b"0123456")), size_bytes=7)
    assert (a.seen, b.seen) == (b"0123456", b"0123456")
    assert (report.verdict, scanner.name) == (Verdict.CLEAN, "a+b")


async def test_a_stream_that_ends_early_is_shown_to_nobody() -> None:
    a, b = Scripted("a", CLEAN_A), Scripted("b", CLEAN_B)
    async with several(a, b) as scanner:
        with pytest.raises(SourceUnreadable):
            await scanner.scan(ByteStream(stream(b"012345")), size_bytes=7)
    assert (a.seen, b.seen) == (b"", b"")


async def test_with_any_the_first_find_ends_the_other_scans(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456")
    slow, quick = Scripted("a", CLEAN_A), Scripted("b", FOUND_B)
    slow.go_on.clear()
    async with several(slow, quick, agreement=Agreement.ANY) as scanner:
        report = await asyncio.wait_for(scanner.scan(LocalFile(tmp_path / "file"), size_bytes=7), 60)
    assert (report.verdict, report.scanner) == (Verdict.INFECTED, "b")
    assert slow.cancelled


async def test_with_all_a_find_waits_for_the_others(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456")
    slow, quick = Scripted("a", FOUND_A), Scripted("b", FOUND_B)
    slow.go_on.clear()
    async with several(slow, quick) as scanner:
        scanning = asyncio.create_task(scanner.scan(LocalFile(tmp_path / "file"), size_bytes=7))
        done, _ = await asyncio.wait({scanning}, timeout=0.05)
        assert not done
        slow.go_on.set()
        assert (await asyncio.wait_for(scanning, 60)).detail == "b found Trojan"


async def test_a_scan_that_is_cancelled_ends_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456")
    a, b = Scripted("a", CLEAN_A), Scripted("b", CLEAN_B)
    a.go_on.clear()
    b.go_on.clear()
    async with several(a, b) as scanner:
        scanning = asyncio.create_task(scanner.scan(LocalFile(tmp_path / "file"), size_bytes=7))
        await eventually(lambda: bool(a.seen and b.seen))
        scanning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scanning
    assert (a.cancelled, b.cancelled) == (True, True)


async def test_one_that_is_blind_fails_the_test_of_all() -> None:
    a, b = Scripted("a", CLEAN_A), Scripted("b", CLEAN_B)
    async with several(a, b) as scanner:
        await scanner.self_test()
        b.fit = False
        with pytest.raises(SelfTestFailed, match="b is blind"):
            await scanner.self_test()


async def test_versions_are_those_of_all_and_need_all() -> None:
    async with several(Scripted("a", CLEAN_A), Scripted("b", CLEAN_B)) as scanner:
        assert (await scanner.version()).engine == "a 1; b 1"
    async with several(Scripted("a", CLEAN_A), Scripted("b", ScannerUnavailable("away"))) as scanner:
        with pytest.raises(ScannerUnavailable):
            await scanner.version()


async def test_none_stays_open_when_one_cannot_be_opened() -> None:
    a, b = Scripted("a", CLEAN_A), Scripted("b", ConfigurationError("wrong"))
    with pytest.raises(ConfigurationError):
        await several(a, b).__aenter__()
    assert not a.is_open


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b", "a"]])
def test_fewer_than_two_are_not_several(names: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="each once"):
        several(*(Scripted(name, CLEAN_A) for name in names))
