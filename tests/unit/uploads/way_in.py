"""The real parts behind a receiver: catalogue in SQLite, bytes in files, events on the bus for one process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from penstock.blobs.local import LocalBlobs
from penstock.bus.local import LocalBus
from penstock.bus.publish import Publisher
from penstock.db import Database
from penstock.events.types import BytesReceived, Envelope
from penstock.telemetry import Metrics
from penstock.testing import ManualClock
from penstock.tracing import UNTRACED, Tracing
from penstock.uploads.allowances import UNLIMITED
from penstock.uploads.catalogue.catalogue import Catalogue
from penstock.uploads.catalogue.feed import Feed
from penstock.uploads.errors import Disconnected
from penstock.uploads.gateway.gateway import Gateway
from penstock.uploads.quotas.quota import Ledger
from penstock.uploads.quotas.usage import Usages
from penstock.uploads.receiving.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from penstock.blobs.base import BlobStore
    from penstock.store.base import ProgressStore
    from penstock.testing.faults import Faults
    from penstock.uploads.gateway.at_once import Foresee

EXPIRATION = timedelta(hours=1)


class WayIn:
    """A receiver with everything behind it, and what it told the rest of the world."""

    receiver: Receiver
    gateway: Gateway
    catalogue: Catalogue
    feed: Feed
    usages: Usages
    blobs: BlobStore

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.announced: list[BytesReceived] = []
        self.trace_parents: list[str] = []
        """Those that the announcements came with."""

    async def note(self, envelope: Envelope) -> None:
        assert isinstance(envelope.event, BytesReceived)
        self.announced.append(envelope.event)
        self.trace_parents.append(envelope.trace_parent)

    async def content(self, upload_id: str) -> bytes:
        return b"".join([piece async for piece in self.blobs.read(upload_id)])


@asynccontextmanager
async def way_in(
    folder: Path,
    blobs: BlobStore | None = None,
    tracing: Tracing = UNTRACED,
    faults: Faults | None = None,
    foresee: Foresee | None = None,
    records: ProgressStore | None = None,
    **options: Any,
) -> AsyncIterator[WayIn]:
    """Open the parts over a folder, as often as wanted: what one leaves behind the next one finds.

    With `faults`, they meet catalogue and blobs with them in between.
    """
    parts = WayIn()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(f"sqlite:///{folder / 'penstock.db'}"))
        parts.blobs = await stack.enter_async_context(blobs or LocalBlobs(folder / "blobs"))
        bus = await stack.enter_async_context(LocalBus(parts.clock))
        parts.feed = feed = await stack.enter_async_context(Feed(database, parts.clock))
        ledger = Ledger(options.get("allowances") or UNLIMITED)
        parts.catalogue = Catalogue(database, feed, parts.clock, ledger)
        parts.usages = Usages(database, ledger)
        if faults is not None:
            parts.blobs = faults.wrap("blobs", parts.blobs)
            parts.catalogue = faults.wrap("catalogue", parts.catalogue)
        parts.gateway = Gateway(
            catalogue=parts.catalogue,
            blobs=parts.blobs,
            bus=bus,
            publisher=Publisher(bus, parts.clock),
            clock=parts.clock,
            tracing=tracing,
            foresee=foresee,
            records=records,
        )
        await stack.enter_async_context(bus.subscribe("test", [BytesReceived], parts.note, workers=1))
        parts.receiver = Receiver(
            catalogue=parts.catalogue,
            gateway=parts.gateway,
            blobs=parts.blobs,
            clock=parts.clock,
            metrics=parts.metrics,
            **{"expiration": EXPIRATION, **options},
        )
        yield parts


async def body(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def cut(*chunks: bytes) -> AsyncIterator[bytes]:
    """A body whose connection breaks after these chunks."""
    for chunk in chunks:
        yield chunk
    raise Disconnected("gone")


class Silent:
    """A body that stands still after its chunks, as a half-open connection does."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks
        self.standing_still = asyncio.Event()
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self._chunks:
                yield chunk
            self.standing_still.set()
            await asyncio.Event().wait()
            yield b"late bytes"
        finally:
            self.closed = True
