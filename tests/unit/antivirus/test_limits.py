"""What is scanned, what is a limit, and how long it may take."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.antivirus import Verdict
from penstock.antivirus.limits import Oversize, ScanPlan, TimeAllowance, plan_scan, verdict_of_signature

SIZES = st.integers(min_value=0, max_value=2**50)


@pytest.mark.parametrize(
    ("size_bytes", "limit_bytes", "oversize", "plan"),
    [
        (10, None, Oversize.REJECT, ScanPlan(scan_bytes=10, complete=True)),
        (10, 10, Oversize.REJECT, ScanPlan(scan_bytes=10, complete=True)),
        (0, 10, Oversize.SKIP, ScanPlan(scan_bytes=0, complete=True)),
        (11, 10, Oversize.SKIP, ScanPlan(scan_bytes=0, complete=False)),
        (11, 10, Oversize.PARTIAL, ScanPlan(scan_bytes=10, complete=False)),
        (11, 10, Oversize.REJECT, ScanPlan(scan_bytes=0, complete=False, rejected=True)),
    ],
)
def test_plans(size_bytes: int, limit_bytes: int | None, oversize: Oversize, plan: ScanPlan) -> None:
    assert plan_scan(size_bytes, limit_bytes, oversize) == plan


@given(size_bytes=SIZES, limit_bytes=SIZES | st.none(), oversize=st.sampled_from(Oversize))
def test_a_plan_is_complete_only_if_all_is_scanned(
    size_bytes: int, limit_bytes: int | None, oversize: Oversize
) -> None:
    plan = plan_scan(size_bytes, limit_bytes, oversize)
    assert plan.complete == (plan.scan_bytes == size_bytes)
    assert limit_bytes is None or plan.scan_bytes <= limit_bytes
    assert not (plan.complete and plan.rejected)


@pytest.mark.parametrize(
    ("signature", "verdict"),
    [
        ("Heuristics.Limits.Exceeded.MaxFileSize", Verdict.TOO_LARGE),
        ("Heuristics.Limits.Exceeded.MaxScanSize", Verdict.TOO_LARGE),
        ("Heuristics.Limits.Exceeded.MaxRecursion", Verdict.UNSCANNABLE),
        ("Heuristics.Limits.Exceeded.MaxFiles", Verdict.UNSCANNABLE),
        ("Heuristics.Limits.Exceeded.MaxScanTime", Verdict.UNSCANNABLE),
        ("Heuristics.Limits.Exceeded", Verdict.UNSCANNABLE),
        ("Heuristics.Encrypted.Zip", Verdict.UNSCANNABLE),
        ("Heuristics.Encrypted.PDF", Verdict.UNSCANNABLE),
        ("Heuristics.Broken.Executable", Verdict.UNSCANNABLE),
        ("Heuristics.Phishing.Email.SpoofedDomain", Verdict.INFECTED),
        ("Heuristics.OLE2.ContainsMacros", Verdict.INFECTED),
        ("Win.Test.EICAR_HDB-1", Verdict.INFECTED),
        ("Not.Heuristics.Limits.Exceeded", Verdict.INFECTED),
    ],
)
def test_what_clamav_means_by_a_name(signature: str, verdict: Verdict) -> None:
    assert verdict_of_signature(signature) is verdict


@given(signature=st.text())
def test_no_name_is_clean(signature: str) -> None:
    assert verdict_of_signature(signature) is not Verdict.CLEAN


def test_the_time_grows_with_the_size() -> None:
    assert TimeAllowance().for_size(0) == timedelta(seconds=60)
    assert TimeAllowance().for_size(10**9) == timedelta(seconds=110)
    assert TimeAllowance(base=timedelta(), bytes_per_second=1).for_size(7) == timedelta(seconds=7)
