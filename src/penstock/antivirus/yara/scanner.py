"""Scanning with YARA rules."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Self

import structlog

from ...errors import Unavailable
from ..base import (
    LocalFile,
    Scanner,
    ScannerProtocolError,
    ScannerState,
    ScannerUnavailable,
    ScannerVersion,
    ScanReport,
    Source,
    SourceUnreadable,
    Verdict,
)
from ..deadline import give_up_after
from ..limits import Severity, TimeAllowance
from ..self_test import check_scanner
from ..sources import OpenFile, opened
from ..spool import spooled
from .pool import WorkerPool
from .process import Ready, Scanned, Setup
from .proof import prove
from .rules import RulesInvalid, find_rules, stamp_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from ...clock import Clock
    from .process import Worker
    from .rules import Stamp

log = structlog.get_logger(__name__)

BUILT_IN_RULES = Path(__file__).parent.parent / "rules"
LOOK_EVERY = timedelta(seconds=5)
"""How often it is looked whether rule files have changed."""
DEFAULT_MEMORY_BYTES = 1024 * 1024 * 1024
"""Enough for about ten thousand rules."""


class YaraScanner(Scanner):
    """Looks for byte patterns and more with YARA rules, in worker processes of this machine.

    A rule that matches makes a file infected, if it is of `least_severity` or worse, or does not say how bad it is;
    others are noted in the report. Files are scanned as they are: archives are not unpacked. The rule for EICAR is
    always among the rules.

    Rules that change are taken over while the scanner is open, within `LOOK_EVERY`. If they do not compile, or would
    not pass the self-test, the ones before stay in use, `states` tells why, and it is tried again when they change.

    Rules of one's own see each file as a whole, whatever its size. While they do, `ps` counts the pages of the file
    that are in the page cache as memory of the worker; a worker's own memory is `memory_bytes` at most.

    Args:
        rules: Files and folders with rules of one's own.
        clock: Measures how long scans take.
        least_severity: Which rules make a file infected.
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
        least_severity: Severity = Severity.LOW,
        max_workers: int = 2,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        spool_folder: Path | None = None,
        allowance: TimeAllowance | None = None,
    ) -> None:
        self._paths = rules
        self._clock = clock
        self._least_severity = least_severity
        self._max_workers = max_workers
        self._memory_bytes = memory_bytes
        self._spool_folder = spool_folder
        self._allowance = allowance or TimeAllowance()
        self._engine = f"yara-x {version('yara-x')}"
        self._pool: WorkerPool | None = None
        self._stamp: Stamp = ()
        self._outdated = ""
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start one worker, which shows that the rules compile.

        Raises:
            RulesInvalid: there are none where they should be, or one of them does not compile.
            ScannerUnavailable: no process could be started.
        """
        self._stamp = await asyncio.to_thread(stamp_of, self._paths)
        pool = WorkerPool(await self._setup(), self._max_workers)
        try:
            async with pool.worker():
                pass
        except BaseException:
            await pool.close()
            raise
        self._pool = pool
        if self._paths:
            self._watching = asyncio.create_task(self._watch())
        else:
            log.warning("yara_knows_only_eicar", hint="set PENSTOCK_ANTIVIRUS_YARA_RULES, or use another scanner")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._pool is not None:
            await self._pool.close()

    def states(self) -> list[ScannerState]:
        """Tell whether the rules in use are those in the files; see `SupportsStates`."""
        return [ScannerState(scanner=self.name, outdated=self._outdated)]

    async def _setup(self) -> Setup:
        return Setup(
            rules=await asyncio.to_thread(find_rules, self._paths),
            built_in=await asyncio.to_thread(find_rules, [BUILT_IN_RULES]),
            memory_bytes=self._memory_bytes,
        )

    async def _watch(self) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY)
            stamp = await asyncio.to_thread(stamp_of, self._paths)
            if stamp != self._stamp:
                await self._reload(stamp)

    async def _reload(self, stamp: Stamp) -> None:
        try:
            ready = await self._running.reload(await self._setup(), self._prove)
        except RulesInvalid as err:
            self._stamp = stamp
            self._outdated = f"changed rules are not used, those before are: {err}"
            log.error("yara_rules_not_taken", error=str(err))  # noqa: TRY400 - whose fault it is, the message says
        except Unavailable as err:  # tried again, for the stamp stays as it was
            self._outdated = f"changed rules could not be loaded yet, those before are used: {err}"
            log.warning("yara_rules_not_loaded", error=str(err))
        except Exception as err:  # a mistake of ours must not be the end of looking
            self._outdated = f"changed rules could not be loaded, those before are used: {err!r}"
            log.exception("yara_rules_not_loaded", error=repr(err))
        else:
            self._stamp, self._outdated = stamp, ""
            log.info("yara_rules_loaded", database=ready.database, rules=ready.rules, warnings=ready.warnings)

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
            known, scanned = await self._look_at(file, timeout)
            await file.verify_unchanged()
        matches, noted = self._sorted(_matches(scanned, file))
        return ScanReport(
            verdict=Verdict.INFECTED if matches else Verdict.CLEAN,
            scanner=self.name,
            signature=matches[0] if matches else "",
            engine_version=known.engine,
            database_version=known.database,
            bytes_scanned=size_bytes,
            duration=timedelta(seconds=self._clock.monotonic() - started),
            detail=f"rules that match: {', '.join(matches)}" if len(matches) > 1 else "",
            noted=tuple(noted),
        )

    async def _prove(self, worker: Worker) -> None:
        await prove(worker, self._least_severity)

    def _sorted(self, found: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
        """Return the names of the rules that make a file infected, and of those that are only noted."""
        counting = {name for name, severity in found if Severity.of(severity) >= self._least_severity}
        noted = [f"{name} ({severity})" for name, severity in found if name not in counting]
        return sorted(counting), noted

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

    async def _look_at(self, file: OpenFile, timeout: timedelta | None) -> tuple[ScannerVersion, Scanned]:
        allowed = timeout or self._allowance.for_size(file.size_bytes)
        try:
            async with (
                self._running.worker() as worker,
                give_up_after(allowed, f"the YARA rules to be matched against {file.size_bytes} bytes"),
            ):
                return self._version(worker.ready), await worker.scan(file.fd, file.size_bytes)
        except RulesInvalid as err:
            # They were compiled once, by an earlier worker. A file must not fail for good because of that.
            raise ScannerUnavailable(f"a YARA worker cannot use the rules any more: {err}") from err


def _matches(scanned: Scanned, file: OpenFile) -> list[tuple[str, str]]:
    if scanned.unreadable is not None:
        raise SourceUnreadable(f"{file.path} could not be read to its end: {scanned.unreadable}")
    if scanned.matches is None or (not scanned.matches and scanned.bytes_scanned != file.size_bytes):
        raise ScannerProtocolError(
            f"a YARA worker answered about {scanned.bytes_scanned} bytes of {file.size_bytes}, without a match"
        )
    return scanned.matches
