"""Proving a large limit while smaller files are scanned already, so that nobody waits minutes for a server to start."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from ..errors import PenstockError
from .base import ScannerUnavailable
from .limit_probe import check_limit

if TYPE_CHECKING:
    from .base import Scanner

log = structlog.get_logger(__name__)

AT_ONCE_BYTES: Final = 32 * 1024 * 1024
"""What is proved before the scanner is used at all; a second, for an engine on a slow network a few."""


class LimitProof:
    """Up to which size a scanner was seen to look at files.

    The first self-test proves `at_once_bytes`, or the whole limit where that is less. The rest is proved in the
    background, and files that are larger than what is proved wait for it. Once that has failed, each further
    self-test tries it again and fails with it.

    Args:
        scanner: Whose limit it is. Its `scan` is to call `wait_for`.
        limit_bytes: How large a file it is said to look at.
        because: See `check_limit`.
        at_once_bytes: See above.
    """

    def __init__(self, scanner: Scanner, *, limit_bytes: int, because: str, at_once_bytes: int = AT_ONCE_BYTES) -> None:
        self._scanner = scanner
        self._limit_bytes = limit_bytes
        self._because = because
        self._at_once_bytes = min(limit_bytes, at_once_bytes)
        self._proven_bytes = 0
        self._rest: asyncio.Task[None] | None = None
        self._prover: asyncio.Task[object] | None = None
        """Whose scans wait for nobody."""

    async def go_on(self) -> None:
        """Prove what a self-test has to; the other errors of `Scanner.scan` likewise.

        Raises:
            SelfTestFailed: the limit is smaller than said.
        """
        if self._proven_bytes < self._at_once_bytes:
            await self._prove(self._at_once_bytes)
        if self._proven_bytes == self._limit_bytes:
            return
        if self._rest is None:
            self._rest = asyncio.create_task(self._prove(self._limit_bytes))
            self._rest.add_done_callback(self._tell)
        elif self._rest.done():
            await self._prove(self._limit_bytes)

    async def wait_for(self, size_bytes: int) -> None:
        """Return when files of this size are known to be looked at, or nobody has begun to find out.

        Raises:
            SelfTestFailed: they are not; the other errors of `Scanner.scan` likewise.
        """
        if size_bytes > self._proven_bytes and asyncio.current_task() is not self._prover:
            await self.finish()

    async def finish(self) -> None:
        """Wait until all is proved that a self-test has begun to prove; raises like `go_on`."""
        if self._rest is None or self._proven_bytes == self._limit_bytes:
            return
        await asyncio.wait({self._rest})
        if self._rest.cancelled():
            raise ScannerUnavailable(f"the scanner {self._scanner.name} has been closed")
        if self._proven_bytes < self._limit_bytes:
            self._rest.result()

    async def close(self) -> None:
        """Give up what is still to be proved."""
        if self._rest is not None:
            self._rest.cancel()
            await asyncio.gather(self._rest, return_exceptions=True)

    async def _prove(self, size_bytes: int) -> None:
        self._prover = asyncio.current_task()
        try:
            await check_limit(self._scanner, limit_bytes=size_bytes, because=self._because)
        finally:
            self._prover = None
        self._proven_bytes = size_bytes

    def _tell(self, rest: asyncio.Task[None]) -> None:
        error = None if rest.cancelled() else rest.exception()
        if isinstance(error, PenstockError):
            log.error("scanner_limit_not_proved", scanner=self._scanner.name, error=str(error))
        elif error is not None:
            log.error("scanner_limit_not_proved", scanner=self._scanner.name, exc_info=error)
