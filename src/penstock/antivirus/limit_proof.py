"""Up to which size a scanner was seen to look at files, lately: larger ones wait until it has been seen.

A scanner that is started again with smaller limits says "clean" as before of what it does not look at any more, and
tells nobody. So a proof counts for a while only, and for nothing once there is a reason to think that something is not
as it was. A large limit is proved while smaller files are scanned already, so that nobody waits minutes for a server
to start.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from ..errors import PenstockError
from .base import ScannerUnavailable
from .limit_probe import SMALL_BYTES, check_limit

if TYPE_CHECKING:
    from ..clock import Clock
    from .base import Scanner

log = structlog.get_logger(__name__)

AT_ONCE_BYTES: Final = 32 * 1024 * 1024
"""What is proved before the scanner is used at all; a second, for an engine on a slow network a few."""
_RENEWED_AFTER: Final = timedelta(minutes=10).total_seconds()
"""How old a proof is when the next self-test makes it anew."""
_COUNTS_FOR: Final = timedelta(minutes=15).total_seconds()
"""How old a proof may be that counts; self-tests, which are made more often, renew it before."""
_TRIES: Final = 3
"""So often a proof is begun anew because something changed while it was made."""


class LimitProof:
    """Up to which size a scanner was seen to look at files.

    A self-test proves `at_once_bytes`, or the whole limit where that is less. The rest is proved in the background.
    Once that has failed, each further self-test tries it again and fails with it. A file of more than is proved waits
    until it is, whether there was a self-test or not. Whoever waits for the same proof shares it.

    Where the scanner refuses a file as large as that, in so many words, nothing is known of smaller ones. Then half
    the size is tried, and so on; and of a size between what it looks at and what it refuses, that very size.

    Args:
        scanner: Whose limit it is. Its `scan` is to call `wait_for`, and to scan for the proof itself meanwhile.
        limit_bytes: How large a file it is said to look at.
        because: See `check_limit`.
        clock: Measures how old a proof is.
        at_once_bytes: See above.
    """

    def __init__(
        self,
        scanner: Scanner,
        *,
        limit_bytes: int,
        because: str,
        clock: Clock,
        at_once_bytes: int = AT_ONCE_BYTES,
    ) -> None:
        self._scanner = scanner
        self._limit_bytes = limit_bytes
        self._because = because
        self._clock = clock
        self._at_once_bytes = min(limit_bytes, at_once_bytes)
        self._proved_at: dict[int, float] = {}
        """When the proofs that count were begun, by size."""
        self._refused_at: dict[int, float] = {}
        """The same of sizes that the scanner refuses."""
        self._proofs: dict[int, asyncio.Task[None]] = {}
        """Those that are being made, by size."""
        self._rest_failed = False
        """Whether the latest proof of the whole limit has failed."""
        self._exchanged = 0
        """How often the scanner has become another one, as far as we know."""

    async def go_on(self) -> None:
        """Prove what a self-test has to; the other errors of `Scanner.scan` likewise.

        Raises:
            SelfTestFailed: the limit is smaller than said.
        """
        if not self._is_known(self._at_once_bytes, _RENEWED_AFTER):
            await self._prove(self._at_once_bytes)
        if self._is_known(self._limit_bytes, _RENEWED_AFTER):
            return
        failed = self._rest_failed
        self._begin(self._limit_bytes)
        if failed:
            await self._prove(self._limit_bytes)

    async def wait_for(self, size_bytes: int) -> None:
        """Return when files of this size are known to be looked at, or refused; have it proved if nobody does.

        Raises:
            SelfTestFailed: they are called clean without a look; the other errors of `Scanner.scan` likewise.
        """
        if size_bytes <= SMALL_BYTES or asyncio.current_task() in self._proofs.values():
            return
        if not self._is_known(size_bytes, _COUNTS_FOR):
            await self._prove(self._at_once_bytes if size_bytes <= self._at_once_bytes else self._limit_bytes)
        if not self._is_known(size_bytes, _COUNTS_FOR):
            await self._prove(size_bytes)

    async def finish(self) -> None:
        """Wait until the whole limit is proved; raises like `go_on`."""
        await self.wait_for(self._limit_bytes)

    def doubt(self) -> None:
        """Take nothing for proved: the scanner has failed, and may have been started again.

        What is being proved just now will count, for whoever answers that is there at the end.
        """
        self._proved_at.clear()
        self._refused_at.clear()

    def forget(self) -> None:
        """Take nothing for proved, nor what is being proved just now: it is another scanner from now on."""
        self.doubt()
        self._exchanged += 1

    async def close(self) -> None:
        """Give up what is still to be proved."""
        proofs = list(self._proofs.values())
        for proof in proofs:
            proof.cancel()
        await asyncio.gather(*proofs, return_exceptions=True)

    def _is_known(self, size_bytes: int, not_older_seconds: float) -> bool:
        since = self._clock.monotonic() - not_older_seconds
        proved = any(size >= size_bytes and at > since for size, at in self._proved_at.items())
        return proved or any(size <= size_bytes and at > since for size, at in self._refused_at.items())

    def _begin(self, size_bytes: int) -> asyncio.Task[None]:
        """Have a size proved, in a task of its own: whoever waits for it may give up, and the others still wait."""
        proof = self._proofs.get(size_bytes)
        if proof is None or proof.done():
            proof = self._proofs[size_bytes] = asyncio.create_task(self._look(size_bytes))
            proof.add_done_callback(partial(self._ended, size_bytes))
        return proof

    async def _prove(self, size_bytes: int) -> None:
        proof = self._begin(size_bytes)
        await asyncio.wait({proof})
        if proof.cancelled():
            raise ScannerUnavailable(f"the scanner {self._scanner.name} has been closed")
        proof.result()

    async def _look(self, size_bytes: int) -> None:
        for _ in range(_TRIES):
            exchanged, began_at = self._exchanged, self._clock.monotonic()
            try:
                looked, refused = await self._halve(size_bytes)
            except BaseException:
                self.doubt()
                raise
            if exchanged == self._exchanged:
                self._keep(looked, refused, began_at)
                return
        raise ScannerUnavailable(
            f"the scanner {self._scanner.name} becomes another one all the time: nobody can tell how large a file it "
            "looks at"
        )

    async def _halve(self, size_bytes: int) -> tuple[int, int | None]:
        """Return up to which size it looks, and the smallest larger one that it refused."""
        refused: int | None = None
        while not await check_limit(self._scanner, limit_bytes=size_bytes, because=self._because):
            refused, size_bytes = size_bytes, size_bytes // 2
        return size_bytes, refused

    def _keep(self, looked: int, refused: int | None, began_at: float) -> None:
        """Keep what a proof has shown, and none that says less and is no younger."""
        self._proved_at = {size: at for size, at in self._proved_at.items() if size > looked or at > began_at}
        self._proved_at[looked] = began_at
        if refused is not None:
            log.warning("scanner_refuses", scanner=self._scanner.name, size_bytes=refused, told_bytes=self._limit_bytes)
            self._refused_at = {size: at for size, at in self._refused_at.items() if size < refused or at > began_at}
            self._refused_at[refused] = began_at

    def _ended(self, size_bytes: int, proof: asyncio.Task[None]) -> None:
        if self._proofs.get(size_bytes) is proof:
            del self._proofs[size_bytes]
        error = None if proof.cancelled() else proof.exception()
        if size_bytes == self._limit_bytes:
            self._rest_failed = proof.cancelled() or error is not None
        if isinstance(error, PenstockError):
            log.warning("scanner_limit_not_proved", scanner=self._scanner.name, error=str(error))
        elif error is not None:
            log.error("scanner_limit_not_proved", scanner=self._scanner.name, exc_info=error)
