"""When a scanner is asked, and when it is left alone."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Self

import pytest

from penstock.antivirus import (
    ByteStream,
    Scanner,
    ScannerProtocolError,
    ScannerUnavailable,
    ScannerVersion,
    ScanReport,
    ScanTimeout,
    Source,
    SourceUnreadable,
    Verdict,
)
from penstock.antivirus.base import Circuit, ScannerState
from penstock.antivirus.breaker import GuardedScanner, ScannerResting
from penstock.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAUSE = timedelta(seconds=30)
CLEAN = ScanReport(verdict=Verdict.CLEAN, scanner="s", bytes_scanned=0)


class Moody(Scanner):
    """Fails when it is told to, and counts how often it is asked."""

    name = "moody"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.passes = False
        """Whether it passes a self-test whatever happens."""
        self.asked = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.tested = asyncio.Event()
        """Set when a self-test is asked for."""
        self.tests_begin = asyncio.Event()
        self.tests_begin.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def _answer(self) -> None:
        self.asked += 1
        await self.go_on.wait()
        if self.error is not None:
            raise self.error

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        await self._answer()
        return CLEAN

    async def version(self) -> ScannerVersion:
        await self._answer()
        return ScannerVersion(engine="moody 1")

    async def self_test(self) -> None:
        self.tested.set()
        await self.tests_begin.wait()
        if not self.passes:
            await self._answer()

    def states(self) -> list[ScannerState]:
        return [ScannerState(scanner=self.name, outdated="old rules")]


class Case:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.inner = Moody()
        self.guarded = GuardedScanner(self.inner, clock=self.clock, failures=3, pause=PAUSE)

    async def scan(self) -> ScanReport:
        return await self.guarded.scan(ByteStream(nothing()), size_bytes=0)

    async def fail(self, times: int, error: Exception | None = None) -> None:
        self.inner.error = error or ScannerUnavailable("it is away")
        for _ in range(times):
            with pytest.raises(type(self.inner.error)):
                await self.scan()

    def state(self) -> ScannerState:
        (state,) = self.guarded.states()
        return state


async def nothing() -> AsyncIterator[bytes]:
    return
    yield


@pytest.fixture
def case() -> Case:
    return Case()


async def test_one_that_fails_in_a_row_is_left_alone(case: Case) -> None:
    await case.fail(2)
    assert (case.state().circuit, case.state().failures) == (Circuit.CLOSED, 2)
    await case.fail(1)
    assert (case.state().circuit, case.state().failures) == (Circuit.OPEN, 3)
    for ask in (case.scan, case.guarded.version, case.guarded.self_test):
        with pytest.raises(ScannerResting, match=r"failed 3 times in a row: it is away\. It is tried again in 30 s"):
            await ask()
    assert case.inner.asked == 3
    assert case.state().last_error == "it is away"


async def test_what_goes_well_in_between_begins_the_count_anew(case: Case) -> None:
    for _ in range(5):
        await case.fail(2)
        case.inner.error = None
        assert await case.scan() == CLEAN
    assert (case.state().circuit, case.state().failures, case.state().last_error) == (Circuit.CLOSED, 0, "")


async def test_one_request_tries_and_opens_the_way_for_all(case: Case) -> None:
    await case.fail(3)
    await case.clock.advance(PAUSE)
    case.inner.error = None
    case.inner.go_on.clear()
    probe = asyncio.create_task(case.scan())
    await asyncio.sleep(0)
    assert case.state().circuit is Circuit.PROBING
    with pytest.raises(ScannerResting, match="tried again just now"):
        await case.scan()
    assert case.inner.asked == 4
    case.inner.go_on.set()
    assert await probe == CLEAN
    assert case.state().circuit is Circuit.CLOSED
    assert await case.scan() == CLEAN


async def test_a_probe_that_fails_is_followed_by_another_pause(case: Case) -> None:
    await case.fail(3)
    await case.clock.advance(PAUSE)
    await case.fail(1)
    with pytest.raises(ScannerResting):
        await case.scan()
    await case.clock.advance(PAUSE - timedelta(seconds=1))
    with pytest.raises(ScannerResting):
        await case.scan()
    await case.clock.advance(timedelta(seconds=1))
    case.inner.error = None
    await case.guarded.self_test()
    assert case.state().circuit is Circuit.CLOSED


async def test_a_probe_that_is_cancelled_leaves_it_to_the_next(case: Case) -> None:
    await case.fail(3)
    await case.clock.advance(PAUSE)
    case.inner.go_on.clear()
    probe = asyncio.create_task(case.scan())
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    case.inner.go_on.set()
    case.inner.error = None
    assert await case.scan() == CLEAN


@pytest.mark.parametrize("error", [ScannerProtocolError("?"), ScanTimeout("slow")])
async def test_silence_and_nonsense_count_too(case: Case, error: Exception) -> None:
    await case.fail(3, error)
    assert case.state().circuit is Circuit.OPEN


@pytest.mark.parametrize("error", [SourceUnreadable("gone"), OSError("the download broke")])
async def test_trouble_with_the_bytes_is_not_the_scanners(case: Case, error: Exception) -> None:
    await case.fail(9, error)
    assert (case.state().circuit, case.state().failures) == (Circuit.CLOSED, 0)


async def test_requests_that_were_under_way_do_not_make_the_pause_longer(case: Case) -> None:
    case.inner.error = ScannerUnavailable("it is away")
    case.inner.go_on.clear()
    scans = [asyncio.create_task(case.scan()) for _ in range(10)]
    await asyncio.sleep(0)
    case.inner.go_on.set()
    await asyncio.gather(*scans, return_exceptions=True)
    assert case.state().failures == 10
    await case.clock.advance(PAUSE)
    case.inner.error = None
    assert await case.scan() == CLEAN


def test_what_the_scanner_tells_itself_is_told_too(case: Case) -> None:
    assert case.state().outdated == "old rules"


async def test_slow_files_are_no_reason_to_leave_alone_a_scanner_that_passes_a_self_test(case: Case) -> None:
    case.inner.passes = True
    await case.fail(7, ScanTimeout("slow"))
    assert (case.state().circuit, case.state().failures) == (Circuit.CLOSED, 1)  # counted anew after each third one
    case.inner.passes = False
    await case.fail(2, ScanTimeout("slow"))
    assert case.state().circuit is Circuit.OPEN


async def test_a_probe_that_meets_a_slow_file_opens_the_way_nevertheless(case: Case) -> None:
    await case.fail(3)
    await case.clock.advance(PAUSE)
    case.inner.passes = True
    await case.fail(1, ScanTimeout("slow"))
    assert case.state().circuit is Circuit.CLOSED


async def test_only_one_self_test_is_made_for_many_slow_files(case: Case) -> None:
    case.inner.error = ScanTimeout("slow")
    case.inner.go_on.clear()
    scans = [asyncio.create_task(case.scan()) for _ in range(10)]
    await asyncio.sleep(0)
    case.inner.go_on.set()
    await asyncio.gather(*scans, return_exceptions=True)
    assert case.state().circuit is Circuit.OPEN
    assert case.inner.asked <= 12


async def test_who_is_slow_while_the_scanner_is_put_to_the_test_does_not_begin_the_count_anew(case: Case) -> None:
    await case.fail(2, ScanTimeout("slow"))
    case.inner.tests_begin.clear()
    third = asyncio.create_task(case.scan())
    await asyncio.wait_for(case.inner.tested.wait(), 60)
    await case.fail(2, ScanTimeout("slow"))
    assert case.state().failures == 4
    case.inner.tests_begin.set()
    with pytest.raises(ScanTimeout):
        await third
    assert (case.state().circuit, case.state().failures) == (Circuit.OPEN, 5)


async def test_one_that_fails_the_test_rests_although_a_file_went_well_meanwhile(case: Case) -> None:
    await case.fail(2, ScanTimeout("slow"))
    case.inner.tests_begin.clear()
    third = asyncio.create_task(case.scan())
    await asyncio.wait_for(case.inner.tested.wait(), 60)
    case.inner.error = None
    await case.scan()
    case.inner.error = ScannerUnavailable("it is away")
    case.inner.tests_begin.set()
    with pytest.raises(ScanTimeout):
        await third
    assert case.state().circuit is Circuit.OPEN
