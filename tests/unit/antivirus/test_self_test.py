"""A scanner that is blind, and one that sees ghosts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Self

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
from penstock.antivirus.self_test import check_scanner


class Scripted(Scanner):
    name = "scripted"

    def __init__(self, say: Callable[[bytes], Verdict]) -> None:
        self.say = say

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        assert isinstance(source, ByteStream)
        data = b"".join([piece async for piece in source.pieces])
        assert len(data) == size_bytes
        return ScanReport(verdict=self.say(data), scanner=self.name, signature="Ghost")

    async def version(self) -> ScannerVersion:
        return ScannerVersion(engine="scripted")

    async def self_test(self) -> None:
        await check_scanner(self)


def right(data: bytes) -> Verdict:
    return Verdict.INFECTED if eicar() in data else Verdict.CLEAN


async def test_a_scanner_that_is_right_passes() -> None:
    await Scripted(right).self_test()


@pytest.mark.parametrize("verdict", [Verdict.CLEAN, Verdict.UNSCANNABLE, Verdict.TOO_LARGE])
async def test_a_blind_one_fails(verdict: Verdict) -> None:
    with pytest.raises(SelfTestFailed, match=f"{verdict} of the EICAR"):
        await Scripted(lambda data: verdict).self_test()


@pytest.mark.parametrize("verdict", [Verdict.INFECTED, Verdict.UNSCANNABLE, Verdict.TOO_LARGE])
async def test_one_that_sees_ghosts_fails(verdict: Verdict) -> None:
    with pytest.raises(SelfTestFailed, match="Ghost"):
        await Scripted(lambda data: Verdict.INFECTED if eicar() in data else verdict).self_test()


async def test_one_that_is_not_there_says_so() -> None:
    def gone(data: bytes) -> Verdict:
        raise ScannerUnavailable("gone")

    with pytest.raises(ScannerUnavailable, match="gone"):
        await Scripted(gone).self_test()
