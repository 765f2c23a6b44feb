"""A circuit breaker: a scanner that fails again and again is left alone for a while, and then tried with one request.

That spares a scanner that is coming up the load of all that wait for it, and whoever waits the time until it gives up.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self

import msgspec
import structlog

from ..errors import PenstockError
from .base import (
    Circuit,
    Scanner,
    ScannerProtocolError,
    ScannerState,
    ScannerUnavailable,
    ScannerVersion,
    ScanReport,
    ScanTimeout,
    Source,
    SupportsStates,
)
from .deadline import give_up_after

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..clock import Clock

log = structlog.get_logger(__name__)

_FAILURES = (ScannerUnavailable, ScannerProtocolError, ScanTimeout)
"""What says something about the scanner; other errors are about the bytes."""
_PROOF: Final = timedelta(seconds=10)
"""How long a scanner may take for a self-test that shows that slow files, not it, are the trouble."""


class ScannerResting(ScannerUnavailable):
    """The scanner was not asked, because it has failed too often in a row."""

    code = "scanner-resting"


class GuardedScanner(Scanner):
    """Asks a scanner as long as it answers.

    After `failures` requests in a row that failed it is not asked for `pause`. The first request after that is the
    probe: if it goes well, all are let through again, if not, the scanner rests once more. Scans that took too long may
    be the fault of their files: it rests because of them only if it does not pass a self-test either.

    Args:
        scanner: Opened and closed with this one.
        clock: Measures the pause.
        failures: How many in a row are too many; at least 1.
        pause: How long the scanner rests.
    """

    def __init__(self, scanner: Scanner, *, clock: Clock, failures: int, pause: timedelta) -> None:
        self.name = scanner.name
        self._scanner = scanner
        self._clock = clock
        self._limit = failures
        self._pause = pause
        self._failures = 0
        self._resting_until: float | None = None
        self._probing = False
        self._proving = False
        self._last_error = ""

    async def __aenter__(self) -> Self:
        await self._scanner.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._scanner.__aexit__(*exc_info)

    def states(self) -> list[ScannerState]:
        """Tell whether it is asked, beside what it tells itself."""
        own = self._scanner.states() if isinstance(self._scanner, SupportsStates) else ()
        state = next(iter(own), ScannerState(scanner=self.name))
        return [
            msgspec.structs.replace(
                state, circuit=self._circuit(), failures=self._failures, last_error=self._last_error
            )
        ]

    def try_now(self) -> None:
        """Make the next request the probe, although the pause is not over; see `SupportsTryNow`."""
        if self._resting_until is not None:
            self._resting_until = min(self._resting_until, self._clock.monotonic())

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        """Have it look at the file, if it is asked at all; see `Scanner.scan`.

        Raises:
            ScannerResting: it is not.
        """
        async with self._asking(slow_files=True):
            return await self._scanner.scan(source, size_bytes=size_bytes, timeout=timeout)

    async def version(self) -> ScannerVersion:
        """Ask it, if it is asked at all; see `Scanner.version`."""
        async with self._asking():
            return await self._scanner.version()

    async def self_test(self) -> None:
        """Put it to the test, if it is asked at all; see `Scanner.self_test`."""
        async with self._asking():
            await self._scanner.self_test()

    def _circuit(self) -> Circuit:
        if self._resting_until is None:
            return Circuit.CLOSED
        return Circuit.PROBING if self._probing else Circuit.OPEN

    @asynccontextmanager
    async def _asking(self, *, slow_files: bool = False) -> AsyncIterator[None]:
        probe = self._admit()
        try:
            yield
        except _FAILURES as error:
            last = probe or (self._resting_until is None and self._failures + 1 >= self._limit)
            if not (slow_files and last and isinstance(error, ScanTimeout)):
                self._failed(error, last=last)
            elif self._proving:
                self._note(error)  # whether it rests is decided by who finds out just now
            elif await self._is_well():
                self._answered()
            else:
                self._failed(error, last=True)
            raise
        else:
            self._answered()
        finally:
            if probe:
                self._probing = False

    def _admit(self) -> bool:
        """Return whether this request is the probe.

        Raises:
            ScannerResting: it must not be made.
        """
        if self._resting_until is None:
            return False
        left = self._resting_until - self._clock.monotonic()
        if left > 0 or self._probing:
            when = f"It is tried again in {left:.0f} s." if left > 0 else "It is being tried again just now."
            raise ScannerResting(
                f"the scanner {self.name} is not asked, for it has failed {self._failures} times in a row: "
                f"{self._last_error}. {when}"
            )
        self._probing = True
        return True

    async def _is_well(self) -> bool:
        """Tell whether the scanner passes a self-test now."""
        self._proving = True
        try:
            async with give_up_after(_PROOF, f"the scanner {self.name} to pass a self-test"):
                await self._scanner.self_test()
        except PenstockError:
            return False
        finally:
            self._proving = False
        log.info("scanner_is_well", scanner=self.name, failures=self._failures)
        return True

    def _failed(self, error: Exception, *, last: bool) -> None:
        """Count a failure; after the last one that is borne, have the scanner rest."""
        self._note(error)
        if last:
            self._resting_until = self._clock.monotonic() + self._pause.total_seconds()
            log.warning("scanner_rests", scanner=self.name, failures=self._failures, error=self._last_error)

    def _note(self, error: Exception) -> None:
        self._failures += 1
        self._last_error = str(error)

    def _answered(self) -> None:
        if self._resting_until is not None:
            log.info("scanner_asked_again", scanner=self.name, failures=self._failures)
        self._failures, self._resting_until, self._last_error = 0, None, ""
