"""Virus scanners, behind one port. They say what they found; what follows from it is up to `steps/virusscan`."""

from __future__ import annotations

from .base import (
    ByteStream,
    LocalFile,
    Scanner,
    ScannerProtocolError,
    ScannerUnavailable,
    ScannerVersion,
    ScanReport,
    ScanTimeout,
    SelfTestFailed,
    Source,
    SourceUnreadable,
    Verdict,
)

__all__ = [
    "ByteStream",
    "LocalFile",
    "ScanReport",
    "ScanTimeout",
    "Scanner",
    "ScannerProtocolError",
    "ScannerUnavailable",
    "ScannerVersion",
    "SelfTestFailed",
    "Source",
    "SourceUnreadable",
    "Verdict",
]
