from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Self

import pytest

from penstock.antivirus.base import (
    Scanner,
    ScannerUnavailable,
    ScannerVersion,
    ScanReport,
    SelfTestFailed,
    Source,
    Verdict,
)
from penstock.antivirus.limit_proof import LimitProof
from penstock.testing import eventually

KIB = 1024
AT_ONCE = 128 * KIB
TOLD = 1024 * KIB


class Limited(Scanner):
    """Finds EICAR in files up to its limit, and lets larger ones pass unseen; looks when it is let."""

    name = "limited"

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.looks = asyncio.Event()
        self.seen: list[int] = []
        self.proof = LimitProof(self, limit_bytes=TOLD, because="lower it", at_once_bytes=AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.proof.close()

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        await self.proof.wait_for(size_bytes)
        self.seen.append(size_bytes)
        if size_bytes > AT_ONCE:
            await self.looks.wait()
        return ScanReport(verdict=Verdict.INFECTED if size_bytes <= self.limit_bytes else Verdict.CLEAN, scanner="")

    async def version(self) -> ScannerVersion:
        return ScannerVersion(engine="")

    async def self_test(self) -> None:
        await self.proof.go_on()


@asynccontextmanager
async def scanning(scanner: Limited, size_bytes: int) -> AsyncIterator[asyncio.Task[ScanReport]]:
    task = asyncio.create_task(scanner.scan(None, size_bytes=size_bytes))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    yield task
    await asyncio.gather(task, return_exceptions=True)


async def test_small_files_are_scanned_while_larger_ones_wait_for_the_proof() -> None:
    async with Limited(TOLD) as scanner:
        await scanner.self_test()
        assert scanner.seen == [AT_ONCE]
        async with scanning(scanner, AT_ONCE) as small, scanning(scanner, AT_ONCE + 1) as large:
            await small
            await eventually(lambda: TOLD in scanner.seen)
            await scanner.self_test()  # meanwhile
            assert not large.done()
            assert AT_ONCE + 1 not in scanner.seen
            scanner.looks.set()
            assert (await large).verdict is Verdict.INFECTED
        await scanner.self_test()
        await scanner.proof.finish()
    assert scanner.seen.count(TOLD) == 1


async def test_a_limit_that_is_not_there_stops_larger_files_and_then_the_self_test_until_it_is() -> None:
    async with Limited(AT_ONCE) as scanner:
        await scanner.self_test()
        scanner.looks.set()
        with pytest.raises(SelfTestFailed, match="lower it"):
            await scanner.scan(None, size_bytes=AT_ONCE + 1)  # type: ignore[arg-type]
        assert AT_ONCE + 1 not in scanner.seen
        for _ in range(2):
            with pytest.raises(SelfTestFailed, match="lower it"):
                await scanner.self_test()
        with pytest.raises(SelfTestFailed, match="lower it"):
            await scanner.proof.finish()
        scanner.limit_bytes = TOLD
        await scanner.self_test()
        await scanner.proof.finish()
        assert (await scanner.scan(None, size_bytes=TOLD)).verdict is Verdict.INFECTED  # type: ignore[arg-type]


async def test_what_is_proved_at_once_fails_at_once() -> None:
    async with Limited(AT_ONCE - 1) as scanner:
        for _ in range(2):
            with pytest.raises(SelfTestFailed):
                await scanner.self_test()
        scanner.limit_bytes = AT_ONCE
        await scanner.self_test()


async def test_a_file_that_waits_when_the_scanner_is_closed_is_not_scanned() -> None:
    async with Limited(TOLD) as scanner:
        await scanner.self_test()
        async with scanning(scanner, TOLD) as large:
            await eventually(lambda: TOLD in scanner.seen)
            await scanner.proof.close()
            with pytest.raises(ScannerUnavailable, match="closed"):
                await large
