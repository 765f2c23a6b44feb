"""The scanner that the settings choose, and the step that it serves."""

from __future__ import annotations

import os
import ssl
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog

from .. import backends
from ..antivirus.base import Circuit, SupportsStates
from ..antivirus.breaker import GuardedScanner
from ..antivirus.handling import Handling
from ..antivirus.limits import Oversize, Severity
from ..antivirus.proven import ProvenScanner
from ..antivirus.several import Agreement, SeveralScanners
from ..errors import ConfigurationError, PenstockError
from ..events.types import VIRUSSCAN, Outcome
from ..health import Check

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from contextlib import AsyncExitStack

    from ..antivirus.base import Scanner, ScannerState
    from ..clock import Clock
    from ..events.types import Envelope
    from ..settings import Settings
    from ..steps.base import GuardedStep
    from ..telemetry import Metrics

log = structlog.get_logger(__name__)

_SELF_TEST_AGAIN: Final = timedelta(seconds=2)
_HURRY_PAUSE_SECONDS: Final = 10.0
_HURRY_PAUSE_LIMIT_SECONDS: Final = 3600.0


def scanner_of(settings: Settings, clock: Clock) -> Any:
    """Return the scanner that the settings choose, or all of them as one, not opened yet.

    Raises:
        ConfigurationError: one is not known, what it needs is not installed, or a setting of it is wrong.
    """
    scanners = [
        GuardedScanner(
            _proven(name, settings, clock),
            clock=clock,
            failures=settings.antivirus_breaker_failures,
            pause=settings.antivirus_breaker_pause,
        )
        for name in settings.antivirus_scanner
    ]
    if len(scanners) == 1:
        return scanners[0]
    return SeveralScanners(
        scanners,
        agreement=Agreement(settings.antivirus_scanner_agreement),
        clock=clock,
        spool_folder=settings.delivery_temp_dir,
    )


def _proven(name: str, settings: Settings, clock: Clock) -> Any:
    """Return a scanner whose clean verdicts count only while it finds EICAR."""
    scanner = one_scanner_of(name, settings, clock)
    if name in {"clamav", "yara"}:
        # Each clamd is watched over by itself. YARA rules are our own: they are used once they have found EICAR.
        return scanner
    # The tag of an ICAP server may be its own and say nothing about the engine behind it.
    return _watched(scanner, settings, clock, tells_changes=False)


def _watched(scanner: Scanner, settings: Settings, clock: Clock, *, tells_changes: bool) -> ProvenScanner:
    believed_for = settings.antivirus_self_test_believed_for
    return ProvenScanner(scanner, clock=clock, tells_changes=tells_changes, believed_for=believed_for)


def one_scanner_of(name: str, settings: Settings, clock: Clock) -> Any:
    """Return the scanner of a name as the settings describe it, by itself and not opened yet.

    Raises:
        ConfigurationError: it is not known, what it needs is not installed, or a setting of it is wrong.
    """
    backend = backends.load("scanner", name)
    match name:
        case "clamav":
            return backend(
                settings.antivirus_clamav_socket,
                clock=clock,
                stream_max_bytes=settings.antivirus_clamav_stream_max_length_bytes,
                max_file_bytes=settings.antivirus_clamav_max_file_size_bytes,
                max_scans=settings.antivirus_workers,
                local_way=settings.antivirus_clamav_local_files,
                shared_folder=settings.antivirus_clamav_shared_folder,
                guard=lambda clamd: _watched(clamd, settings, clock, tells_changes=True),
            )
        case "icap":
            return _icap_scanner(backend, settings, clock)
        case "yara":
            workers = min(settings.antivirus_workers, os.cpu_count() or 1)
            return backend(
                settings.antivirus_yara_rules,
                clock=clock,
                least_severity=Severity[settings.antivirus_yara_least_severity.upper()],
                max_workers=workers,
                spool_folder=settings.delivery_temp_dir,
            )
        case _:  # from another package, which reads settings of its own
            return backend(clock=clock)


def _icap_scanner(backend: Any, settings: Settings, clock: Clock) -> Any:
    return backend(
        settings.antivirus_icap_url,
        settings.antivirus_icap_service,
        clock=clock,
        method=settings.antivirus_icap_method,
        profile=settings.antivirus_icap_profile,
        header=settings.antivirus_icap_header,
        unmodified_is_clean=settings.antivirus_icap_unmodified_is_clean,
        max_file_bytes=settings.antivirus_icap_max_file_size_bytes,
        max_scans=settings.antivirus_workers,
        timeout=settings.antivirus_icap_scan_timeout,
        tls=_tls(settings),
    )


def _tls(settings: Settings) -> ssl.SSLContext:
    """Return how the ICAP server has to prove who it is.

    Raises:
        ConfigurationError: there is no file with certificates where one is said to be.
    """
    file = settings.antivirus_icap_tls_root_ca_certificate
    try:
        context = ssl.create_default_context(cafile=file)
    except OSError as error:
        origin = settings.origins.get("antivirus_icap_tls_root_ca_certificate")
        raise ConfigurationError(
            f"antivirus_icap_tls_root_ca_certificate={file} ({origin}): no certificates can be read from it: {error}"
        ) from error
    if settings.antivirus_icap_tls_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Scanning:
    """The step `virusscan` with its scanner, and what is to be seen of them."""

    def __init__(self, step: GuardedStep, scanner: Scanner, clock: Clock, *, test_every: timedelta) -> None:
        self.definition = step.definition
        self._step = step
        self._scanner = scanner
        self._clock = clock
        self._test_every = test_every
        self._hurried_at = float("-inf")
        self._pause_seconds = 0.0

    async def watch(self) -> None:
        """Put the scanner to the test again and again, until cancelled."""
        await self._step.watch(self._test_every, _SELF_TEST_AGAIN)

    async def look_after(self, hurry: Callable[[Sequence[str]], Awaitable[object]]) -> None:
        """Try again and again a scanner that is left alone, and call `hurry` when it works, until cancelled.

        Otherwise nobody might ask it for hours: all uploads wait for their next try, in longer and longer pauses.
        `hurry` gets the IDs of the uploads that were held because the scanner was not there. Each time costs those an
        attempt for which it is away again, so the pauses between two times double, until an hour was quiet.
        """
        while True:
            if any(state.circuit is Circuit.OPEN for state in self._states()):
                await self._step.check()  # the breaker makes a probe of it as soon as the pause is over
            works = not self._step.problem and all(state.circuit is Circuit.CLOSED for state in self._states())
            if works and self._step.held and self._may_hurry():
                await self._hurry(hurry)
            await self._clock.sleep(_SELF_TEST_AGAIN)

    def _may_hurry(self) -> bool:
        return self._clock.monotonic() - self._hurried_at >= self._pause_seconds

    async def _hurry(self, hurry: Callable[[Sequence[str]], Awaitable[object]]) -> None:
        held = self._step.take_held()
        try:
            await hurry(held)
        except PenstockError as error:
            log.warning("uploads_not_hurried", uploads=len(held), error=str(error))
            for upload_id in held:
                self._step.hold(upload_id)
            return
        log.info("uploads_hurried", uploads=len(held))
        now = self._clock.monotonic()
        long_ago = now - self._hurried_at > _HURRY_PAUSE_LIMIT_SECONDS
        doubled = min(2 * self._pause_seconds, _HURRY_PAUSE_LIMIT_SECONDS)
        self._pause_seconds = _HURRY_PAUSE_SECONDS if long_ago else doubled
        self._hurried_at = now

    def hold(self, upload_ids: Iterable[str]) -> None:
        """Have uploads hurried that wait for another attempt."""
        for upload_id in upload_ids:
            self._step.hold(upload_id)

    def forget(self, envelope: Envelope) -> None:
        """Hear of an upload that has been started again, or ended: it is held no longer."""
        self._step.let_go(envelope.event.upload_id)

    def checks(self) -> list[Check]:
        """Tell whether the scanner is used, and if not, why; and what else is not as it should be."""
        problem = self._step.problem
        detail = problem or f"{self._scanner.name}: the EICAR test file is found."
        hint = "Uploads are held back until it works; then they go on by themselves." if problem else ""
        checks = [Check("scanner", not problem, detail, hint, gates=True)]
        for state in self._states():
            if state.circuit is not Circuit.CLOSED:
                detail = f"Not asked, but for one request now and then: {state.failures} in a row have failed. "
                hint = "Look at the scanner. All goes on by itself when it answers."
                checks.append(Check(f"scanner {state.scanner}", ok=False, detail=detail + state.last_error, hint=hint))
            if state.outdated:
                checks.append(Check(f"rules of {state.scanner}", ok=False, detail=state.outdated, hint="Correct them."))
        return checks

    def look_up(self, metrics: Metrics) -> None:
        """Set the metrics of the scanner."""
        metrics.scanner_ready.set(not self._step.problem)
        for state in self._states():
            metrics.scanner_rules_outdated.labels(state.scanner).set(bool(state.outdated))
            metrics.scanner_failures.labels(state.scanner).set(state.failures)
            for circuit in Circuit:
                metrics.scanner_circuit.labels(state.scanner, circuit).set(state.circuit is circuit)

    def _states(self) -> Sequence[ScannerState]:
        return self._scanner.states() if isinstance(self._scanner, SupportsStates) else ()


def _handling_of(settings: Settings) -> Handling:
    return Handling(
        infected=Outcome(settings.antivirus_infected_file_handling),
        too_large=Outcome(settings.antivirus_too_large_file_handling),
        unscannable=Outcome(settings.antivirus_unscannable_file_handling),
        limit_bytes=settings.antivirus_max_scan_size_bytes,
        oversize=Oversize(settings.antivirus_max_scan_size_mode),
    )


async def open_virusscan(stack: AsyncExitStack, settings: Settings, clock: Clock) -> Scanning:
    """Open the scanner and put it to the test; `stack` closes it."""
    scanner = await stack.enter_async_context(scanner_of(settings, clock))
    virusscan: GuardedStep = backends.load("step", VIRUSSCAN)(
        scanner,
        clock=clock,
        workers=settings.antivirus_workers,
        handling=_handling_of(settings),
        timeout=settings.antivirus_scan_timeout,
    )
    await virusscan.check()
    return Scanning(virusscan, scanner, clock, test_every=settings.antivirus_self_test_interval)
