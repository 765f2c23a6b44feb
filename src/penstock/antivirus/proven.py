"""Makes sure that what calls a file clean knew viruses when it looked at it.

A scanner may begin to miss everything while it answers as ever: clamd that was started again with another folder of
signatures, an ICAP server whose engine went away. So each clean verdict waits until it is certain that nothing has
changed since EICAR was found: the engine is asked for its version *after* the scan, and if that is a new one, or if it
does not tell the version of its signatures, it has to find EICAR again. Verdicts that come at the same time share that.
A new one also has to be seen to look at files as large as this one: it may have been set up anew.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self

import msgspec
import structlog

from ..errors import Unavailable
from .base import (
    Scanner,
    ScannerState,
    ScannerVersion,
    ScanReport,
    SelfTestFailed,
    Source,
    SupportsLimitProof,
    SupportsStates,
    Verdict,
)
from .self_test import check_finds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..clock import Clock

log = structlog.get_logger(__name__)

_TRIES: Final = 3
"""So often a self-test is repeated because the engine changed while it ran."""


class ProvenScanner(Scanner):
    """Lets a clean verdict count only when the scanner has been seen to find EICAR since it last changed.

    Args:
        scanner: Opened and closed with this one.
        clock: Measures how old a proof is.
        tells_changes: Whether the version of the signatures, where the scanner tells one, changes whenever they do.
        believed_for: How old a proof may be that counts although nobody can tell whether something has changed since.
    """

    def __init__(
        self, scanner: Scanner, *, clock: Clock, tells_changes: bool, believed_for: timedelta = timedelta(0)
    ) -> None:
        self.name = scanner.name
        self._scanner = scanner
        self._clock = clock
        self._tells_changes = tells_changes
        self._believed_seconds = believed_for.total_seconds()
        self._proven: ScannerVersion | None = None
        """With this version it has found EICAR; None: it has to find it again."""
        self._proven_at = float("-inf")
        self._looking = asyncio.Lock()
        self._ended = 0
        """How many scans have come to a clean verdict."""
        self._looked_after = 0
        """The latest look began when so many had."""
        self._trouble: Unavailable | None = None
        """How the latest look failed; None when it went well."""

    async def __aenter__(self) -> Self:
        await self._scanner.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._scanner.__aexit__(*exc_info)

    def states(self) -> Sequence[ScannerState]:
        """Tell what the scanner tells of itself."""
        return self._scanner.states() if isinstance(self._scanner, SupportsStates) else ()

    async def version(self) -> ScannerVersion:
        """Ask the scanner; see `Scanner.version`."""
        return await self._scanner.version()

    async def self_test(self) -> None:
        """Put the scanner to its own test, again if it was exchanged meanwhile; see `Scanner.self_test`."""
        try:
            version = await self._tested()
        except Unavailable:
            self._proven = None
            raise
        self._prove(version)

    async def _tested(self) -> ScannerVersion:
        """Return the version that has passed a self-test from its beginning to its end."""
        for _ in range(_TRIES):
            before = await self._scanner.version()
            await self._scanner.self_test()
            if await self._scanner.version() == before:
                return before
        raise SelfTestFailed(f"the scanner {self.name} gives itself another version all the time")

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        """Have the scanner look at the file; see `Scanner.scan`.

        Raises:
            SelfTestFailed: it says clean, but does not find EICAR any more, or not in a file of this size.
        """
        report = await self._scanner.scan(source, size_bytes=size_bytes, timeout=timeout)
        if report.verdict is not Verdict.CLEAN:
            return report
        version = await self._vouched()
        if isinstance(self._scanner, SupportsLimitProof):
            await self._scanner.limit_proved(size_bytes)
        return msgspec.structs.replace(report, engine_version=version.engine, database_version=version.database)

    async def _vouched(self) -> ScannerVersion:
        """Return the version with which EICAR is found, as of a look that began after this call."""
        self._ended += 1
        ticket = self._ended
        async with self._looking:
            if self._looked_after < ticket:
                await self._look_once()
            if self._trouble is not None:
                raise type(self._trouble)(str(self._trouble)) from self._trouble
            if self._proven is None:
                raise SelfTestFailed(f"nobody can tell whether the scanner {self.name} still finds EICAR")
            return self._proven

    async def _look_once(self) -> None:
        self._looked_after, self._trouble = self._ended, None
        try:
            await self._look()
        except Unavailable as error:
            self._trouble = error
        except BaseException:
            self._looked_after = 0  # whoever waits has to look again
            raise

    async def _look(self) -> None:
        if self._is_fresh():
            return
        version = await self._scanner.version()
        if version != self._proven:
            if self._proven is not None:
                log.warning("scanner_changed", scanner=self.name, before=self._proven.database, now=version.database)
            await self.self_test()
        elif not (self._tells_changes and version.database):
            await self._find_again(version)

    def _is_fresh(self) -> bool:
        return self._proven is not None and self._clock.monotonic() - self._proven_at < self._believed_seconds

    async def _find_again(self, version: ScannerVersion) -> None:
        self._proven = None
        await check_finds(self._scanner)
        self._prove(version)

    def _prove(self, version: ScannerVersion) -> None:
        self._proven, self._proven_at = version, self._clock.monotonic()
