"""The storage side of postprocessing: what is decided is done to the bytes, once, whatever dies in between."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import BlobMissing
from penstock.blobs.local import LocalBlobs
from penstock.bus.local import LocalBus
from penstock.bus.publish import Publisher
from penstock.db import Database
from penstock.errors import InvalidRequest, NotFound
from penstock.events.types import (
    BytesReceived,
    CancelPostprocessing,
    Envelope,
    Event,
    PostprocessingFinished,
    PostprocessingStepFinished,
    RestartPostprocessing,
    UploadReady,
    VirusscanResult,
)
from penstock.ids import derived_id, new_upload_id
from penstock.testing import ManualClock, eventually
from penstock.uploads.catalogue.catalogue import Catalogue
from penstock.uploads.catalogue.feed import Feed
from penstock.uploads.garbage.expiry import Report, Sweeper
from penstock.uploads.garbage.orphans import Orphans
from penstock.uploads.gateway.gateway import Gateway
from penstock.uploads.gateway.runs import run_id, start_id
from penstock.uploads.upload import Phase, ScanMark, Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BODY = b"the bytes"


class Died(BaseException):
    """The process is gone at this point."""


class World:
    """A gateway on real storage, with somebody who listens to the bus."""

    def __init__(
        self,
        *,
        database: Database,
        catalogue: Catalogue,
        blobs: LocalBlobs,
        bus: LocalBus,
        feed: Feed,
        clock: ManualClock,
    ) -> None:
        self.catalogue = catalogue
        self.blobs = blobs
        self.clock = clock
        self.heard: list[Envelope] = []
        self.bus = bus
        self.publisher = Publisher(bus, clock)
        self.gateway = Gateway(catalogue=catalogue, blobs=blobs, bus=bus, publisher=self.publisher, clock=clock)
        self.sweeper = Sweeper(
            catalogue=catalogue,
            blobs=blobs,
            gateway=self.gateway,
            receiver=self.gateway,
            feed=feed,
            clock=clock,
            retention=timedelta(days=7),
            orphans=Orphans(database),
            orphans_after=timedelta(hours=1),
        )

    async def hear(self, envelope: Envelope) -> None:
        self.heard.append(envelope)

    async def all_heard(self, kind: type[Event], number: int = 1) -> list[Envelope]:
        def found() -> list[Envelope]:
            those = [one for one in self.heard if isinstance(one.event, kind)]
            return those if len(those) >= number else []

        return await eventually(found)

    async def arriving(self) -> str:
        upload_id = new_upload_id()
        now = self.clock.now()
        upload = Upload(
            id=upload_id, filename="f.txt", size_bytes=len(BODY), created_at=now, expires_at=now + timedelta(hours=1)
        )
        await self.blobs.create(upload_id)
        await self.catalogue.add(upload)
        return upload_id

    async def arrived(self) -> str:
        upload_id = await self.arriving()
        async with self.blobs.append(upload_id, 0) as appender:
            await appender.write(BODY)
        upload = await self.catalogue.get(upload_id)
        assert upload is not None
        await self.gateway.received(upload, size_bytes=await self.blobs.seal(upload_id))
        return upload_id

    async def phase(self, upload_id: str) -> Phase | None:
        upload = await self.catalogue.get(upload_id)
        return None if upload is None else upload.phase

    async def content(self, upload_id: str) -> bytes:
        return b"".join([piece async for piece in self.blobs.read(upload_id)])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(f"sqlite:///{tmp_path / 'penstock.db'}"))
        blobs = await stack.enter_async_context(LocalBlobs(tmp_path / "blobs"))
        bus = await stack.enter_async_context(LocalBus(clock))
        feed = await stack.enter_async_context(Feed(database, clock))
        made = World(
            database=database, catalogue=Catalogue(database, feed, clock), blobs=blobs, bus=bus, feed=feed, clock=clock
        )
        types = (BytesReceived, UploadReady, CancelPostprocessing)
        await stack.enter_async_context(bus.subscribe("listener", types, made.hear, workers=1))
        yield made


def decided(upload_id: str, outcome: str, run: int = 1) -> Envelope:
    event = PostprocessingFinished(upload_id=upload_id, outcome=outcome)
    return Envelope(event=event, event_id=start_id(upload_id, run, "finished", 1))


async def test_complete_uploads_are_announced_with_where_their_bytes_are(world: World) -> None:
    upload_id = await world.arrived()
    assert await world.phase(upload_id) is Phase.PROCESSING
    (envelope,) = await world.all_heard(BytesReceived)
    assert isinstance(envelope.event, BytesReceived)
    assert envelope.event_id == run_id(upload_id, 1)
    assert envelope.event.url == world.blobs.path(upload_id).as_uri()
    assert envelope.event.filesize == len(BODY)


@pytest.mark.parametrize(
    ("outcome", "phase", "kept"),
    [
        ("continue", Phase.RELEASED, True),
        ("abort", Phase.REJECTED, True),
        ("quarantine", Phase.REJECTED, True),
        ("delete", Phase.DELETED, False),
    ],
)
async def test_a_decision_is_carried_out_once(world: World, outcome: str, phase: Phase, kept: bool) -> None:
    upload_id = await world.arrived()
    for _ in range(3):
        await world.gateway.handle(decided(upload_id, outcome))
    assert await world.phase(upload_id) is phase
    if kept:
        assert await world.content(upload_id) == BODY
    else:
        with pytest.raises(BlobMissing):
            await world.blobs.length(upload_id)
    assert (upload_id in await world.blobs.staged()) is (phase is Phase.REJECTED)
    ready = (await world.all_heard(UploadReady))[0]
    assert isinstance(ready.event, UploadReady)
    assert ready.event.failed is (phase is not Phase.RELEASED)
    assert ready.causation_id == decided(upload_id, outcome).event_id


async def test_the_reason_of_an_end_is_what_the_step_said(world: World) -> None:
    upload_id = await world.arrived()
    result = VirusscanResult(infected=True, description="EICAR")
    event = PostprocessingStepFinished(upload_id=upload_id, finished_step="virusscan", outcome="delete", result=result)
    await world.gateway.handle(Envelope(event=event, event_id="scan"))
    await world.gateway.handle(decided(upload_id, "delete"))
    upload = await world.catalogue.get(upload_id)
    assert upload is not None
    assert upload.reason == "infected: EICAR"
    assert upload.scan is not None
    assert upload.scan.infected


async def test_a_decision_about_an_upload_that_is_gone_makes_the_coordinator_forget(world: World) -> None:
    await world.gateway.handle(decided("0" * 32, "continue"))
    await world.all_heard(CancelPostprocessing)


async def test_cancel_frees_the_bytes_in_every_phase(world: World) -> None:
    receiving, processing, released = await world.arriving(), await world.arrived(), await world.arrived()
    await world.gateway.handle(decided(released, "continue"))
    for upload_id in (receiving, processing, released):
        await world.gateway.cancel(upload_id)
        await world.gateway.cancel(upload_id)
        assert await world.phase(upload_id) is Phase.CANCELLED
        with pytest.raises(BlobMissing):
            await world.blobs.length(upload_id)
    await world.gateway.handle(decided(processing, "continue"))
    assert await world.phase(processing) is Phase.CANCELLED
    with pytest.raises(NotFound):
        await world.gateway.cancel("0" * 32)


async def test_restart_begins_another_run_and_decisions_of_the_earlier_one_are_dropped(world: World) -> None:
    upload_id = await world.arrived()
    await world.gateway.handle(decided(upload_id, "abort"))
    asked = Envelope(event=RestartPostprocessing(upload_id=upload_id), event_id="please")
    await world.gateway.handle(asked)
    await world.gateway.handle(asked)
    upload = await world.catalogue.get(upload_id)
    assert upload is not None
    assert (upload.phase, upload.run, upload.reason) == (Phase.PROCESSING, 2, "")
    await world.gateway.handle(decided(upload_id, "continue", run=1))
    assert await world.phase(upload_id) is Phase.PROCESSING
    await world.gateway.handle(decided(upload_id, "continue", run=2))
    assert await world.phase(upload_id) is Phase.RELEASED
    with pytest.raises(InvalidRequest):
        await world.gateway.restart(upload_id)


@pytest.mark.parametrize("dies_in", ["release", "change", "emit"])
async def test_a_death_in_the_middle_of_a_release_is_healed_by_the_repeat(
    world: World, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    upload_id = await world.arrived()
    owner = {"release": world.blobs, "change": world.catalogue, "emit": world.gateway._deeds._publisher}[dies_in]

    async def die(*arguments: object, **named: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(owner, dies_in, die)
        with pytest.raises(Died):
            await world.gateway.handle(decided(upload_id, "continue"))
    await world.gateway.handle(decided(upload_id, "continue"))
    assert await world.phase(upload_id) is Phase.RELEASED
    assert await world.content(upload_id) == BODY
    assert await world.blobs.staged() == []
    await world.all_heard(UploadReady)


def infected(upload_id: str, outcome: str, *, run: int = 1) -> Envelope:
    result = VirusscanResult(infected=True, description="Eicar")
    event = PostprocessingStepFinished(upload_id=upload_id, finished_step="virusscan", outcome=outcome, result=result)
    start = start_id(upload_id, run, "virusscan", 1)
    return Envelope(event=event, event_id=derived_id(start, "finished"), causation_id=start)


@pytest.mark.parametrize(
    ("outcome", "answered", "reason"),
    [
        ("delete", "delete", "infected: Eicar"),
        ("abort", "abort", "infected: Eicar"),
        ("abort", "retry", "infected: Eicar"),
        ("continue", "continue", ""),
    ],
)
async def test_an_answer_that_comes_after_its_decision_explains_it(
    world: World, outcome: str, answered: str, reason: str
) -> None:
    """As from a bus that delivers again, half a minute later, what a process has died over."""
    upload_id = await world.arrived()
    await world.gateway.handle(decided(upload_id, outcome))
    await world.gateway.handle(infected(upload_id, answered))
    upload = await world.catalogue.get(upload_id)
    assert upload is not None
    assert upload.reason == reason
    assert upload.scan == ScanMark(infected=True, signature="Eicar", scanned_at=VirusscanResult().scandate)


async def test_an_answer_that_led_to_something_else_explains_nothing(world: World) -> None:
    upload_id = await world.arrived()
    await world.gateway.handle(decided(upload_id, "abort"))
    ended = await world.catalogue.get(upload_id)
    await world.gateway.handle(infected(upload_id, "delete"))
    await world.gateway.handle(infected(upload_id, "abort", run=2))
    assert await world.catalogue.get(upload_id) == ended


async def test_what_a_step_says_against_an_upload_is_kept_before_the_bus_has_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = await world.arrived()
    answer = infected(upload_id, "delete")

    async def lost(*envelopes: Envelope) -> None:
        raise Died

    async with world.gateway.subscribe():
        with monkeypatch.context() as patch:
            patch.setattr(world.bus, "publish", lost)
            with pytest.raises(Died):
                await world.publisher.publish(answer.event, event_id=answer.event_id, causation_id=answer.causation_id)
    await world.gateway.handle(decided(upload_id, "delete"))
    upload = await world.catalogue.get(upload_id)
    assert upload is not None
    assert (upload.phase, upload.reason) == (Phase.DELETED, "infected: Eicar")
    assert upload.scan is not None
    assert upload.scan.infected


async def test_reconciliation_completes_and_announces_what_a_crash_left(world: World) -> None:
    complete, begun, given_up = await world.arriving(), await world.arriving(), await world.arrived()
    async with world.blobs.append(complete, 0) as appender:
        await appender.write(BODY)
    async with world.blobs.append(begun, 0) as appender:
        await appender.write(BODY[:3])
    before = await world.catalogue.get(given_up)
    assert before is not None
    await world.gateway.reconcile()
    assert await world.phase(complete) is Phase.PROCESSING
    assert await world.phase(begun) is Phase.RECEIVING
    announced = {one.event.upload_id for one in await world.all_heard(BytesReceived, 2)}
    assert {complete, given_up} <= announced


async def test_what_the_bus_has_lost_is_announced_again_once(world: World) -> None:
    upload_id = await world.arrived()
    assert len(await world.all_heard(BytesReceived)) == 1
    await world.gateway.catch_up()
    assert len(await world.all_heard(BytesReceived)) == 1
    world.bus.memory.begin(world.clock.now())
    for _ in range(2):
        await world.gateway.catch_up()
    heard = await world.all_heard(BytesReceived, 2)
    assert [(one.event.upload_id, one.event_id) for one in heard] == [(upload_id, run_id(upload_id, 1))] * 2


async def test_what_is_too_much_to_announce_at_once_is_announced_the_next_time(world: World) -> None:
    uploads = {await world.arrived(), await world.arrived()}
    world.bus.memory.begin(world.clock.now())
    await world.gateway.catch_up(patience=timedelta(seconds=-1))
    await world.gateway.catch_up()
    heard = await world.all_heard(BytesReceived, 4)
    assert {one.event.upload_id for one in heard[2:]} == uploads
    assert len(heard) == 4


async def test_the_sweeper_expires_forgets_and_removes_orphans(world: World) -> None:
    late, orphan, alive = await world.arriving(), new_upload_id(), await world.arrived()
    await world.blobs.create(orphan)
    await world.clock.advance(timedelta(hours=2))
    assert await world.sweeper.sweep(dry_run=True) == Report(expired=1)
    first = await world.sweeper.sweep()
    assert (first.expired, first.orphans) == (1, 0)
    assert (await world.sweeper.sweep()).orphans == 1
    assert await world.phase(late) is Phase.EXPIRED
    assert await world.blobs.staged() == [alive]
    await world.clock.advance(timedelta(days=8))
    assert (await world.sweeper.sweep()).forgotten == 1
    assert await world.phase(late) is None
    assert await world.phase(alive) is Phase.PROCESSING
    assert await world.content(alive) == BODY
