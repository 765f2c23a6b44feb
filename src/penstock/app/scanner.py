"""The scanner that the settings choose, and the step that it serves."""

from __future__ import annotations

import os
import ssl
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .. import backends
from ..antivirus.breaker import GuardedScanner
from ..antivirus.handling import Handling
from ..antivirus.limits import Oversize, Severity
from ..antivirus.proven import ProvenScanner
from ..antivirus.several import Agreement, SeveralScanners
from ..errors import ConfigurationError
from ..events.types import VIRUSSCAN, Outcome
from .alerts import Alerts
from .scanning import Scanning

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from ..antivirus.base import Scanner
    from ..clock import Clock
    from ..settings import Settings
    from ..steps.base import GuardedStep
    from ..telemetry import Metrics


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
                max_scan_time=settings.antivirus_clamav_max_scan_time,
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
        max_scan_time=settings.antivirus_icap_max_scan_time,
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


def _handling_of(settings: Settings) -> Handling:
    return Handling(
        infected=Outcome(settings.antivirus_infected_file_handling),
        too_large=Outcome(settings.antivirus_too_large_file_handling),
        unscannable=Outcome(settings.antivirus_unscannable_file_handling),
        limit_bytes=settings.antivirus_max_scan_size_bytes,
        oversize=Oversize(settings.antivirus_max_scan_size_mode),
    )


async def open_virusscan(
    stack: AsyncExitStack, settings: Settings, clock: Clock, metrics: Metrics | None = None
) -> Scanning:
    """Open the scanner and put it to the test; `stack` closes it. `metrics` counts what is found."""
    scanner = await stack.enter_async_context(scanner_of(settings, clock))
    virusscan: GuardedStep = backends.load("step", VIRUSSCAN)(
        scanner,
        clock=clock,
        workers=settings.antivirus_workers,
        handling=_handling_of(settings),
        timeout=settings.antivirus_scan_timeout,
        slowest=settings.antivirus_icap_scan_timeout or timedelta(0),
    )
    alerts = Alerts(settings.antivirus_alert_url, token=settings.antivirus_alert_token, clock=clock, metrics=metrics)
    virusscan.on_alert = (await stack.enter_async_context(alerts)).tell
    await virusscan.check()
    return Scanning(virusscan, scanner, clock, test_every=settings.antivirus_self_test_interval)
