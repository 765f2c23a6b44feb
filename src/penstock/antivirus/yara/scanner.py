"""Scanning with YARA rules."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..base import (
    LocalFile,
    Scanner,
    ScannerProtocolError,
    ScannerUnavailable,
    ScannerVersion,
    ScanReport,
    Source,
    SourceUnreadable,
    Verdict,
)
from ..deadline import give_up_after
from ..limits import TimeAllowance
from ..self_test import check_scanner
from ..sources import OpenFile, opened
from ..spool import spooled
from .pool import WorkerPool
from .process import Ready, Scanned, Setup
from .rules import RulesInvalid, find_rules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from ...clock import Clock

BUILT_IN_RULES = Path(__file__).parent.parent / "rules"
DEFAULT_MEMORY_BYTES = 1024 * 1024 * 1024
"""Enough for about ten thousand rules."""


class YaraScanner(Scanner):
    """Looks for byte patterns and more with YARA rules, in worker processes of this machine.

    Any rule that matches makes a file infected; what it looks for is up to its author. Files are scanned as they
    are: archives are not unpacked. The rule for EICAR is always among the rules.

    Rules of one's own see each file as a whole, whatever its size. While they do, `ps` counts the pages of the file
    that are in the page cache as memory of the worker; a worker's own memory is `memory_bytes` at most.

    Args:
        rules: Files and folders with rules of one's own.
        clock: Measures how long scans take.
        max_workers: How many files are scanned at a time, each in a process of its own.
        memory_bytes: How much memory of its own a worker may use; one that needs more ends, and the scan fails.
        spool_folder: Where streams are kept while they are scanned; None: the system's folder for temporary files.
        allowance: How long a scan may take when the caller does not say.
    """

    name = "yara"

    def __init__(
        self,
        rules: Sequence[Path] = (),
        *,
        clock: Clock,
        max_workers: int = 2,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        spool_folder: Path | None = None,
        allowance: TimeAllowance | None = None,
    ) -> None:
        self._paths = rules
        self._clock = clock
        self._max_workers = max_workers
        self._memory_bytes = memory_bytes
        self._spool_folder = spool_folder
        self._allowance = allowance or TimeAllowance()
        self._engine = f"yara-x {version('yara-x')}"
        self._pool: WorkerPool | None = None

    async def __aenter__(self) -> Self:
        """Start one worker, which shows that the rules compile.

        Raises:
            RulesInvalid: there are none where they should be, or one of them does not compile.
            ScannerUnavailable: no process could be started.
        """
        setup = Setup(
            rules=await asyncio.to_thread(find_rules, self._paths),
            built_in=await asyncio.to_thread(find_rules, [BUILT_IN_RULES]),
            memory_bytes=self._memory_bytes,
        )
        pool = WorkerPool(setup, self._max_workers)
        async with pool.worker():
            self._pool = pool
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def version(self) -> ScannerVersion:
        """Say which yara-x a worker runs, and which rules; see `Scanner.version`."""
        async with self._running.worker() as worker:
            return self._version(worker.ready)

    async def self_test(self) -> None:
        """Prove that EICAR is found and harmless bytes are clean; see `Scanner.self_test`."""
        await check_scanner(self)

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        """Have a worker look at the file; see `Scanner.scan`."""
        started = self._clock.monotonic()
        async with (
            give_up_after(timeout, f"the YARA rules to be matched against {size_bytes} bytes"),
            self._on_disk(source, size_bytes) as file,
        ):
            known, scanned = await self._look_at(file)
            await file.verify_unchanged()
        matches = _matches(scanned, file)
        return ScanReport(
            verdict=Verdict.INFECTED if matches else Verdict.CLEAN,
            scanner=self.name,
            signature=matches[0] if matches else "",
            engine_version=known.engine,
            database_version=known.database,
            bytes_scanned=size_bytes,
            duration=timedelta(seconds=self._clock.monotonic() - started),
            detail=f"rules that match: {', '.join(matches)}" if len(matches) > 1 else "",
        )

    def _version(self, ready: Ready) -> ScannerVersion:
        return ScannerVersion(engine=self._engine, database=ready.database)

    @property
    def _running(self) -> WorkerPool:
        if self._pool is None:
            raise ScannerUnavailable("the YARA scanner has not been started")
        return self._pool

    def _on_disk(self, source: Source, size_bytes: int) -> AbstractAsyncContextManager[OpenFile]:
        if isinstance(source, LocalFile):
            return opened(source, size_bytes)
        return spooled(source, size_bytes, self._spool_folder)

    async def _look_at(self, file: OpenFile) -> tuple[ScannerVersion, Scanned]:
        allowed = self._allowance.for_size(file.size_bytes)
        try:
            async with (
                self._running.worker() as worker,
                give_up_after(allowed, f"the YARA rules to be matched against {file.size_bytes} bytes"),
            ):
                return self._version(worker.ready), await worker.scan(file.fd, file.size_bytes)
        except RulesInvalid as err:
            # They compiled when we started. A file must not fail for good because somebody is editing rules.
            raise ScannerUnavailable(f"the YARA rules have become invalid: {err}") from err


def _matches(scanned: Scanned, file: OpenFile) -> list[str]:
    if scanned.unreadable is not None:
        raise SourceUnreadable(f"{file.path} could not be read to its end: {scanned.unreadable}")
    if scanned.matches is None or (not scanned.matches and scanned.bytes_scanned != file.size_bytes):
        raise ScannerProtocolError(
            f"a YARA worker answered about {scanned.bytes_scanned} bytes of {file.size_bytes}, without a match"
        )
    return scanned.matches
