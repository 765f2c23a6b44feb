"""Server-sent events: what happens to uploads, live, and from where a client left off (HTML Standard, 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec
from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from ..blobs.handover import handovers_of
from .views import Releasing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..blobs.handover import Handover, Handovers
    from ..uploads.catalogue.feed import FeedEntry
    from .services import Services

_HEARTBEAT_SECONDS = 15.0
"""Proxies close connections that are silent for longer, commonly after 30 to 60 s."""
_BATCH = 500
LastEventId: TypeAlias = Annotated[int | None, Header(ge=0, description="Sent by browsers that come back.")]
After: TypeAlias = Annotated[
    int | None, Query(ge=0, description="Replay what came after this number; without it, only what comes from now on.")
]
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1", tags=["events"])

    @routes.get("/events", summary="Follow all uploads", response_class=StreamingResponse)
    async def all_events(last_event_id: LastEventId = None, after: After = None) -> StreamingResponse:
        start = await begin_after(services, last_event_id if last_event_id is not None else after)
        return StreamingResponse(stream(services, start, None), media_type="text/event-stream", headers=_HEADERS)

    @routes.get("/uploads/{upload_id}/events", summary="Follow one upload", response_class=StreamingResponse)
    async def upload_events(
        upload_id: str,
        last_event_id: LastEventId = None,
        after: After = None,
    ) -> StreamingResponse:
        await services.upload(upload_id)
        start = await begin_after(services, last_event_id if last_event_id is not None else after or 0)
        return StreamingResponse(stream(services, start, upload_id), media_type="text/event-stream", headers=_HEADERS)

    return routes


async def begin_after(services: Services, known: int | None) -> int:
    """Return after which number to begin for who knows one; None: with what comes now.

    A number that nothing has yet is of another database: whoever brings it would wait for as many events.
    """
    last = await services.feed.last()
    return last if known is None else min(known, last)


async def stream(services: Services, after: int, upload_id: str | None) -> AsyncIterator[bytes]:
    """Yield entries after number `after`: of one upload until it ends, or of all until the server does.

    The table is the truth; the subscription only says that there is something new to read. Who comes back with the
    number of an upload's last entry is told at once that this was the end. How far releases are is told in between,
    without a number: it is in no table, and nobody needs it later.
    """
    handovers = handovers_of(services.blobs)
    with services.feed.subscribe(upload_id) as news, handovers.watch(news.tell):
        yield b"retry: 1000\n\n"
        releasing: Mapping[str, Handover] = {}
        while True:
            entries = await services.feed.since(after, upload=upload_id, limit=_BATCH)
            for entry in entries:
                after = entry.seq
                yield _rendered(entry)
            if len(entries) == _BATCH:
                continue
            if upload_id and await _is_over(services, upload_id, after):
                yield b"event: end\ndata: {}\n\n"
                return
            if services.feed.ending:
                return
            before, releasing = releasing, _about(handovers, upload_id)
            if changed := _changed(before, releasing):
                yield changed
            try:
                async with asyncio.timeout(_HEARTBEAT_SECONDS):
                    await news.wait()
            except TimeoutError:
                yield b": still here\n\n"


async def _is_over(services: Services, upload_id: str, after: int) -> bool:
    """Tell whether an upload has ended, and nothing is written about it beyond entry number `after`."""
    upload = await services.catalogue.get(upload_id)
    if upload is not None and not upload.phase.ended:
        return False
    # Asked for after the phase, so the entry of the end is counted; what is at hand of the feed may lag behind.
    return await services.feed.last(upload=upload_id) <= after


def _about(handovers: Handovers, upload_id: str | None) -> Mapping[str, Handover]:
    if upload_id is None:
        return handovers.all()
    handover = handovers.of(upload_id)
    return {} if handover is None else {upload_id: handover}


def _changed(before: Mapping[str, Handover], now: Mapping[str, Handover]) -> bytes:
    """Return the events about releases that have gone on, or that are not on their way any more."""
    facts = [
        {"upload": upload_id, **Releasing.of(handover).model_dump()}
        for upload_id, handover in now.items()
        if before.get(upload_id) != handover
    ]
    facts += [{"upload": upload_id, "stage": None} for upload_id in before.keys() - now.keys()]
    return b"".join(b"event: releasing\ndata: %s\n\n" % msgspec.json.encode(one) for one in facts)


def _rendered(entry: FeedEntry) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (entry.seq, entry.kind.encode(), msgspec.json.encode(entry))
