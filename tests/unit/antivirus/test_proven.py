"""When a clean verdict counts: what the scanner was seen to find since it last changed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Self

import pytest

from penstock.antivirus import (
    ByteStream,
    Scanner,
    ScannerUnavailable,
    ScannerVersion,
    ScanReport,
    SelfTestFailed,
    Source,
    Verdict,
)
from penstock.antivirus.eicar import eicar
from penstock.antivirus.proven import ProvenScanner
from penstock.antivirus.self_test import check_scanner
from penstock.testing import ManualClock


class Changing(Scanner):
    """Knows EICAR or not, and tells which signatures it has, or not."""

    name = "changing"

    def __init__(self, database: str = "1") -> None:
        self.database = database
        self.knows = True
        self.away = False
        self.asked: list[str] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        assert isinstance(source, ByteStream)
        content = b"".join([piece async for piece in source.pieces])
        found = self.knows and eicar() in content
        self.asked.append("eicar" if eicar() == content else "scan")
        await asyncio.sleep(0)
        await self.go_on.wait()
        return ScanReport(
            verdict=Verdict.INFECTED if found else Verdict.CLEAN,
            scanner=self.name,
            database_version="as it was",
            bytes_scanned=size_bytes,
        )

    async def version(self) -> ScannerVersion:
        self.asked.append("version")
        if self.away:
            raise ScannerUnavailable("it is away")
        return ScannerVersion(engine="changing 1", database=self.database)

    async def self_test(self) -> None:
        await check_scanner(self)


class Case:
    def __init__(self, database: str = "1", **options: Any) -> None:
        self.clock = ManualClock()
        self.inner = Changing(database)
        self.scanner = ProvenScanner(self.inner, clock=self.clock, **{"tells_changes": True, **options})

    async def scan(self, content: bytes = b"harmless!") -> ScanReport:
        async def pieces() -> Any:
            yield content

        return await self.scanner.scan(ByteStream(pieces()), size_bytes=len(content))

    async def asked_for(self) -> list[str]:
        """Return what is asked of the scanner for one harmless file."""
        self.inner.asked.clear()
        await self.scan()
        return self.inner.asked


async def test_as_long_as_its_version_is_the_same_that_is_enough() -> None:
    case = Case()
    await case.scanner.self_test()
    assert await case.asked_for() == ["scan", "version"]
    assert (await case.scan()).database_version == "1"
    assert (await case.scan(eicar())).verdict is Verdict.INFECTED


async def test_a_new_version_has_to_find_eicar_before_anything_passes() -> None:
    case = Case()
    await case.scanner.self_test()
    case.inner.database = "2"
    assert "eicar" in await case.asked_for()
    assert await case.asked_for() == ["scan", "version"]
    case.inner.database, case.inner.knows = "3", False
    for _ in range(2):
        with pytest.raises(SelfTestFailed, match="clean of the EICAR test file"):
            await case.scan(eicar())
    case.inner.knows = True
    assert "eicar" in await case.asked_for()


@pytest.mark.parametrize(("database", "options"), [("", {}), ("1", {"tells_changes": False})])
async def test_one_that_does_not_tell_has_to_find_it_after_each_file(database: str, options: dict[str, Any]) -> None:
    case = Case(database, **options)
    await case.scanner.self_test()
    assert await case.asked_for() == ["scan", "version", "eicar"]
    case.inner.knows = False
    with pytest.raises(SelfTestFailed):
        await case.scan(eicar())


async def test_files_that_are_clean_at_the_same_time_share_it() -> None:
    case = Case("")
    await case.scanner.self_test()
    case.inner.asked.clear()
    case.inner.go_on.clear()
    scans = [asyncio.create_task(case.scan()) for _ in range(20)]
    await asyncio.sleep(0)
    case.inner.go_on.set()
    await asyncio.gather(*scans)
    assert case.inner.asked.count("eicar") <= 2


async def test_a_proof_counts_for_as_long_as_is_wanted() -> None:
    case = Case("", believed_for=timedelta(seconds=60))
    await case.scanner.self_test()
    assert await case.asked_for() == ["scan"]
    await case.clock.advance(timedelta(seconds=60))
    assert await case.asked_for() == ["scan", "version", "eicar"]
    assert await case.asked_for() == ["scan"]


async def test_one_that_goes_away_after_the_scan_has_cleaned_nothing() -> None:
    case = Case()
    await case.scanner.self_test()
    case.inner.away = True
    with pytest.raises(ScannerUnavailable, match="it is away"):
        await case.scan()


async def test_a_look_that_was_cancelled_is_made_by_the_next() -> None:
    case = Case("")
    await case.scanner.self_test()
    scanning = asyncio.create_task(case.scan())
    await asyncio.sleep(0)
    case.inner.go_on.clear()
    other = asyncio.create_task(case.scan())
    await asyncio.sleep(0)
    scanning.cancel()
    await asyncio.gather(scanning, return_exceptions=True)
    case.inner.go_on.set()
    assert (await other).verdict is Verdict.CLEAN
    assert case.inner.asked[-1] == "eicar"


async def test_it_is_not_used_without_a_proof() -> None:
    case = Case()
    case.inner.knows = False
    with pytest.raises(SelfTestFailed):
        await case.scanner.self_test()
    with pytest.raises(SelfTestFailed):
        await case.scan(eicar())
