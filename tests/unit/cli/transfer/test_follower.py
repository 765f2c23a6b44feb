from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from penstock.cli.transfer import follower as follower_module
from penstock.cli.transfer.follower import Follower
from penstock.cli.transfer.patience import GaveUp
from penstock.errors import NotFound
from penstock.testing.eventually import eventually
from tests.unit.cli.fake_server import Answer, FakeServer, Fault, Upload
from tests.unit.cli.hasty_clock import HastyClock


class Wait:
    """One upload that is waited for."""

    def __init__(self, server: FakeServer, client: httpx.AsyncClient) -> None:
        self.server = server
        self.clock = HastyClock()
        self.follower = Follower(client, server.url, patience=timedelta(minutes=1), clock=self.clock)
        self.upload = Upload("a" * 32, 5, {})
        self.upload.phase = "processing"
        server.uploads[self.upload.id] = self.upload
        self.heard: list[str] = []
        self.troubles: list[str] = []

    async def outcome(self) -> str:
        view = await self.follower.outcome(
            self.upload.id, "file.bin", heard=self.heard.append, troubled=self.troubles.append
        )
        return str(view["phase"])

    @property
    def questions(self) -> int:
        return len(self.server.asked("GET", f"/api/v1/uploads/{self.upload.id}"))


@pytest.fixture
async def wait(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wait]:
    monkeypatch.setattr(follower_module, "_LOOK_SECONDS", 60.0)  # only an event may bring the news sooner
    monkeypatch.setattr(follower_module, "_LOOK_WITHOUT_STREAM_SECONDS", 0.02)
    async with httpx.AsyncClient(trust_env=False) as client:
        yield Wait(server, client)


async def until_connected(wait: Wait) -> None:
    await eventually(lambda: len(wait.server.asked("GET", "/api/v1/events")) > 0 and wait.questions > 0)
    before = wait.questions
    wait.server.tell("step_started", wait.upload.id)
    await eventually(lambda: wait.questions > before)


@pytest.mark.parametrize("phase", ["released", "rejected", "deleted", "cancelled", "expired"])
async def test_an_event_brings_the_outcome(wait: Wait, phase: str) -> None:
    async with asyncio.timeout(60), wait.follower.listening():
        outcome = asyncio.create_task(wait.outcome())
        await until_connected(wait)
        wait.server.end(wait.upload, phase)
        assert await outcome == phase


async def test_what_ended_before_is_known_at_once(wait: Wait) -> None:
    wait.upload.phase = "released"
    async with asyncio.timeout(60), wait.follower.listening():
        assert await wait.outcome() == "released"


async def test_events_about_others_are_no_reason_to_ask(wait: Wait) -> None:
    async with asyncio.timeout(60), wait.follower.listening():
        outcome = asyncio.create_task(wait.outcome())
        await until_connected(wait)
        before = wait.questions
        for number in range(20):
            wait.server.tell("released", str(number))
        wait.server.end(wait.upload, "released")
        await outcome
        assert wait.questions <= before + 2  # what it asks on connecting may come after our look


async def test_without_a_stream_it_asks_every_now_and_then(wait: Wait) -> None:
    wait.server.streams_work = False
    async with asyncio.timeout(60), wait.follower.listening():
        outcome = asyncio.create_task(wait.outcome())
        await eventually(lambda: wait.questions > 3)
        wait.upload.phase = "released"
        assert await outcome == "released"


async def test_what_happened_while_the_stream_was_cut_is_not_missed(wait: Wait) -> None:
    async with asyncio.timeout(60), wait.follower.listening():
        outcome = asyncio.create_task(wait.outcome())
        await until_connected(wait)
        wait.server.stop()
        wait.upload.phase = "rejected"
        wait.server.start()
        assert await outcome == "rejected"


async def test_after_a_cut_it_goes_on_from_the_last_event(wait: Wait) -> None:
    async with asyncio.timeout(60), wait.follower.listening():
        outcome = asyncio.create_task(wait.outcome())
        await until_connected(wait)
        wait.server.stop()
        wait.server.start()
        await eventually(lambda: len(wait.server.asked("GET", "/api/v1/events")) > 1)
        last_id = str(len(wait.server.events))
        assert wait.server.asked("GET", "/api/v1/events")[-1].headers["last-event-id"] == last_id
        wait.server.end(wait.upload, "released")
        assert await outcome == "released"


async def test_a_server_that_stays_away_is_given_up(wait: Wait) -> None:
    wait.server.stop()
    with pytest.raises(GaveUp, match=r"file\.bin: no progress for 1m: connection refused"):
        await wait.outcome()
    assert set(wait.troubles) == {"connection refused"}
    assert wait.clock.seconds == pytest.approx(60)


async def test_a_server_that_is_busy_is_asked_again(wait: Wait) -> None:
    wait.upload.phase = "released"
    wait.server.faults = [Fault("GET", "/api/v1/uploads/", Answer(502, b"<html>"))]
    assert await wait.outcome() == "released"
    assert "502" in wait.troubles[0]


async def test_an_upload_that_nobody_knows_has_no_outcome(wait: Wait) -> None:
    del wait.server.uploads[wait.upload.id]
    with pytest.raises(NotFound):
        await wait.outcome()


@pytest.mark.parametrize(
    ("run", "told"),
    [
        ({"step": "virusscan", "state": "step"}, "virusscan"),
        ({"step": "ocr", "state": "step", "fraction": 0.415}, "ocr 42%"),
        ({"step": "ocr", "state": "step", "stalled": True}, "ocr (stalled)"),
        (
            {"step": "ocr", "state": "backoff", "attempt": 2, "next_try_at": "2026-01-02T03:04:05Z"},
            "ocr: tried 2 times, again at 03:04:05 UTC",
        ),
    ],
)
async def test_it_tells_where_the_upload_stands(wait: Wait, run: dict[str, object], told: str) -> None:
    wait.upload.processing = {"attempt": 1, "fraction": None, "stalled": False, "next_try_at": None} | run
    async with asyncio.timeout(60), wait.follower.listening():
        outcome = asyncio.create_task(wait.outcome())
        await until_connected(wait)
        wait.server.end(wait.upload, "released")
        await outcome
    assert wait.heard[0] == told


async def test_it_tells_how_far_the_release_is(wait: Wait) -> None:
    wait.upload.processing = {"step": "finished", "state": "finished", "fraction": None, "stalled": False}
    wait.upload.releasing = {"stage": "verifying", "done": 3, "size": 5, "fraction": 0.867}
    async with asyncio.timeout(60), wait.follower.listening():
        outcome = asyncio.create_task(wait.outcome())
        await until_connected(wait)
        wait.server.end(wait.upload, "released")
        await outcome
    assert wait.heard[0] == "being released 86% (verifying)"
