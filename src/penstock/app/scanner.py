"""The scanner that the settings choose, and the step that it serves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .. import backends
from ..antivirus.limits import Oversize
from ..events.types import VIRUSSCAN, Outcome

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from ..clock import Clock
    from ..core.policy import Policy
    from ..settings import Settings
    from ..steps.base import GuardedStep


def scanner_of(settings: Settings, clock: Clock) -> Any:
    """Return the scanner that the settings choose, not opened yet."""
    backend = backends.load("scanner", settings.antivirus_scanner)
    if settings.antivirus_scanner == "clamav":
        return backend(
            settings.antivirus_clamav_socket,
            clock=clock,
            stream_max_bytes=settings.antivirus_clamav_stream_max_length_bytes,
            max_file_bytes=settings.antivirus_clamav_max_file_size_bytes,
            max_scans=settings.antivirus_workers,
        )
    workers = min(settings.antivirus_workers, os.cpu_count() or 1)
    return backend(settings.antivirus_yara_rules, clock=clock, max_workers=workers)


async def open_virusscan(stack: AsyncExitStack, settings: Settings, policy: Policy, clock: Clock) -> GuardedStep | None:
    """Open the scanner and put it to the test, if scanning is among the steps; `stack` closes it."""
    if VIRUSSCAN not in policy.every_step:
        return None
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
