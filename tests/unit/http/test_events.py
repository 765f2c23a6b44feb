"""The event stream of one upload: each entry once, and an end whenever the upload has ended."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from penstock.blobs.handover import Handovers, HandoverStage
from penstock.db import Database
from penstock.http import events
from penstock.http.events import begin_after, stream
from penstock.testing import ManualClock, eventually
from penstock.uploads.catalogue import feed as feed_module
from penstock.uploads.catalogue.catalogue import Catalogue
from penstock.uploads.catalogue.feed import Feed
from penstock.uploads.upload import Phase, Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOW = datetime(2026, 1, 1, tzinfo=UTC)
END = ("end", 0)
SIZE = 20 * 1024 * 1024


class Server:
    """What the stream works with, and clients that read it."""

    def __init__(self, feed: Feed, catalogue: Catalogue) -> None:
        self.feed = feed
        self.catalogue = catalogue
        self.handovers = Handovers()
        self.told: list[tuple[str | None, int | None]] = []
        """What the stream said of releases: stage, and bytes done."""
        self.about: list[str] = []
        self.upload = Upload(id="0" * 32, filename="f.txt", created_at=NOW)

    async def enter(self, *phases: Phase) -> None:
        await self.catalogue.add(self.upload)
        for phase in phases:
            await self.move(phase)

    async def move(self, phase: Phase) -> None:
        again = self.upload.run + (phase is Phase.PROCESSING)
        moved = msgspec.structs.replace(self.upload, phase=phase, run=again)
        assert await self.catalogue.change(self.upload, moved)
        self.upload = moved

    def read(self, after: int, upload_id: str | None = None) -> asyncio.Task[list[tuple[str, int]]]:
        """Follow a stream to its end; the result grows while it goes on."""
        self.seen: list[tuple[str, int]] = []
        self.beats = 0
        return asyncio.create_task(self._read(after, upload_id or self.upload.id))

    async def _read(self, after: int, upload_id: str) -> list[tuple[str, int]]:
        services = cast("Any", SimpleNamespace(feed=self.feed, catalogue=self.catalogue, blobs=self))
        async for piece in stream(services, after, upload_id):
            self.beats += piece == b": still here\n\n"
            fields = dict(line.split(": ", 1) for line in piece.decode().splitlines() if line)
            if fields.get("event") == "releasing":
                facts = json.loads(fields["data"])
                self.about.append(facts["upload"])
                self.told.append((facts["stage"], facts.get("done")))
            elif "event" in fields:
                self.seen.append((fields["event"], int(fields.get("id", 0))))
        return self.seen


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    clock = ManualClock(NOW)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(f"sqlite:///{tmp_path}/test.db"))
        feed = await stack.enter_async_context(Feed(database, clock))
        yield Server(feed, Catalogue(database, feed, clock))


async def test_an_upload_is_followed_to_its_end(server: Server) -> None:
    await server.enter(Phase.PROCESSING)
    reading = server.read(0)
    await eventually(lambda: server.seen == [("created", 1), ("received", 2)])
    await server.move(Phase.RELEASED)
    assert await reading == [("created", 1), ("received", 2), ("decided", 3), ("released", 4), END]


@pytest.mark.parametrize("after", [4, 5, 1_000_000])
async def test_who_knows_the_last_entry_is_told_that_it_was_the_last(server: Server, after: int) -> None:
    await server.enter(Phase.PROCESSING, Phase.RELEASED)
    async with asyncio.timeout(60):
        assert await server.read(after) == [END]


async def test_who_knows_a_number_of_another_database_is_told_what_comes(server: Server) -> None:
    await server.enter(Phase.PROCESSING)
    services = cast("Any", SimpleNamespace(feed=server.feed))
    assert [await begin_after(services, known) for known in (None, 0, 1, 1_000_000)] == [2, 0, 1, 2]
    reading = server.read(await begin_after(services, 1_000_000))
    await server.move(Phase.RELEASED)
    assert await reading == [("decided", 3), ("released", 4), END]


async def test_an_end_whose_entries_are_forgotten_is_one(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    await server.enter(Phase.PROCESSING, Phase.RELEASED)
    monkeypatch.setattr(server.feed, "_keep_entries", 0)
    assert await server.feed.trim() == 4
    async with asyncio.timeout(60):
        assert await server.read(0) == [END]


async def test_an_upload_that_begins_again_has_not_ended(server: Server) -> None:
    await server.enter(Phase.PROCESSING, Phase.REJECTED, Phase.PROCESSING)
    reading = server.read(4)
    await eventually(lambda: server.seen == [("restarted", 5)])
    await server.move(Phase.CANCELLED)
    assert await reading == [("restarted", 5), ("cancelled", 6), END]


async def test_the_end_does_not_overtake_the_last_entry(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What subscribers are given from memory lags behind the catalogue."""
    await server.enter(Phase.PROCESSING)
    held, begun = asyncio.Event(), asyncio.Event()
    catch_up = Feed._catch_up

    async def later(self: Feed) -> None:
        if begun.is_set():
            await held.wait()
        await catch_up(self)
        begun.set()

    monkeypatch.setattr(feed_module.Feed, "_catch_up", later)
    with server.feed.subscribe():
        await begun.wait()
        await server.move(Phase.RELEASED)
        monkeypatch.setattr(events, "_HEARTBEAT_SECONDS", 0.001)  # looks again and again
        reading = server.read(2)
        await eventually(lambda: server.beats >= 2)
        assert server.seen == []
        held.set()
        assert await reading == [("decided", 3), ("released", 4), END]


async def test_how_far_a_release_is_is_told_in_between(server: Server) -> None:
    await server.enter(Phase.PROCESSING)
    reading = server.read(1)
    await eventually(lambda: server.seen == [("received", 2)])
    with server.handovers.begin(server.upload.id, SIZE) as track:
        await eventually(lambda: server.told[-1:] == [("waiting", 0)])
        track.enters(HandoverStage.COPYING)
        track.to(SIZE // 2)
        await eventually(lambda: server.told[-1:] == [("copying", SIZE // 2)])
        with server.handovers.begin("b" * 32, SIZE):
            track.enters(HandoverStage.VERIFYING)
            await eventually(lambda: server.told[-1:] == [("verifying", 0)])
    await eventually(lambda: server.told[-1:] == [(None, None)])
    await server.move(Phase.RELEASED)
    assert await reading == [("received", 2), ("decided", 3), ("released", 4), END]
    assert all(upload == server.upload.id for upload in server.about)


async def test_streams_end_with_the_server(server: Server) -> None:
    await server.enter(Phase.PROCESSING)
    reading = server.read(0)
    await eventually(lambda: server.seen == [("created", 1), ("received", 2)])
    server.feed.end()
    assert await reading == [("created", 1), ("received", 2)]  # and no word of an end: the upload goes on
    assert await server.read(1) == [("received", 2)]  # what there is, and no waiting
