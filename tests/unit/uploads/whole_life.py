"""An upload's whole life on real parts, in processes that may die at any call: what is on disk is all that stays.

The bus is a list that the test works off, one event at a time, so that every run makes the same calls. It dies with
the process, or (`durable`) outlives it and delivers again what was not acknowledged.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Self

from penstock.blobs.local import LocalBlobs
from penstock.bus.base import Bus
from penstock.bus.memory import Memory
from penstock.bus.publish import Publisher
from penstock.core.policy import Policy
from penstock.core.transition import Announce
from penstock.db import Database
from penstock.events.types import (
    CancelPostprocessing,
    PostprocessingStepFinished,
    StartPostprocessingStep,
    UploadReady,
    VirusscanResult,
)
from penstock.ids import derived_id, new_upload_id
from penstock.postprocessing.coordinator import Coordinator
from penstock.postprocessing.foregone import Foregone
from penstock.store.memory import MemoryStore
from penstock.telemetry import Metrics
from penstock.testing import ManualClock
from penstock.testing.faults import Faults
from penstock.uploads.catalogue.catalogue import Catalogue
from penstock.uploads.catalogue.feed import Feed
from penstock.uploads.garbage.expiry import Sweeper
from penstock.uploads.garbage.orphans import Orphans
from penstock.uploads.gateway.gateway import Gateway
from penstock.uploads.remembered import RememberedTime
from penstock.uploads.steady import SteadyTime
from penstock.uploads.upload import Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from penstock.events.types import Envelope

BODY = b"the bytes of this file"
LIFETIME = timedelta(hours=1)
RETENTION = timedelta(days=7)


class ListBus(Bus):
    """Keeps what is published until the test hands it on."""

    durable = False

    def __init__(self) -> None:
        self.memory = Memory()
        self.waiting: list[Envelope] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def publish(self, *envelopes: Envelope) -> None:
        self.waiting.extend(envelopes)

    def subscribe(self, *arguments: Any, **named: Any) -> NoReturn:
        raise NotImplementedError("the test hands events on")

    def listen(self, *arguments: Any, **named: Any) -> NoReturn:
        raise NotImplementedError("nobody listens in this test")

    def groups(self) -> list[str]:
        return []

    def pending(self, group: str) -> int:
        return len(self.waiting)

    def failures(self, group: str) -> int:
        return 0


class Outside:
    """What outlives the death of the gateway's process: the coordinator's store, and people's memory.

    `answer` is what the only step says; empty: there is none, and gateway and coordinator are one process.
    """

    def __init__(self, answer: str = "continue") -> None:
        self.upload_id = new_upload_id()
        self.clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.records = MemoryStore()
        self.bus = ListBus()
        self.answer = answer
        self.ready: list[UploadReady] = []
        self.cancelled = 0


class Process:
    """Everything that a kill takes away."""

    def __init__(self, outside: Outside, database: Database, feed: Feed, blobs: LocalBlobs, faults: Faults) -> None:
        self.outside = outside
        self.upload_id = outside.upload_id
        self.clock = outside.clock
        self.feed = feed
        self.blobs = blobs
        self.catalogue = Catalogue(database, feed, self.clock)
        bus = faults.wrap("bus", outside.bus)
        catalogue, blobs = faults.wrap("catalogue", self.catalogue), faults.wrap("blobs", blobs)
        self.time = SteadyTime(self.clock, believed_after=LIFETIME)
        self.remembered = RememberedTime(database, self.time)
        policy = Policy.create(["virusscan"] if outside.answer else [])
        self.gateway = Gateway(
            catalogue=catalogue,
            blobs=blobs,
            bus=bus,
            publisher=Publisher(bus, self.clock),
            clock=self.clock,
            foresee=None if outside.answer else Foregone(policy, Metrics()),
        )
        self.sweeper = Sweeper(
            catalogue=catalogue,
            blobs=blobs,
            gateway=self.gateway,
            receiver=self.gateway,
            feed=feed,
            orphans=Orphans(database),
            clock=self.clock,
            retention=RETENTION,
            orphans_after=LIFETIME,
            time=self.time,
            remembered=self.remembered,
        )
        self._speaks = Publisher(outside.bus, self.clock)
        self._coordinator = Coordinator(
            store=outside.records,
            bus=outside.bus,
            publisher=self._speaks,
            policy=policy,
            clock=self.clock,
            metrics=Metrics(),
        )

    async def start(self) -> None:
        """What an application does first; then everything happens that can happen by itself."""
        await self.gateway.reconcile()
        async for saved in self.outside.records.all():
            await self._coordinator.apply(saved.progress.upload_id, Announce())
        await self.settle()

    async def settle(self) -> None:
        """Hand events on until there are none."""
        waiting = self.outside.bus.waiting
        while waiting:
            await self._hand_on(waiting[0])
            del waiting[0]

    async def _hand_on(self, envelope: Envelope) -> None:
        await self._coordinator.handle(envelope)
        await self.gateway.handle(envelope)
        match envelope.event:
            case StartPostprocessingStep() as start:
                await self._scan(start, envelope.event_id)
            case UploadReady() as ready:
                self.outside.ready.append(ready)
            case CancelPostprocessing():
                self.outside.cancelled += 1
            case _:
                pass

    async def _scan(self, start: StartPostprocessingStep, start_id: str) -> None:
        clean = self.outside.answer == "continue"
        result = VirusscanResult(infected=not clean, description="" if clean else "Eicar")
        answer = PostprocessingStepFinished(
            upload_id=start.upload_id, finished_step="virusscan", outcome=self.outside.answer, result=result
        )
        await self._speaks.publish(answer, event_id=derived_id(start_id, "finished"), causation_id=start_id)

    async def begin(self) -> Upload:
        """Enter an upload, as the receiver does."""
        now = self.clock.now()
        upload = Upload(
            id=self.upload_id,
            filename="f.txt",
            space="lab",
            size_bytes=len(BODY),
            created_at=now,
            expires_at=now + LIFETIME,
            initiator_id="client",
        )
        await self.blobs.create(self.upload_id)
        await self.catalogue.add(upload)
        return upload

    async def fill(self, body: bytes = BODY) -> int:
        """Write its bytes and flush them."""
        async with self.blobs.append(self.upload_id, 0) as appender:
            await appender.write(body)
            await appender.seal()
        return len(body)

    async def complete(self, size_bytes: int) -> None:
        """Tell the gateway that all bytes are there, as the receiver does."""
        upload = await self.upload()
        assert upload is not None
        await self.gateway.received(upload, size_bytes=size_bytes)

    async def upload(self) -> Upload | None:
        return await self.catalogue.get(self.upload_id)

    async def content(self) -> bytes:
        return b"".join([piece async for piece in self.blobs.read(self.upload_id)])

    async def story(self) -> list[str]:
        """What a client is told who follows the upload from its beginning."""
        return [str(entry.kind) for entry in await self.feed.since(0, upload=self.upload_id, limit=1000)]

    async def to_discard(self) -> list[str]:
        return [upload.id async for batch in self.catalogue.to_discard() for upload in batch]

    async def to_discard_is_empty(self) -> bool:
        return await self.to_discard() == []


@asynccontextmanager
async def process(folder: Path, outside: Outside, faults: Faults | None = None) -> AsyncIterator[Process]:
    """Open the parts over what is on disk."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(f"sqlite:///{folder / 'penstock.db'}"))
        blobs = await stack.enter_async_context(LocalBlobs(folder / "blobs"))
        feed = await stack.enter_async_context(Feed(database, outside.clock))
        alive = Process(outside, database, feed, blobs, faults or Faults())
        await alive.remembered.recall()
        yield alive
