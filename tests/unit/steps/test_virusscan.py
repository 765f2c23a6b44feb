"""The step `virusscan`: what its answer says."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

import pytest

from penstock.antivirus import LocalFile, Scanner, ScannerUnavailable, ScannerVersion, ScanReport, Source, Verdict
from penstock.antivirus.handling import Handling
from penstock.antivirus.limits import Oversize
from penstock.errors import Unavailable
from penstock.events.types import Outcome, ScanDetails, VirusscanResult
from penstock.steps.kit import StepResult, StepUpload
from penstock.steps.virusscan import Virusscan
from penstock.testing import ManualClock

if TYPE_CHECKING:
    from pathlib import Path

FOUND = {"verdict": Verdict.INFECTED, "signature": "Worm", "detail": "b found Trojan"}
ENCRYPTED = {"verdict": Verdict.UNSCANNABLE, "signature": "Heuristics.Encrypted.Zip", "bytes_scanned": 0}
TOO_LARGE = {"verdict": Verdict.TOO_LARGE, "detail": "over 5 bytes", "bytes_scanned": 0}


class Scripted(Scanner):
    name = "scripted"

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self.answer = answer
        self.seen: list[bytes] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(source, LocalFile):
            self.seen.append(source.path.read_bytes())
        else:
            self.seen.append(b"".join([piece async for piece in source.pieces]))
        common = {
            "scanner": "scripted",
            "engine_version": "engine 1",
            "database_version": "signatures 2",
            "bytes_scanned": size_bytes,
            "duration": timedelta(milliseconds=1500),
        }
        return ScanReport(**{**common, **self.answer})

    async def version(self) -> ScannerVersion:
        return ScannerVersion(engine="engine 1")

    async def self_test(self) -> None:
        if isinstance(self.answer, Exception):
            raise self.answer


async def scanned(tmp_path: Path, answer: dict[str, Any] | Exception, **handling: Any) -> tuple[StepResult, Scripted]:
    scanner = Scripted(answer)
    step = Virusscan(scanner, clock=ManualClock(), workers=1, handling=Handling(**handling))
    (tmp_path / "file").write_bytes(b"0123456789")
    return await step.scan(StepUpload.from_file(tmp_path / "file")), scanner


def result_of(answer: StepResult) -> tuple[VirusscanResult, ScanDetails]:
    assert isinstance(answer.result, VirusscanResult)
    assert isinstance(answer.result.scan, ScanDetails)
    return answer.result, answer.result.scan


async def test_who_looked_and_how_far(tmp_path: Path) -> None:
    answer, _ = await scanned(tmp_path, {"verdict": Verdict.CLEAN, "noted": ("Macro (low)",)})
    result, scan = result_of(answer)
    assert (answer.outcome, result.infected, result.error_message) == (Outcome.CONTINUE, False, "")
    assert scan == ScanDetails(
        end="clean",
        scanner="scripted",
        engine_version="engine 1",
        database_version="signatures 2",
        bytes_scanned=10,
        duration_ns=1_500_000_000,
        noted=("Macro (low)",),
    )


@pytest.mark.parametrize("outcome", [Outcome.DELETE, Outcome.ABORT, Outcome.CONTINUE])
async def test_each_end_does_what_is_wanted(tmp_path: Path, outcome: Outcome) -> None:
    answer, _ = await scanned(tmp_path, FOUND, infected=outcome)
    result, scan = result_of(answer)
    assert (answer.outcome, result.infected, result.description, result.error_message) == (outcome, True, "Worm", "")
    assert (scan.end, scan.remark) == ("infected", "b found Trojan")
    answer, _ = await scanned(tmp_path, ENCRYPTED, unscannable=outcome)
    result, scan = result_of(answer)
    assert (answer.outcome, result.infected, result.description, scan.end) == (outcome, False, "", "unscannable")
    assert result.error_message == "not scanned: unscannable (Heuristics.Encrypted.Zip)"
    answer, _ = await scanned(tmp_path, TOO_LARGE, too_large=outcome)
    result, scan = result_of(answer)
    assert (answer.outcome, result.error_message) == (outcome, "not scanned: over 5 bytes")
    assert (scan.end, scan.bytes_scanned) == ("too-large", 0)


@pytest.mark.parametrize(
    ("mode", "outcome", "seen", "remark"),
    [
        (Oversize.SKIP, Outcome.CONTINUE, [], "not scanned: larger than 4 bytes"),
        (Oversize.REJECT, Outcome.ABORT, [], "not scanned: larger than 4 bytes"),
        (Oversize.PARTIAL, Outcome.CONTINUE, [b"0123"], "scanned in part: the first 4 bytes"),
    ],
)
async def test_over_the_limit(tmp_path: Path, mode: Oversize, outcome: Outcome, seen: list[bytes], remark: str) -> None:
    answer, scanner = await scanned(tmp_path, {"verdict": Verdict.CLEAN}, limit_bytes=4, oversize=mode)
    result, scan = result_of(answer)
    assert (answer.outcome, scanner.seen, result.error_message) == (outcome, seen, remark)
    assert (scan.end, scan.bytes_scanned) == ("too-large", 4 if seen else 0)


async def test_a_scanner_that_cannot_be_asked_is_no_end(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="away"):
        await scanned(tmp_path, ScannerUnavailable("away"), infected=Outcome.CONTINUE, too_large=Outcome.CONTINUE)


async def test_so_many_remarks_are_told(tmp_path: Path) -> None:
    noted = tuple(f"Rule{number} (low)" for number in range(5000))
    answer, _ = await scanned(tmp_path, {"verdict": Verdict.CLEAN, "noted": noted})
    assert len(result_of(answer)[1].noted) == 100


async def test_a_self_test_that_fails_in_a_way_nobody_expected_lets_nothing_pass(tmp_path: Path) -> None:
    scanner = Scripted({"verdict": Verdict.CLEAN})
    step = Virusscan(scanner, clock=ManualClock(), workers=1, handling=Handling())
    (tmp_path / "file").write_bytes(b"x")
    await step.check()
    scanner.answer = RuntimeError("a mistake")
    await step.check()
    assert "a mistake" in step.problem
    with pytest.raises(Unavailable, match="a mistake"):
        await step.scan(StepUpload.from_file(tmp_path / "file"))
    scanner.answer = {"verdict": Verdict.CLEAN}
    await step.scan(StepUpload.from_file(tmp_path / "file"))
    assert not step.problem
