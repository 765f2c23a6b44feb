"""A scanner that costs nothing to start: it knows EICAR, in a file that fits into memory, and no more.

How the real ones live and die is tested elsewhere; here a server is started hundreds of times.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Self

from penstock.antivirus.base import LocalFile, Scanner, ScannerVersion, ScanReport, Source, Verdict
from penstock.antivirus.eicar import eicar
from penstock.antivirus.self_test import check_scanner


class InstantScanner(Scanner):
    """Takes the arguments of the embedded scanner, in whose place it stands."""

    name = "instant"

    def __init__(self, *arguments: Any, **named: Any) -> None:
        del arguments, named

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        del timeout
        if isinstance(source, LocalFile):
            content = source.path.read_bytes()
        else:
            content = b"".join([piece async for piece in source.pieces])
        assert len(content) == size_bytes
        if eicar() not in content:
            return ScanReport(verdict=Verdict.CLEAN, scanner=self.name, bytes_scanned=size_bytes)
        return ScanReport(
            verdict=Verdict.INFECTED, scanner=self.name, signature="EICAR_Test_File", bytes_scanned=size_bytes
        )

    async def version(self) -> ScannerVersion:
        return ScannerVersion(engine="instant", database="1")

    async def self_test(self) -> None:
        await check_scanner(self)
