"""A scan shows that it goes on: what gives up on silent steps leaves it alone, unless the scanner hangs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

from penstock.antivirus import LocalFile, Scanner, ScannerVersion, ScanReport, Source, Verdict
from penstock.antivirus.base import PlaceState, ScannerState
from penstock.antivirus.handling import Handling
from penstock.antivirus.limits import ScanPlan
from penstock.bus.local import LocalBus
from penstock.bus.publish import Publisher
from penstock.delivery.base import Delivered, Delivery
from penstock.delivery.localfile import LocalBytes
from penstock.events.types import (
    VIRUSSCAN,
    Envelope,
    Outcome,
    PostprocessingStepFinished,
    PostprocessingStepProgress,
    StartPostprocessingStep,
)
from penstock.steps.kit import StepUpload
from penstock.steps.runner import StepRunner
from penstock.steps.scans import Scans
from penstock.steps.virusscan import Virusscan
from penstock.testing import ManualClock, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from pathlib import Path


MINUTE = timedelta(minutes=1)
PIECES = 15


class Slow(Scanner):
    """Takes its time on the clock of the test; of a stream, between its pieces. Its self-test takes none."""

    name = "slow"

    def __init__(self, clock: ManualClock, takes: timedelta, places: int = 0) -> None:
        self.clock = clock
        self.takes = takes
        self.places = places
        self.begun = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    def states(self) -> Sequence[ScannerState]:
        return [ScannerState(scanner=self.name, places=tuple(PlaceState(str(n)) for n in range(self.places)))]

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        del timeout
        self.begun += 1
        if isinstance(source, LocalFile):
            await self.clock.sleep(self.takes)
        else:
            async for _ in source.pieces:
                await self.clock.sleep(self.takes)
        return ScanReport(verdict=Verdict.CLEAN, scanner=self.name, bytes_scanned=size_bytes)

    async def version(self) -> ScannerVersion:
        return ScannerVersion(engine="slow")

    async def self_test(self) -> None:
        return None


class Streamed(Delivered):
    """Bytes that come from elsewhere."""

    size_bytes = PIECES
    is_file = False

    @property
    def path(self) -> Path:
        raise NotImplementedError

    async def stream(self, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        del start, stop
        for _ in range(PIECES):
            yield b"x"


class World:
    def __init__(self, tmp_path: Path, takes: timedelta, places: int = 0) -> None:
        self.clock = ManualClock()
        self.scanner = Slow(self.clock, takes, places)
        self.beats: list[datetime] = []
        (tmp_path / "file").write_bytes(b"x" * PIECES)
        start = StartPostprocessingStep(upload_id="u", step_to_start=VIRUSSCAN)
        self.bytes = LocalBytes(tmp_path / "file", PIECES)
        self.local = StepUpload(start, self.bytes, on_beat=self._beat)
        self.streamed = StepUpload(start, Streamed(), on_beat=self._beat)

    def _beat(self, _: Any) -> None:
        self.beats.append(self.clock.now())

    async def scanned(self, upload: StepUpload, **options: Any) -> asyncio.Task[ScanReport]:
        """Begin a scan."""
        scans = Scans(self.scanner, self.clock, **options)
        scanning = asyncio.create_task(scans.scan(upload, ScanPlan(upload.size_bytes, complete=True)))
        await eventually(lambda: self.scanner.begun)
        return scanning


async def test_a_scan_shows_to_its_end_that_it_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path, 15 * MINUTE)
    scanning = await world.scanned(world.local, timeout=15 * MINUTE)
    await world.clock.advance(15 * MINUTE)
    assert (await scanning).verdict is Verdict.CLEAN
    assert len(world.beats) >= 15 * 12 - 1
    assert not world.clock.sleepers


async def test_a_short_one_has_nothing_to_say(tmp_path: Path) -> None:
    world = World(tmp_path, timedelta(seconds=1))
    scanning = await world.scanned(world.local)
    await world.clock.advance(MINUTE)
    await scanning
    assert not world.beats


async def last_beat(world: World, upload: StepUpload, **options: Any) -> timedelta:
    """How long after its beginning a scan that hangs is called alive for the last time."""
    began = world.clock.now()
    scanning = await world.scanned(upload, **options)
    await world.clock.advance(timedelta(hours=4))
    assert not scanning.done()
    scanning.cancel()
    await asyncio.wait([scanning])
    return world.beats[-1] - began


async def test_one_that_hangs_is_not_called_alive_for_ever(tmp_path: Path) -> None:
    def hanging(places: int = 0) -> World:
        return World(tmp_path, timedelta(days=1), places)

    world = hanging()
    assert MINUTE < await last_beat(world, world.local) <= 2 * MINUTE  # what a file of no size is allowed, and again
    world = hanging()
    assert 59 * MINUTE < await last_beat(world, world.local, timeout=30 * MINUTE) <= 60 * MINUTE
    world = hanging()
    assert 59 * MINUTE < await last_beat(world, world.local, slowest=30 * MINUTE) <= 60 * MINUTE
    world = hanging(places=3)
    assert 119 * MINUTE < await last_beat(world, world.local, timeout=30 * MINUTE) <= 120 * MINUTE


async def test_bytes_that_are_read_show_that_it_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path, MINUTE)
    scanning = await world.scanned(world.streamed)
    await world.clock.advance(PIECES * MINUTE)
    await scanning
    assert len(world.beats) >= PIECES * 12 - 1


class Local(Delivery):
    """Hands out what is there already."""

    def __init__(self, delivered: Delivered) -> None:
        self.delivered = delivered

    @asynccontextmanager
    async def deliver(self, start: StartPostprocessingStep) -> AsyncIterator[Delivered]:
        del start
        yield self.delivered


async def test_the_coordinator_hears_of_it_as_an_answer_to_its_question(tmp_path: Path) -> None:
    world = World(tmp_path, 15 * MINUTE)
    step = Virusscan(world.scanner, clock=world.clock, workers=1, handling=Handling(), timeout=15 * MINUTE)
    await step.check()
    bus, heard = LocalBus(world.clock), list[tuple[Envelope, datetime]]()
    async with (
        bus,
        bus.listen(
            (PostprocessingStepProgress, PostprocessingStepFinished), lambda one: heard.append((one, world.clock.now()))
        ),
        StepRunner(
            step.definition,
            bus=bus,
            publisher=Publisher(bus, world.clock),
            delivery=Local(world.bytes),
            clock=world.clock,
        ),
    ):
        asked_at = world.clock.now()
        start = StartPostprocessingStep(upload_id="u", step_to_start=VIRUSSCAN)
        await Publisher(bus, world.clock).publish(start, event_id="question")
        await eventually(lambda: world.scanner.begun)
        await world.clock.advance(15 * MINUTE)
        await eventually(lambda: isinstance(heard[-1][0].event, PostprocessingStepFinished))
    assert {envelope.causation_id for envelope, _ in heard} == {"question"}
    at = [asked_at, *(at for _, at in heard)]
    assert max(later - earlier for earlier, later in pairwise(at)) < MINUTE
    assert isinstance(heard[-1][0].event, PostprocessingStepFinished)
    assert heard[-1][0].event.outcome == Outcome.CONTINUE
