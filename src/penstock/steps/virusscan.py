"""The step `virusscan`: what a scanner's report means for an upload. Only an explicit clean verdict lets it pass."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from ..antivirus.base import ByteStream, LocalFile, Verdict
from ..antivirus.limits import Oversize, plan_scan
from ..errors import PenstockError, Unavailable
from ..events.gotime import format_time
from ..events.types import VIRUSSCAN, Outcome, VirusscanResult
from .base import GuardedStep
from .kit import StepDefinition, StepResult

if TYPE_CHECKING:
    from datetime import timedelta

    from ..antivirus.base import Scanner, ScanReport
    from ..clock import Clock
    from ..events.types import StartPostprocessingStep
    from .upload import StepUpload

log = structlog.get_logger(__name__)


class ScannerNotReady(Unavailable):
    """The scanner has not passed its self-test, so it is not used. Uploads wait."""

    code = "scanner-not-ready"


class Virusscan(GuardedStep):
    """Scans uploads with one scanner, once that has proved that it finds EICAR."""

    def __init__(
        self,
        scanner: Scanner,
        *,
        clock: Clock,
        workers: int,
        infected: Outcome = Outcome.DELETE,
        limit_bytes: int | None = None,
        oversize: Oversize = Oversize.PARTIAL,
        timeout: timedelta | None = None,
    ) -> None:
        """`infected`: what happens to an infected file; `limit_bytes`, `oversize`: see `limits.plan_scan`."""
        self.scanner = scanner
        self.problem = "not tested yet"
        """Why the scanner is not used; empty when it is."""
        self._clock = clock
        self._infected = infected
        self._limit_bytes = limit_bytes
        self._oversize = oversize
        self._timeout = timeout
        self._testing = asyncio.Lock()
        self.definition = StepDefinition(VIRUSSCAN, self.scan, workers=workers, own_thread=False, failure=self._failure)

    async def check(self) -> None:
        """Put the scanner to the test; from now on it is used, or not, as that ends.

        Whoever asks while a test runs waits for that one.
        """
        if self._testing.locked():
            async with self._testing:
                return
        async with self._testing:
            await self._check()

    async def _check(self) -> None:
        try:
            await self.scanner.self_test()
        except PenstockError as error:
            if self.problem != str(error):
                log.exception("scanner_not_used", scanner=self.scanner.name, error=str(error))
            self.problem = str(error)
        else:
            if self.problem:
                log.info("scanner_ready", scanner=self.scanner.name)
            self.problem = ""

    async def watch(self, interval: timedelta, retry: timedelta) -> None:
        """Test the scanner every `interval`, and every `retry` while it fails, until cancelled."""
        while True:
            await self._clock.sleep(retry if self.problem else interval)
            await self.check()

    async def scan(self, upload: StepUpload) -> StepResult:
        """Scan one upload.

        Raises:
            ScannerNotReady, Unavailable: nothing is known about the file; the step is to be tried again.
        """
        if self.problem:
            await self.check()
        if self.problem:
            raise ScannerNotReady(f"the scanner {self.scanner.name} is not used: {self.problem}")
        plan = plan_scan(upload.size_bytes, self._limit_bytes, self._oversize)
        if plan.rejected:
            return self._result(upload, Outcome.ABORT, error=f"not scanned: larger than {self._limit_bytes} bytes")
        if plan.scan_bytes == 0 and not plan.complete:
            return self._result(upload, Outcome.CONTINUE, error=f"not scanned: larger than {self._limit_bytes} bytes")
        if not plan.complete:
            return await self._scan_beginning(upload, plan.scan_bytes)
        source = LocalFile(upload.path) if upload.is_file else ByteStream(upload.stream())
        report = await self.scanner.scan(source, size_bytes=upload.size_bytes, timeout=self._timeout)
        return self._verdict(upload, report)

    async def _scan_beginning(self, upload: StepUpload, size_bytes: int) -> StepResult:
        stream = ByteStream(upload.stream(stop=size_bytes))
        report = await self.scanner.scan(stream, size_bytes=size_bytes, timeout=self._timeout)
        if report.verdict is Verdict.CLEAN:
            return self._result(upload, Outcome.CONTINUE, error=f"scanned in part: the first {size_bytes} bytes")
        return self._verdict(upload, report)

    def _verdict(self, upload: StepUpload, report: ScanReport) -> StepResult:
        log.info(
            "upload_scanned",
            upload=upload.id,
            verdict=report.verdict,
            signature=report.signature,
            scanner=report.scanner,
            bytes=report.bytes_scanned,
            seconds=round(report.duration.total_seconds(), 3),
        )
        match report.verdict:
            case Verdict.CLEAN if report.bytes_scanned == upload.size_bytes:
                return self._result(upload, Outcome.CONTINUE)
            case Verdict.INFECTED:
                return self._result(upload, self._infected, signature=report.signature)
            case Verdict.TOO_LARGE:
                return self._result(upload, Outcome.ABORT, error=report.detail or "not scanned: too large")
            case _:
                return self._result(upload, Outcome.ABORT, error=report.detail or f"not scanned: {report.signature}")

    def _result(self, upload: StepUpload, outcome: Outcome, *, signature: str = "", error: str = "") -> StepResult:
        result = VirusscanResult(
            infected=bool(signature),
            description=signature,
            scandate=format_time(self._clock.now()),
            resource_id=upload.resource,
            error_message=error,
        )
        return StepResult(outcome, result=result)

    def _failure(self, start: StartPostprocessingStep, message: str) -> VirusscanResult:
        return VirusscanResult(
            scandate=format_time(self._clock.now()), resource_id=start.resource_id, error_message=message
        )
