"""What becomes of a file after its scan: each end has a name, and the operator says what follows from it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from ..events.types import Outcome
from .base import ScanReport, Verdict
from .limits import Oversize

if TYPE_CHECKING:
    from .limits import ScanPlan


class End(StrEnum):
    """How a scan ended, as it is told in events, logs and metrics."""

    CLEAN = "clean"
    """All bytes were looked at, and nothing was found."""
    INFECTED = "infected"
    """Something was found."""
    TOO_LARGE = "too-large"
    """The file, or a part of it, was not looked at because of its size."""
    UNSCANNABLE = "unscannable"
    """The scanner could not look inside: encrypted, damaged, nested too deeply."""


class Handling(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator wants. When the scanner cannot be asked at all, the step is tried again."""

    infected: Outcome = Outcome.DELETE
    too_large: Outcome = Outcome.ABORT
    """For files that are larger than the scanner itself looks at."""
    unscannable: Outcome = Outcome.ABORT
    limit_bytes: int | None = None
    """Files above are not to be scanned whole; None: all are."""
    oversize: Oversize = Oversize.PARTIAL
    """What happens to those above `limit_bytes`."""


class Decision(msgspec.Struct, frozen=True):
    """What follows from a scan, or from there being none."""

    outcome: Outcome
    end: End
    remark: str = ""
    """Why the file is not simply clean or infected, for people."""


def without_scan(plan: ScanPlan, handling: Handling) -> Decision | None:
    """Decide about a file by its size alone; None when it is to be scanned, wholly or in part."""
    if plan.complete or plan.scan_bytes:
        return None
    outcome = Outcome.ABORT if plan.rejected else Outcome.CONTINUE
    return Decision(outcome, End.TOO_LARGE, f"not scanned: larger than {handling.limit_bytes} bytes")


def decide(report: ScanReport, plan: ScanPlan, handling: Handling) -> Decision:
    """Decide about a file that was scanned. Only a clean verdict about every byte lets it pass without a mark."""
    match report.verdict:
        case Verdict.INFECTED:
            return Decision(handling.infected, End.INFECTED, report.detail)
        case Verdict.CLEAN if report.bytes_scanned != plan.scan_bytes:
            looked = f"not scanned: the scanner looked at {report.bytes_scanned} of {plan.scan_bytes} bytes"
            return Decision(handling.too_large, End.TOO_LARGE, looked)
        case Verdict.CLEAN if not plan.complete:
            return Decision(Outcome.CONTINUE, End.TOO_LARGE, f"scanned in part: the first {plan.scan_bytes} bytes")
        case Verdict.CLEAN:
            return Decision(Outcome.CONTINUE, End.CLEAN)
        case Verdict.TOO_LARGE:
            return Decision(handling.too_large, End.TOO_LARGE, _not_scanned(report))
        case Verdict.UNSCANNABLE:
            return Decision(handling.unscannable, End.UNSCANNABLE, _not_scanned(report))


def _not_scanned(report: ScanReport) -> str:
    reason = report.detail or report.verdict.replace("_", " ")
    return f"not scanned: {reason}{f' ({report.signature})' if report.signature else ''}"
