"""The scanner that the settings choose, and the step that it serves."""

from __future__ import annotations

import os
import ssl
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import structlog

from .. import backends
from ..antivirus.base import Circuit, SupportsStates, SupportsTryNow
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
    from ..settings import Settings
    from ..steps.base import GuardedStep
    from ..telemetry import Metrics

    Hurry: TypeAlias = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
    """Has uploads go on; returns those of which that cannot be asked yet."""
    Noted: TypeAlias = Callable[[], Awaitable[Sequence[str]]]
    """Returns uploads that other instances have held."""

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


def places_of(state: ScannerState) -> list[Check]:
    """Tell which of several engines that stand in for each other are left alone."""
    hint = "The others do its work. Look at it; it is taken back by itself when it finds EICAR."
    return [
        Check(f"{state.scanner} at {place.address}", ok=False, detail=place.problem, hint=hint)
        for place in state.places
        if place.problem
    ]


class Scanning:
    """The step `virusscan` with its scanner, and what is to be seen of them."""

    def __init__(self, step: GuardedStep, scanner: Scanner, clock: Clock, *, test_every: timedelta) -> None:
        self.definition = step.definition
        self.held = step.held
        """The uploads that wait because the scanner was not there."""
        self._step = step
        self._scanner = scanner
        self._clock = clock
        self._test_every = test_every
        self._hurried_at = float("-inf")
        self._pause_seconds = 0.0
        self._heard_at = float("-inf")
        self._was_away = True
        self._left: Sequence[str] = ()
        """Those that could not be asked for yet, such as while the answer that failed is under way."""

    async def watch(self) -> None:
        """Put the scanner to the test again and again, until cancelled."""
        await self._step.watch(self._test_every, _SELF_TEST_AGAIN)

    async def look_after(self, hurry: Hurry, noted: Noted | None = None) -> None:
        """Try again and again a scanner that is left alone, and call `hurry` when it works, until cancelled.

        Otherwise nobody might ask it for hours: all uploads wait for their next try, in longer and longer pauses.
        `hurry` gets the IDs of the uploads that were held because the scanner was not there, and returns those that
        remain so. Each time costs an upload an attempt for which the scanner is away again, so the pauses between two
        times double, until an hour was quiet. `noted` tells which uploads others have held; it is asked when the
        scanner has been away, or we have.
        """
        while True:
            if any(state.circuit is Circuit.OPEN for state in self._states()):
                await self._step.check()  # the breaker makes a probe of it as soon as the pause is over
            if self._step.problem or any(state.circuit is not Circuit.CLOSED for state in self._states()):
                self._was_away = True
            elif self._clock.monotonic() - self._hurried_at >= self._pause_seconds:
                await self._go_on(hurry, noted)
            elif self._left:
                await self._have_go_on(self.held.take(self._left), hurry)
            await self._clock.sleep(_SELF_TEST_AGAIN)

    async def _go_on(self, hurry: Hurry, noted: Noted | None) -> None:
        others: Sequence[str] = ()
        if self._was_away:
            try:
                others = () if noted is None else await noted()
                self._was_away = False
            except PenstockError as error:
                log.warning("uploads_of_others_not_known", error=str(error))  # asked again next time
        held = list(dict.fromkeys([*self.held.take(), *others]))
        if await self._have_go_on(held, hurry):
            self._lengthen_pause()

    async def _have_go_on(self, held: Sequence[str], hurry: Hurry) -> int:
        """Ask for uploads; return how many of them go on. The others are held still, and asked for soon."""
        self._left = ()
        if not held:
            return 0
        try:
            self._left = await hurry(held)
        except PenstockError as error:
            log.warning("uploads_not_hurried", uploads=len(held), error=str(error))
            self._left = held
        self.hold(self._left)
        if gone := len(held) - len(self._left):
            log.info("uploads_hurried", uploads=gone)
        return gone

    def _lengthen_pause(self) -> None:
        now = self._clock.monotonic()
        long_ago = now - self._hurried_at > _HURRY_PAUSE_LIMIT_SECONDS
        doubled = min(2 * self._pause_seconds, _HURRY_PAUSE_LIMIT_SECONDS)
        self._pause_seconds = _HURRY_PAUSE_SECONDS if long_ago else doubled
        self._hurried_at = now

    def hold(self, upload_ids: Iterable[str]) -> None:
        """Have uploads hurried that wait for another attempt."""
        for upload_id in upload_ids:
            self.held.hold(upload_id)

    def on_held(self, keep: Callable[[str], Awaitable[None]]) -> None:
        """Have `keep` called with each upload that is held, before its answer is given."""
        self._step.on_held = keep

    def somebody_works(self) -> None:
        """Hear that another instance has uploads go on: its scanner works, so ours is tried, even if it rests."""
        now = self._clock.monotonic()
        if now - self._heard_at >= _SELF_TEST_AGAIN.total_seconds() and isinstance(self._scanner, SupportsTryNow):
            self._heard_at = now
            self._scanner.try_now()

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
            checks += places_of(state)
            if state.outdated:
                checks.append(Check(f"rules of {state.scanner}", ok=False, detail=state.outdated, hint="Correct them."))
        return checks

    def look_up(self, metrics: Metrics) -> None:
        """Set the metrics of the scanner."""
        metrics.scanner_ready.set(not self._step.problem)
        for state in self._states():
            metrics.scanner_rules_outdated.labels(state.scanner).set(bool(state.outdated))
            for place in state.places:
                metrics.scanner_place_up.labels(state.scanner, place.address).set(not place.problem)
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
