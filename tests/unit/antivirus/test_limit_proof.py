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
from penstock.testing import ManualClock, eventually

KIB = 1024
AT_ONCE = 128 * KIB
TOLD = 1024 * KIB


class Limited(Scanner):
    """Finds EICAR in files up to its limit, and lets larger ones pass unseen; looks when it is let.

    What is larger than `takes_bytes` it refuses.
    """

    name = "limited"

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.takes_bytes = 2**40
        self.clock = ManualClock()
        self.looks = asyncio.Event()
        self.seen: list[int] = []
        self.proof = LimitProof(self, limit_bytes=TOLD, because="lower it", clock=self.clock, at_once_bytes=AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.proof.close()

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        await self.proof.wait_for(size_bytes)
        self.seen.append(size_bytes)
        if size_bytes > AT_ONCE:
            await self.looks.wait()
        if size_bytes > self.takes_bytes:
            return ScanReport(verdict=Verdict.TOO_LARGE, scanner="")
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


async def large(scanner: Limited, size_bytes: int = TOLD) -> ScanReport:
    return await scanner.scan(None, size_bytes=size_bytes)  # type: ignore[arg-type]


async def test_it_is_proved_before_a_large_file_also_where_nobody_has_made_a_self_test() -> None:
    async with Limited(AT_ONCE) as scanner:
        scanner.looks.set()
        await large(scanner, 64 * KIB)
        assert scanner.seen == [64 * KIB]
        assert (await large(scanner, AT_ONCE)).verdict is Verdict.INFECTED
        assert scanner.seen == [64 * KIB, AT_ONCE, AT_ONCE]
        with pytest.raises(SelfTestFailed, match="lower it"):
            await large(scanner)


async def test_a_self_test_proves_it_again_every_ten_minutes() -> None:
    async with Limited(TOLD) as scanner:
        scanner.looks.set()
        await scanner.self_test()
        await scanner.proof.finish()
        await scanner.clock.advance(timedelta(minutes=9))
        await scanner.self_test()
        assert scanner.seen == [AT_ONCE, TOLD]
        await scanner.clock.advance(timedelta(minutes=2))
        scanner.limit_bytes = AT_ONCE
        await scanner.self_test()
        await eventually(lambda: scanner.seen[2:4] == [AT_ONCE, TOLD])
        with pytest.raises(SelfTestFailed):
            await scanner.self_test()
        with pytest.raises(SelfTestFailed):
            await large(scanner)


async def test_a_proof_that_is_too_old_counts_for_nothing() -> None:
    async with Limited(TOLD) as scanner:
        scanner.looks.set()
        await large(scanner)
        scanner.limit_bytes = AT_ONCE
        await scanner.clock.advance(timedelta(minutes=14))
        await large(scanner)  # nobody can know
        await scanner.clock.advance(timedelta(minutes=1))
        with pytest.raises(SelfTestFailed):
            await large(scanner)


async def test_after_a_failure_it_has_to_be_proved_again() -> None:
    async with Limited(TOLD) as scanner:
        scanner.looks.set()
        await large(scanner)
        await large(scanner)
        assert scanner.seen == [TOLD, TOLD, TOLD]
        scanner.proof.doubt()
        scanner.limit_bytes = AT_ONCE
        with pytest.raises(SelfTestFailed):
            await large(scanner)


async def test_what_was_being_proved_of_another_scanner_is_begun_anew() -> None:
    async with Limited(TOLD) as scanner, scanning(scanner, TOLD) as waiting:
        await eventually(lambda: scanner.seen == [TOLD])
        scanner.proof.forget()
        scanner.looks.set()
        await waiting
        assert scanner.seen == [TOLD, TOLD, TOLD]


async def test_who_gives_up_waiting_does_not_take_the_proof_from_the_others() -> None:
    async with Limited(TOLD) as scanner, scanning(scanner, TOLD) as first, scanning(scanner, TOLD) as second:
        await eventually(lambda: scanner.seen == [TOLD])
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        scanner.looks.set()
        await second
        assert scanner.seen == [TOLD, TOLD]


async def test_what_is_refused_says_nothing_of_smaller_files() -> None:
    """A limit for streams, or of a server in front, hides that of the engine, which tells nobody of its own."""
    async with Limited(TOLD // 4 - 1) as scanner:
        scanner.looks.set()
        scanner.takes_bytes = TOLD // 2 - 1
        for size_bytes in (TOLD, TOLD // 4):
            with pytest.raises(SelfTestFailed):
                await large(scanner, size_bytes)


async def test_a_size_between_what_is_looked_at_and_what_is_refused_is_tried_itself() -> None:
    async with Limited(TOLD // 4 + 100) as scanner:
        scanner.looks.set()
        scanner.takes_bytes = TOLD // 4 + 200
        assert (await large(scanner, TOLD // 4 + 100)).verdict is Verdict.INFECTED
        before = len(scanner.seen)
        await large(scanner, TOLD // 4 + 50)
        assert len(scanner.seen) == before + 1
        with pytest.raises(SelfTestFailed):
            await large(scanner, TOLD // 4 + 150)
        assert (await large(scanner, TOLD // 4 + 201)).verdict is Verdict.TOO_LARGE
