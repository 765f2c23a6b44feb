"""The proof that a scanner works: it finds what every scanner finds, and nothing where nothing is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import ByteStream, Scanner, ScanReport, SelfTestFailed, Verdict
from .eicar import eicar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HARMLESS = b"Penstock checks with these bytes that its virus scanner lets harmless files pass.\n"


async def check_scanner(scanner: Scanner) -> None:
    """Have the EICAR test file and some harmless bytes scanned; return when both verdicts are right.

    Raises:
        SelfTestFailed: one is wrong.
        ScannerUnavailable: the scanner is not there; the other errors of `Scanner.scan` likewise.
    """
    await check_finds(scanner)
    passed = await _scan(scanner, HARMLESS)
    if passed.verdict is not Verdict.CLEAN:
        raise SelfTestFailed(
            f"the scanner {scanner.name} says {passed.verdict} ({passed.signature or passed.detail}) of harmless "
            "bytes. It would reject everything: check its signatures or rules."
        )


async def check_finds(scanner: Scanner) -> None:
    """Have the EICAR test file scanned; return when it is found.

    Raises:
        SelfTestFailed: it is not.
        ScannerUnavailable: the scanner is not there; the other errors of `Scanner.scan` likewise.
    """
    found = await _scan(scanner, eicar())
    if found.verdict is not Verdict.INFECTED:
        raise SelfTestFailed(
            f"the scanner {scanner.name} says {found.verdict} of the EICAR test file. It would let viruses pass: "
            "check its signatures or rules."
        )


async def _scan(scanner: Scanner, data: bytes) -> ScanReport:
    return await scanner.scan(ByteStream(_once(data)), size_bytes=len(data))


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
