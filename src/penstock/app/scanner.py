"""The scanner that the settings choose, and the step that it serves."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from .. import backends
from ..antivirus.limits import Oversize
from ..antivirus.several import Agreement, SeveralScanners
from ..events.types import VIRUSSCAN, Outcome
from ..health import Check

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextlib import AsyncExitStack

    from ..clock import Clock
    from ..settings import Settings
    from ..steps.base import GuardedStep

_SELF_TEST_EVERY: Final = timedelta(minutes=5)
_SELF_TEST_AGAIN: Final = timedelta(seconds=5)


def scanner_of(settings: Settings, clock: Clock) -> Any:
    """Return the scanner that the settings choose, or all of them as one, not opened yet.

    Raises:
        ConfigurationError: one is not known, what it needs is not installed, or a setting of it is wrong.
    """
    scanners = [_scanner(name, settings, clock) for name in settings.antivirus_scanner]
    if len(scanners) == 1:
        return scanners[0]
    return SeveralScanners(
        scanners,
        agreement=Agreement(settings.antivirus_scanner_agreement),
        clock=clock,
        spool_folder=settings.delivery_temp_dir,
    )


def _scanner(name: str, settings: Settings, clock: Clock) -> Any:
    backend = backends.load("scanner", name)
    match name:
        case "clamav":
            return backend(
                settings.antivirus_clamav_socket,
                clock=clock,
                stream_max_bytes=settings.antivirus_clamav_stream_max_length_bytes,
                max_file_bytes=settings.antivirus_clamav_max_file_size_bytes,
                max_scans=settings.antivirus_workers,
            )
        case "yara":
            workers = min(settings.antivirus_workers, os.cpu_count() or 1)
            return backend(
                settings.antivirus_yara_rules, clock=clock, max_workers=workers, spool_folder=settings.delivery_temp_dir
            )
        case _:  # from another package, which reads settings of its own
            return backend(clock=clock)


async def open_virusscan(stack: AsyncExitStack, settings: Settings, clock: Clock) -> GuardedStep:
    """Open the scanner and put it to the test; `stack` closes it."""
    scanner = await stack.enter_async_context(scanner_of(settings, clock))
    virusscan: GuardedStep = backends.load("step", VIRUSSCAN)(
        scanner,
        clock=clock,
        workers=settings.antivirus_workers,
        infected=Outcome(settings.antivirus_infected_file_handling),
        limit_bytes=settings.antivirus_max_scan_size_bytes,
        oversize=Oversize(settings.antivirus_max_scan_size_mode),
        timeout=settings.antivirus_scan_timeout,
    )
    await virusscan.check()
    return virusscan


def watching(virusscan: GuardedStep) -> Coroutine[Any, Any, None]:
    """Return the loop that puts the scanner to the test again and again."""
    return virusscan.watch(_SELF_TEST_EVERY, _SELF_TEST_AGAIN)


def check_of(virusscan: GuardedStep, settings: Settings) -> Check:
    """Tell whether the scanner is used, and if not, why."""
    problem = virusscan.problem
    detail = problem or f"{' and '.join(settings.antivirus_scanner)}: the EICAR test file is found."
    hint = "Uploads are held back until it works; then they go on by themselves." if problem else ""
    return Check("scanner", not problem, detail, hint, gates=True)
