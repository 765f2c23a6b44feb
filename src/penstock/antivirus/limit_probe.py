"""Finds out whether an engine really looks at files as large as we are told that it does.

A file above clamd's MaxFileSize or MaxScanSize is answered with "OK" as if it had been scanned (unless it is set to
`AlertExceedsMax yes`), and ICAP servers have limits of the same kind. Whoever tells us larger limits than there are
would let unscanned files pass as clean. So we show the engine a file of exactly the size that we are told is possible,
with EICAR at its beginning.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from .base import LocalFile, Scanner, ScannerUnavailable, ScanReport, SelfTestFailed, Verdict
from .eicar import eicar
from .limits import tells_limits

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger(__name__)

SMALL_BYTES = 64 * 1024
"""Nobody has a limit below this."""


async def check_limit(scanner: Scanner, *, limit_bytes: int, because: str) -> bool:
    """Have a file of `limit_bytes` scanned that begins with EICAR and goes on with zeros.

    Returns whether it was looked at. One that was refused says nothing of smaller ones: what refuses it may be another
    limit than that of the engine, such as one for streams, or of a server in front of it.

    `because` tells people what a wrong answer comes from, and what to do.

    Raises:
        SelfTestFailed: it is called clean, though a small file of the same kind is not.
    """
    if limit_bytes <= SMALL_BYTES:
        return True
    report = await _probe(scanner, limit_bytes)
    if report.verdict is not Verdict.CLEAN:
        return report.verdict is Verdict.INFECTED or tells_limits(report.signature)
    if (await _probe(scanner, SMALL_BYTES)).verdict is Verdict.CLEAN:
        # Its signatures know EICAR as a file of 68 bytes only, so nothing follows from the larger one.
        log.warning("scanner_limit_not_verified", scanner=scanner.name, limit_bytes=limit_bytes)
        return True
    raise SelfTestFailed(
        f"the scanner {scanner.name} says that a file of {limit_bytes} bytes is clean without having looked at it: "
        f"{because}"
    )


async def _probe(scanner: Scanner, size_bytes: int) -> ScanReport:
    with _eicar_and_zeros(size_bytes) as path:
        return await scanner.scan(LocalFile(path), size_bytes=size_bytes)


@contextmanager
def _eicar_and_zeros(size_bytes: int) -> Iterator[Path]:
    # The zeros are a hole in the file: they take no room on the disk and no time to write.
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
            file.write(eicar())
            file.truncate(size_bytes)
        except OSError as error:
            raise ScannerUnavailable(f"there is no temporary file for a self-test: {error}. Make room.") from error
        yield Path(f"/proc/self/fd/{file.fileno()}")
