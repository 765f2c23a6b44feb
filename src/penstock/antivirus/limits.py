"""What counts: files above a limit, finds below a severity, what a scanner calls its own, how long a scan may take."""

from __future__ import annotations

from datetime import timedelta
from enum import IntEnum, StrEnum

import msgspec

from .base import Verdict


class Oversize(StrEnum):
    """What the operator wants for a file above the size that is to be scanned."""

    SKIP = "skip"
    """Let it pass without a scan, marked as not scanned."""
    PARTIAL = "partial"
    """Scan as much of its beginning as the limit allows, and mark it as scanned in part."""
    REJECT = "reject"
    """Do not let it pass."""


class Severity(IntEnum):
    """How bad it is when a rule matches, as its metadata say: `severity = "high"`."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @classmethod
    def of(cls, word: str) -> Severity:
        """Return what a rule says of itself. One that says nothing, or a word of its own, is taken seriously."""
        return cls.__members__.get(word.strip().upper(), cls.CRITICAL)


class ScanPlan(msgspec.Struct, frozen=True):
    """How much of a file is to be scanned, and whether what it is then may go on."""

    scan_bytes: int
    """How many bytes from the beginning to hand to the scanner; 0 for none."""
    complete: bool
    """Whether that is the whole file. If not, no verdict on it may be called clean without a mark."""
    rejected: bool = False
    """Whether the size alone decides that the file must not pass."""


def plan_scan(size_bytes: int, limit_bytes: int | None, oversize: Oversize) -> ScanPlan:
    """Decide what to scan of a file of `size_bytes` when files up to `limit_bytes` (None: all) are to be scanned."""
    if limit_bytes is None or size_bytes <= limit_bytes:
        return ScanPlan(scan_bytes=size_bytes, complete=True)
    if oversize is Oversize.PARTIAL:
        return ScanPlan(scan_bytes=limit_bytes, complete=False)
    return ScanPlan(scan_bytes=0, complete=False, rejected=oversize is Oversize.REJECT)


class TimeAllowance(msgspec.Struct, frozen=True):
    """How long a healthy scanner may take: a part for being busy, and a part that grows with the file.

    With the defaults 1 MB may take 60 s, 1 GB 110 s, 100 GB 84 minutes. clamd alone on a slow machine scans 70 MB/s;
    the rest is for others who use it at the same time, and for large signature databases.
    """

    base: timedelta = timedelta(seconds=60)
    bytes_per_second: int = 20_000_000

    def for_size(self, size_bytes: int) -> timedelta:
        """Return the time allowed for a file of `size_bytes`."""
        return self.base + timedelta(seconds=size_bytes / self.bytes_per_second)


_LIMITS = "Heuristics.Limits.Exceeded"
_TOO_LARGE = ("Heuristics.Limits.Exceeded.MaxFileSize", "Heuristics.Limits.Exceeded.MaxScanSize")
_NOT_LOOKED_INSIDE = (_LIMITS, "Heuristics.Encrypted", "Heuristics.Broken")


def verdict_of_signature(signature: str) -> Verdict:
    """Tell what ClamAV means by a name that it has "found".

    With `AlertExceedsMax`, `AlertEncrypted` and `AlertBroken…` in its configuration, clamd reports files that it
    could not look into as if they were infected. The names are those of ClamAV 1.4, and reach us through clamd and
    through ICAP servers in front of it.
    """
    if signature.startswith(_TOO_LARGE):
        return Verdict.TOO_LARGE
    if signature.startswith(_NOT_LOOKED_INSIDE):
        return Verdict.UNSCANNABLE
    return Verdict.INFECTED


def tells_limits(signature: str) -> bool:
    """Tell whether ClamAV says with a name that a file was over one of its limits, which it may keep to itself."""
    return signature.startswith(_LIMITS)
