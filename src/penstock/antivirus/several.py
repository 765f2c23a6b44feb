"""Several scanners that look at the same file, at the same time, and make one verdict of theirs."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec

from ..errors import ConfigurationError
from .base import (
    ByteStream,
    LocalFile,
    Scanner,
    ScannerState,
    ScannerVersion,
    ScanReport,
    Source,
    SupportsStates,
    SupportsTryNow,
    Verdict,
)
from .spool import spooled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence
    from typing import Any

    from ..clock import Clock

_JOINT: Final = "; "


class Agreement(StrEnum):
    """What it takes to be clean where several scanners look. In both, one that fails makes the scan fail."""

    ALL = "all"
    """All scanners must say clean. All are waited for, so that the report names everybody who found something."""
    ANY = "any"
    """The first find decides. One that says itself that it cannot look at the file is made up for by any other."""


class SeveralScanners(Scanner):
    """Has each file looked at by all of some scanners.

    What one finds counts even if another fails. Where none finds anything, a scanner that fails makes the scan fail:
    the file was not looked at by all who should.

    Bytes that come as a stream are put on disk first, so that all look at the same ones and memory stays constant.

    Args:
        scanners: At least two; opened and closed with this one.
        agreement: What it takes to be clean.
        clock: Measures how long scans take.
        spool_folder: Where streams are kept while they are scanned; None: the system's folder for temporary files.

    Raises:
        penstock.errors.ConfigurationError: there are fewer than two scanners, or two with the same name.
    """

    def __init__(
        self, scanners: Sequence[Scanner], *, agreement: Agreement, clock: Clock, spool_folder: Path | None = None
    ) -> None:
        names = [scanner.name for scanner in scanners]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ConfigurationError(
                f"not several scanners: {', '.join(names) or 'none'}. Name two or more, each once."
            )
        self.name = "+".join(names)
        self.scanners = tuple(scanners)
        """Those who look, in the order in which they are named."""
        self._agreement = agreement
        self._clock = clock
        self._spool_folder = spool_folder
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open all of them; none stays open when one cannot be."""
        async with AsyncExitStack() as stack:
            for scanner in self.scanners:
                await stack.enter_async_context(scanner)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def states(self) -> list[ScannerState]:
        """Tell how each of them is."""
        return [state for scanner in self.scanners if isinstance(scanner, SupportsStates) for state in scanner.states()]

    def try_now(self) -> None:
        """Have those asked by the next request that are left alone; see `SupportsTryNow`."""
        for scanner in self.scanners:
            if isinstance(scanner, SupportsTryNow):
                scanner.try_now()

    async def version(self) -> ScannerVersion:
        """Ask all of them; see `Scanner.version`."""
        versions = await _all_of([scanner.version() for scanner in self.scanners])
        return ScannerVersion(
            engine=_joined([version.engine for version in versions]),
            database=_joined([version.database for version in versions]),
        )

    async def self_test(self) -> None:
        """Put each of them to its own test; see `Scanner.self_test`."""
        await _all_of([scanner.self_test() for scanner in self.scanners])

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        """Have all of them look at the file; see `Scanner.scan`. `timeout` is for each of them."""
        started = self._clock.monotonic()
        async with self._on_disk(source, size_bytes) as file, asyncio.TaskGroup() as tasks:
            scans = [
                tasks.create_task(_settled(scanner.scan(file, size_bytes=size_bytes, timeout=timeout)))
                for scanner in self.scanners
            ]
            said = await self._wait(scans)
        report = combine([one for one in said if one is not None], self._agreement)
        return msgspec.structs.replace(report, duration=timedelta(seconds=self._clock.monotonic() - started))

    @asynccontextmanager
    async def _on_disk(self, source: Source, size_bytes: int) -> AsyncIterator[LocalFile]:
        if isinstance(source, ByteStream):
            async with spooled(source, size_bytes, self._spool_folder) as file:
                yield LocalFile(Path(f"/proc/self/fd/{file.fd}"))
        else:
            yield source

    async def _wait(self, scans: list[asyncio.Task[ScanReport | Exception]]) -> list[ScanReport | Exception | None]:
        """Return what each said, in order; None for those that were stopped because another one has decided."""
        waiting = set(scans)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._agreement is Agreement.ANY and any(_found(scan.result()) for scan in done):
                for scan in waiting:
                    scan.cancel()
                break
        return [None if scan in waiting else scan.result() for scan in scans]


def combine(said: Sequence[ScanReport | Exception], agreement: Agreement) -> ScanReport:
    """Make one report of what some scanners said of a file, in the order in which they are named.

    Raises:
        Exception: what the first one raised that failed, if none found anything.
    """
    reports = [one for one in said if isinstance(one, ScanReport)]
    report = _decided(said, reports, agreement)
    return msgspec.structs.replace(report, noted=tuple(dict.fromkeys(name for one in reports for name in one.noted)))


def _decided(said: Sequence[ScanReport | Exception], reports: Sequence[ScanReport], agreement: Agreement) -> ScanReport:
    found = [one for one in reports if _found(one)]
    if found:
        return _with_detail(found[0], [f"{one.scanner} found {one.signature}" for one in found[1:]])
    for one in said:
        if isinstance(one, Exception):
            raise one
    clean = [one for one in reports if one.verdict is Verdict.CLEAN]
    others = [one for one in reports if one.verdict is not Verdict.CLEAN]
    if others and (agreement is Agreement.ALL or not clean):
        return _with_detail(others[0], [_not_looked(one) for one in others[1:]])
    return _with_detail(_jointly(clean), [_not_looked(one) for one in others])


def _jointly(clean: Sequence[ScanReport]) -> ScanReport:
    return ScanReport(
        verdict=Verdict.CLEAN,
        scanner="+".join(one.scanner for one in clean),
        engine_version=_joined([one.engine_version for one in clean]),
        database_version=_joined([one.database_version for one in clean]),
        bytes_scanned=min(one.bytes_scanned for one in clean),
        detail=_joined([one.detail for one in clean]),
    )


def _with_detail(report: ScanReport, more: Sequence[str]) -> ScanReport:
    return msgspec.structs.replace(report, detail=_joined([report.detail, *more]))


def _not_looked(report: ScanReport) -> str:
    return f"{report.scanner} says {report.verdict.replace('_', ' ')} ({report.detail or report.signature})"


def _joined(parts: Sequence[str]) -> str:
    return _JOINT.join(filter(None, parts))


def _found(said: ScanReport | Exception) -> bool:
    return isinstance(said, ScanReport) and said.verdict is Verdict.INFECTED


async def _settled(scan: Coroutine[Any, Any, ScanReport]) -> ScanReport | Exception:
    """Return the error of a scan instead of raising it: the others are not to be cancelled for it."""
    try:
        return await scan
    except Exception as error:  # noqa: BLE001 - whatever it is, `combine` raises it if nobody found anything
        return error


async def _all_of(questions: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Return all answers; when there are errors, raise the first one once all have ended."""
    answers = await asyncio.gather(*questions, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers
