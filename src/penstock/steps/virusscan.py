"""The step `virusscan`: what a scanner's report means for an upload. Only an explicit clean verdict lets it pass."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from ..antivirus.alert import Alert, AlertKind
from ..antivirus.base import (
    Circuit,
    ScannerUnavailable,
    ScannerUnreachable,
    SelfTestFailed,
    SupportsStates,
)
from ..antivirus.breaker import ScannerResting
from ..antivirus.handling import End, decide, without_scan
from ..antivirus.limits import plan_scan
from ..errors import PenstockError, Unavailable
from ..events.gotime import format_time, to_nanoseconds
from ..events.types import VIRUSSCAN, Outcome, ScanDetails, VirusscanResult
from ..ids import derived_id, new_event_id
from .base import GuardedStep
from .held import Held
from .kit import StepDefinition, StepResult
from .scans import Scans

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..antivirus.base import Scanner, ScanReport
    from ..antivirus.handling import Decision, Handling
    from ..clock import Clock
    from ..events.types import StartPostprocessingStep
    from .upload import StepUpload

log = structlog.get_logger(__name__)

_NOTED_LIMIT: Final = 100
"""So many are told in an event; rules that only describe files may be many."""


class ScannerNotReady(Unavailable):
    """The scanner has not passed its self-test, so it is not used. Uploads wait."""

    code = "scanner-not-ready"


_NOT_LOOKED_AT: Final = (ScannerNotReady, ScannerResting, ScannerUnreachable, SelfTestFailed)
"""The scanner is the trouble, and cannot be because of this file: it has not seen it, or called it clean."""


_FOLLOWS: Final[dict[str, str]] = {
    Outcome.DELETE: "the file is removed.",
    Outcome.ABORT: "the file is kept, and cannot be read.",
    Outcome.QUARANTINE: "the file is in quarantine.",
    Outcome.CONTINUE: "the file is released, with the mark that it is infected.",
}


class Virusscan(GuardedStep):
    """Scans uploads with one scanner, once that has proved that it finds EICAR."""

    def __init__(
        self,
        scanner: Scanner,
        *,
        clock: Clock,
        workers: int,
        handling: Handling,
        timeout: timedelta | None = None,
        slowest: timedelta = timedelta(0),
    ) -> None:
        """Scan with `scanner`, which is open.

        Args:
            scanner: Looks at the files.
            clock: Measures and dates.
            workers: How many uploads are scanned at a time.
            handling: What follows from what is found.
            timeout: For each scan; None: what the scanner allows for a file of the size.
            slowest: The longest that the scanner may take for a reason of its own, whatever `timeout` says.
        """
        self.scanner = scanner
        self.problem = "not tested yet"
        """Why the scanner is not used; empty when it is."""
        self._told = ""
        self._clock = clock
        self._handling = handling
        self._scans = Scans(scanner, clock, timeout=timeout, slowest=slowest)
        self._testing = asyncio.Lock()
        self._tested_at = float("-inf")
        self.held = Held()
        """The uploads that wait because the scanner was not there."""
        self.on_held: Callable[[str], Awaitable[None]] | None = None
        self.on_alert: Callable[[Alert], None] | None = None
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
        self._tested_at = self._clock.monotonic()
        try:
            await self.scanner.self_test()
        except PenstockError as error:
            self._distrust(error)
        except Exception as error:  # a mistake of ours must not be the end of testing, and lets nothing pass
            log.exception("scanner_not_tested", scanner=self.scanner.name)
            self._distrust(ScannerNotReady(f"the self-test failed in a way that nobody expected: {error!r}"))
        else:
            if self.problem:
                log.info("scanner_ready", scanner=self.scanner.name)
                self._alert(AlertKind.SCANNER_READY, f"The scanner {self.scanner.name} works. What was held goes on.")
            self.problem, self._told = "", ""

    def _distrust(self, error: PenstockError) -> None:
        # While it is left alone the error tells how long; that is no news.
        if self._told != error.code and not (self._told and isinstance(error, ScannerResting)):
            log.error("scanner_not_used", scanner=self.scanner.name, error=str(error), exc_info=error)
            self._told = error.code
        # Each time: whoever is told decides how often that is news, and must not miss it for good.
        text = f"The scanner {self.scanner.name} is not used, and uploads are held until it works: {error}"
        self._alert(AlertKind.SCANNER_NOT_USED, text)
        self.problem = str(error)

    def _alert(self, kind: AlertKind, text: str, upload: StepUpload | None = None, **more: str) -> None:
        if self.on_alert is None:
            return
        alert = Alert(kind=kind, id=new_event_id(), at=self._clock.now(), text=text, scanner=self.scanner.name)
        if upload is not None:
            alert = msgspec.structs.replace(
                alert,
                id=derived_id(upload.attempt_id, kind),
                upload_id=upload.id,
                filename=upload.filename,
                size_bytes=upload.size_bytes,
                user_id=upload.user_id,
                space=upload.space,
                **more,
            )
        self.on_alert(alert)

    async def watch(self, interval: timedelta, retry: timedelta) -> None:
        """Test the scanner every `interval`, and every `retry` while it fails, until cancelled."""
        while True:
            await self._clock.sleep(min(interval, retry))
            if self.problem or self._clock.monotonic() - self._tested_at >= interval.total_seconds():
                await self.check()

    async def scan(self, upload: StepUpload) -> StepResult:
        """Scan one upload.

        Raises:
            ScannerNotReady, Unavailable: nothing is known about the file; the step is to be tried again.
        """
        self.held.let_go(upload.id)
        try:
            result = await self._scan(upload)
        except _NOT_LOOKED_AT as error:
            if isinstance(error, SelfTestFailed):
                self._distrust(error)
            await self._hold(upload)
            raise
        except ScannerUnavailable:
            # This file may be what the scanner has died of, or was only there when somebody stopped it.
            await self._hold(upload, suspect=True)
            raise
        self.held.cleared(upload.id)
        return result

    async def _hold(self, upload: StepUpload, *, suspect: bool = False) -> None:
        if not upload.id:
            return  # a scan on demand is not tried again
        if suspect and not self.held.hold_once(upload.id, upload.attempt_id):
            return
        self.held.hold(upload.id, upload.attempt_id)
        if self.on_held is not None:
            await self.on_held(upload.id)

    def _is_unwell(self) -> bool:
        """Tell whether a test is to come before the next scan."""
        states = self.scanner.states() if isinstance(self.scanner, SupportsStates) else ()
        return bool(self.problem) or any(state.circuit is not Circuit.CLOSED for state in states)

    async def _scan(self, upload: StepUpload) -> StepResult:
        if self._is_unwell():
            await self.check()  # those who come together wait for one test, and all go on when it is passed
        if self.problem:
            raise ScannerNotReady(f"the scanner {self.scanner.name} is not used: {self.problem}")
        plan = plan_scan(upload.size_bytes, self._handling.limit_bytes, self._handling.oversize)
        decision = without_scan(plan, self._handling)
        if decision is not None:
            return self._result(upload, decision, ScanDetails(end=decision.end))
        report = await self._scans.scan(upload, plan)
        decision = decide(report, plan, self._handling)
        log.info(
            "upload_scanned",
            upload=upload.id,
            end=decision.end,
            outcome=decision.outcome,
            signature=report.signature,
            noted=report.noted,
            scanner=report.scanner,
            bytes=report.bytes_scanned,
            seconds=round(report.duration.total_seconds(), 3),
        )
        if decision.end is End.INFECTED:
            self._tell_found(upload, report, decision)
        return self._result(upload, decision, _details(report, decision), report.signature)

    def _tell_found(self, upload: StepUpload, report: ScanReport, decision: Decision) -> None:
        log.error(
            "virus_found",
            upload=upload.id,
            filename=upload.filename,
            signature=report.signature,
            scanner=report.scanner,
            outcome=decision.outcome,
        )
        text = f"{report.scanner} found {report.signature} in {upload.filename!r} (upload {upload.id or 'on demand'}): "
        self._alert(
            AlertKind.VIRUS_FOUND,
            text + _FOLLOWS.get(decision.outcome, decision.outcome),
            upload,
            scanner=report.scanner,
            signature=report.signature,
            outcome=decision.outcome,
        )

    def _result(self, upload: StepUpload, decision: Decision, scan: ScanDetails, signature: str = "") -> StepResult:
        infected = decision.end is End.INFECTED
        result = VirusscanResult(
            infected=infected,
            description=signature if infected else "",
            scandate=format_time(self._clock.now()),
            resource_id=upload.resource,
            error_message="" if infected else decision.remark,
            scan=scan,
        )
        return StepResult(decision.outcome, result=result)

    def _failure(self, start: StartPostprocessingStep, message: str) -> VirusscanResult:
        return VirusscanResult(
            scandate=format_time(self._clock.now()), resource_id=start.resource_id, error_message=message
        )


def _details(report: ScanReport, decision: Decision) -> ScanDetails:
    return ScanDetails(
        end=decision.end,
        scanner=report.scanner,
        engine_version=report.engine_version,
        database_version=report.database_version,
        bytes_scanned=report.bytes_scanned,
        duration_ns=to_nanoseconds(report.duration),
        remark=report.detail,
        noted=report.noted[:_NOTED_LIMIT],
    )
