"""What follows from each end of a scan."""

from __future__ import annotations

import pytest

from penstock.antivirus import ScanReport, Verdict
from penstock.antivirus.handling import Decision, End, Handling, decide, without_scan
from penstock.antivirus.limits import Oversize, ScanPlan, plan_scan
from penstock.events.types import Outcome

WHOLE = ScanPlan(10, complete=True)
CHOICES = [Outcome.ABORT, Outcome.DELETE, Outcome.CONTINUE]


def report(verdict: Verdict, *, size: int = 10, signature: str = "", detail: str = "") -> ScanReport:
    return ScanReport(verdict=verdict, scanner="s", bytes_scanned=size, signature=signature, detail=detail)


def test_only_a_clean_verdict_about_every_byte_passes_without_a_remark() -> None:
    assert decide(report(Verdict.CLEAN), WHOLE, Handling()) == Decision(Outcome.CONTINUE, End.CLEAN)


@pytest.mark.parametrize("outcome", CHOICES)
def test_each_end_has_a_handling_of_its_own(outcome: Outcome) -> None:
    infected = decide(report(Verdict.INFECTED, signature="Worm"), WHOLE, Handling(infected=outcome))
    assert (infected.outcome, infected.end) == (outcome, End.INFECTED)
    large = decide(report(Verdict.TOO_LARGE, size=0, detail="over 1 MiB"), WHOLE, Handling(too_large=outcome))
    assert large == Decision(outcome, End.TOO_LARGE, "not scanned: over 1 MiB")
    encrypted = report(Verdict.UNSCANNABLE, size=0, signature="Heuristics.Encrypted.Zip")
    decision = decide(encrypted, WHOLE, Handling(unscannable=outcome))
    assert decision == Decision(outcome, End.UNSCANNABLE, "not scanned: unscannable (Heuristics.Encrypted.Zip)")


@pytest.mark.parametrize("verdict", [Verdict.TOO_LARGE, Verdict.UNSCANNABLE])
def test_who_says_nothing_lets_nothing_pass_unscanned(verdict: Verdict) -> None:
    assert decide(report(verdict, size=0), WHOLE, Handling()).outcome is Outcome.ABORT


@pytest.mark.parametrize("looked", [0, 9, 11])
def test_clean_about_other_bytes_is_not_clean(looked: int) -> None:
    decision = decide(report(Verdict.CLEAN, size=looked), WHOLE, Handling())
    assert (decision.outcome, decision.end) == (Outcome.ABORT, End.TOO_LARGE)
    assert decision.remark == f"not scanned: the scanner looked at {looked} of 10 bytes"


def test_files_over_the_limit() -> None:
    skip = Handling(limit_bytes=5, oversize=Oversize.SKIP)
    reject = Handling(limit_bytes=5, oversize=Oversize.REJECT)
    partial = Handling(limit_bytes=5, oversize=Oversize.PARTIAL)
    plans = {one.oversize: plan_scan(10, 5, one.oversize) for one in (skip, reject, partial)}
    remark = "not scanned: larger than 5 bytes"
    assert without_scan(plans[Oversize.SKIP], skip) == Decision(Outcome.CONTINUE, End.TOO_LARGE, remark)
    assert without_scan(plans[Oversize.REJECT], reject) == Decision(Outcome.ABORT, End.TOO_LARGE, remark)
    assert without_scan(plans[Oversize.PARTIAL], partial) is None
    part = decide(report(Verdict.CLEAN, size=5), plans[Oversize.PARTIAL], partial)
    assert part == Decision(Outcome.CONTINUE, End.TOO_LARGE, "scanned in part: the first 5 bytes")
    found = decide(report(Verdict.INFECTED, size=5), plans[Oversize.PARTIAL], partial)
    assert (found.outcome, found.end) == (Outcome.DELETE, End.INFECTED)


def test_an_empty_file_and_one_at_the_limit_are_scanned() -> None:
    for size in (0, 5):
        assert without_scan(plan_scan(size, 5, Oversize.REJECT), Handling(limit_bytes=5)) is None
