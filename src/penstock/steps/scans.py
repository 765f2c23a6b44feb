"""Has a scanner look at uploads, and shows meanwhile that it does."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from ..antivirus.base import ByteStream, LocalFile, SupportsStates
from ..antivirus.limits import TimeAllowance
from .life import Life

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..antivirus.base import Scanner, ScanReport, Source
    from ..antivirus.limits import ScanPlan
    from ..clock import Clock
    from .upload import StepUpload


class Scans:
    """Scans uploads with one scanner.

    What would give up on a silent step hears of a scan for as long as one may take that ends well. A scanner gives up
    in time by itself; should one not, it is not called alive for ever.

    Args:
        scanner: looks at the files.
        clock: measures how long it has been seen to do nothing.
        timeout: for each scan; None: what the scanner allows for a file of the size.
        slowest: the longest that the scanner may take for a reason of its own, whatever `timeout` says.
    """

    def __init__(
        self, scanner: Scanner, clock: Clock, *, timeout: timedelta | None = None, slowest: timedelta = timedelta(0)
    ) -> None:
        self._scanner = scanner
        self._clock = clock
        self._timeout = timeout
        self._slowest = slowest

    async def scan(self, upload: StepUpload, plan: ScanPlan) -> ScanReport:
        """Have the scanner look at as much of an upload as is planned; raises like `Scanner.scan`."""
        life = Life(upload, self._clock, believed_for=self._longest(plan.scan_bytes))
        async with life.shown():
            source = _source(upload, plan, life)
            return await self._scanner.scan(source, size_bytes=plan.scan_bytes, timeout=self._timeout)

    def _longest(self, size_bytes: int) -> timedelta:
        """Return how long nothing may be read while a scan goes on that ends well.

        Each of several engines may be asked in turn; and as much again is for what comes before and after, such as the
        proof that EICAR is found in a file as large as this.
        """
        states = self._scanner.states() if isinstance(self._scanner, SupportsStates) else ()
        engines = max([1, *(len(state.places) for state in states)])
        allowed = TimeAllowance().for_size(size_bytes) if self._timeout is None else self._timeout
        return max(allowed, self._slowest) * (engines + 1)


def _source(upload: StepUpload, plan: ScanPlan, life: Life) -> Source:
    if plan.complete and upload.is_file:
        return LocalFile(upload.path)

    def read() -> AsyncGenerator[bytes, None]:
        return life.noting(upload.stream(stop=None if plan.complete else plan.scan_bytes))

    return ByteStream(read(), again=read)
