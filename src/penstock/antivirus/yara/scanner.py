"""Scanning with YARA rules."""

from __future__ import annotations

from datetime import timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Self

from ..base import (
    LocalFile,
    Scanner,
    ScannerProtocolError,
    ScannerVersion,
    ScanReport,
    Source,
    SourceUnreadable,
    Verdict,
)
from ..deadline import give_up_after
from ..limits import TimeAllowance
from ..self_test import check_scanner
from ..sources import opened
from .pool import WorkerPool
from .process import Scanned, Setup
from .rules import find_rules
from .spool import spooled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...clock import Clock

_MEMORY_BYTES = 1024 * 1024 * 1024
"""What a worker may use beside the file that it has mapped; large sets of rules take some hundred MiB."""
_BUILT_IN = files("penstock.antivirus") / "rules" / "eicar.yar"


class YaraScanner(Scanner):
    """Looks for what YARA rules describe, the EICAR test file always included.

    Files of any size are scanned. With the built-in rule alone that is done in windows; rules of one's own may ask
    for anything, so for them a file is mapped as a whole.

    Args:
        rules: rule files, and folders of them.
        clock: measures how long scans take.
        workers: how many files are scanned at a time, each in a process of its own.
        allowance: how long a scan may take.
        spool_folder: where streams are kept while they are scanned; None: the system's folder for temporary files.
    """

    name = "yara"

    def __init__(
        self,
        rules: Sequence[Path] = (),
        *,
        clock: Clock,
        workers: int = 2,
        allowance: TimeAllowance | None = None,
        spool_folder: Path | None = None,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._workers = workers
        self._allowance = allowance or TimeAllowance()
        self._spool_folder = spool_folder
        self._pool = WorkerPool(Setup([], [], _MEMORY_BYTES), workers)

    async def __aenter__(self) -> Self:
        """Compile the rules, once, to see whether they can be.

        Raises:
            RulesInvalid: a rule file is not there or does not compile.
        """
        self._pool = WorkerPool(Setup(find_rules(self._rules), [str(_BUILT_IN)], _MEMORY_BYTES), self._workers)
        try:
            await self.version()
        except BaseException:
            await self._pool.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._pool.close()

    async def version(self) -> ScannerVersion:
        """Tell which engine and which rules a worker has; see `Scanner.version`."""
        async with self._pool.worker() as worker:
            return ScannerVersion(worker.ready.engine, worker.ready.database)

    async def self_test(self) -> None:
        """Prove that EICAR is found; see `Scanner.self_test`."""
        await check_scanner(self)

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        """Have a worker look at the file; see `Scanner.scan`."""
        started = self._clock.monotonic()
        allowed = timeout or self._allowance.for_size(size_bytes)
        opening = (
            opened(source, size_bytes)
            if isinstance(source, LocalFile)
            else spooled(source, size_bytes, self._spool_folder)
        )
        async with opening as file, self._pool.worker() as worker:
            async with give_up_after(allowed, f"YARA to scan {size_bytes} bytes"):
                scanned = await worker.scan(file.fd, size_bytes)
            await file.verify_unchanged()
            ready = worker.ready
        matches = _matches(scanned, size_bytes)
        return ScanReport(
            verdict=Verdict.INFECTED if matches else Verdict.CLEAN,
            scanner=self.name,
            signature=", ".join(matches),
            engine_version=ready.engine,
            database_version=ready.database,
            bytes_scanned=scanned.bytes_scanned,
            duration=timedelta(seconds=self._clock.monotonic() - started),
        )


def _matches(scanned: Scanned, size_bytes: int) -> list[str]:
    """Return the rules that match.

    Raises:
        SourceUnreadable: the worker could not read the file.
        ScannerProtocolError: it did not look at all of it.
    """
    if scanned.matches is None:
        raise SourceUnreadable(f"the YARA worker could not read the file: {scanned.unreadable}")
    if scanned.bytes_scanned != size_bytes:
        raise ScannerProtocolError(f"the YARA worker looked at {scanned.bytes_scanned} of {size_bytes} bytes")
    return scanned.matches
