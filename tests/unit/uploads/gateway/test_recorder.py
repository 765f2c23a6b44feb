"""The journal of steps: in order, each once, and without gaps also where a process died."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from penstock.db import Database
from penstock.events.types import (
    Envelope,
    PostprocessingRetry,
    PostprocessingStepFinished,
    StartPostprocessingStep,
    VirusscanResult,
)
from penstock.ids import derived_id, new_event_id, new_upload_id
from penstock.testing import ManualClock
from penstock.uploads.catalogue.catalogue import Catalogue
from penstock.uploads.catalogue.feed import Feed
from penstock.uploads.catalogue.journal import FeedEntry
from penstock.uploads.gateway import recorder as recorder_module
from penstock.uploads.gateway.recorder import Recorder
from penstock.uploads.gateway.runs import start_id
from penstock.uploads.upload import Phase, ScanMark, Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Scene:
    """An upload in processing, and whoever records what happens to it."""

    def __init__(self, database: Database) -> None:
        self.clock = ManualClock(NOW)
        self.feed = Feed(database, self.clock)
        self.catalogue = Catalogue(database, self.feed, self.clock)
        self.recorder = Recorder(self.catalogue, self.clock, alone=True)
        self.upload = Upload(id=new_upload_id(), filename="f.txt", created_at=NOW, phase=Phase.PROCESSING, run=1)

    async def start(self, step: str, attempt: int = 1, event_id: str | None = None) -> str:
        event_id = start_id(self.upload.id, self.upload.run, step, attempt) if event_id is None else event_id
        event = StartPostprocessingStep(upload_id=self.upload.id, step_to_start=step)
        await self.recorder.started(self.upload, event, Envelope(event=event, event_id=event_id, id="sending"))
        return event_id

    async def answer(self, step: str, outcome: str, causation_id: str = "", result: Any = None) -> None:
        event, envelope = self.said(step, outcome, causation_id, result)
        await self.recorder.answered(self.upload, event, envelope)

    async def is_about_to_answer(self, step: str, outcome: str, causation_id: str = "", result: Any = None) -> Upload:
        """Have an answer explained that never comes; return the upload as it is then."""
        self.upload = await self.present()
        event, envelope = self.said(step, outcome, causation_id, result)
        await self.recorder.explained(self.upload, event, envelope)
        return await self.present()

    def said(
        self, step: str, outcome: str, causation_id: str, result: Any
    ) -> tuple[PostprocessingStepFinished, Envelope]:
        event = PostprocessingStepFinished(upload_id=self.upload.id, finished_step=step, outcome=outcome, result=result)
        event_id = derived_id(causation_id, "finished") if causation_id else new_event_id()
        return event, Envelope(event=event, event_id=event_id, causation_id=causation_id)

    async def present(self) -> Upload:
        upload = await self.catalogue.get(self.upload.id)
        assert upload is not None
        return upload

    async def retry(self, start: str, pause: timedelta) -> None:
        event = PostprocessingRetry(
            upload_id=self.upload.id, failures=1, backoff_duration_ns=pause // timedelta(microseconds=1) * 1000
        )
        await self.recorder.retried(self.upload, event, Envelope(event=event, event_id=derived_id(start, "retry")))

    async def end(self, phase: Phase = Phase.RELEASED, outcome: str = "continue", reason: str = "") -> None:
        ended = msgspec.structs.replace(self.upload, phase=phase, outcome=outcome, reason=reason)
        proven = await self.recorder.proven(ended)
        assert await self.catalogue.change(self.upload, ended, preceded_by=proven)
        self.recorder.ended(self.upload.id)

    def die(self) -> None:
        """Forget all that was in memory."""
        self.recorder = Recorder(self.catalogue, self.clock, alone=True)

    async def entries(self) -> list[FeedEntry]:
        return (await self.feed.since(0, upload=self.upload.id, limit=1000))[1:]

    async def story(self) -> list[str]:
        return [
            " ".join(str(part) for part in (entry.kind, entry.step, entry.attempt, entry.outcome) if part)
            for entry in await self.entries()
        ]


@pytest.fixture(params=["alone", "several"])
async def scene(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with Database(f"sqlite:///{tmp_path}/test.db") as database:
        scene = Scene(database)
        if request.param == "several":
            scene.recorder = Recorder(scene.catalogue, scene.clock, alone=False)
        await scene.catalogue.add(scene.upload)
        scene.recorder.begun(scene.upload)
        yield scene


USUAL = [
    "step_started virusscan 1",
    "step_finished virusscan 1 continue",
    "step_started ocr 1",
    "step_finished ocr 1 continue",
    "decided continue",
    "released continue",
]


async def test_steps_are_told_in_order_with_their_attempts(scene: Scene) -> None:
    for step in ("virusscan", "ocr"):
        await scene.answer(step, "continue", await scene.start(step))
    await scene.end()
    assert await scene.story() == USUAL
    assert {entry.phase for entry in (await scene.entries())[:-1]} == {Phase.PROCESSING}
    assert {entry.filename for entry in await scene.entries()} == {"f.txt"}


async def test_whatever_is_said_twice_is_told_once(scene: Scene) -> None:
    for step in ("virusscan", "ocr"):
        start = await scene.start(step)
        await scene.start(step)
        for _ in range(2):
            await scene.answer(step, "continue", start)
    await scene.end()
    assert await scene.story() == USUAL


@pytest.mark.parametrize("dies_after", range(5))
async def test_whatever_is_said_again_after_a_death_is_told_once(scene: Scene, dies_after: int) -> None:
    said = 0
    for step in ("virusscan", "ocr"):
        start = await scene.start(step)
        said += 1
        if said == dies_after:
            scene.die()
            await scene.start(step)
        await scene.answer(step, "continue", start)
        said += 1
        if said == dies_after:
            scene.die()
            await scene.answer(step, "continue", start)
    await scene.end()
    assert await scene.story() == USUAL


@pytest.mark.parametrize("lost", ["virusscan", "ocr"])
async def test_an_answer_that_a_death_took_away_is_told_by_what_follows(scene: Scene, lost: str) -> None:
    for step in ("virusscan", "ocr"):
        start = await scene.start(step)
        if step == lost:
            scene.die()
        else:
            await scene.answer(step, "continue", start)
    await scene.end()
    assert await scene.story() == USUAL


async def test_an_answer_that_comes_later_than_what_follows_is_told_once(scene: Scene) -> None:
    first = await scene.start("virusscan")
    second = await scene.start("ocr")
    await scene.answer("virusscan", "continue", first)
    await scene.answer("ocr", "continue", second)
    await scene.end()
    assert await scene.story() == USUAL


async def test_a_delay_ends_with_what_follows(scene: Scene) -> None:
    """The coordinator does it itself, and says nothing at its end."""
    await scene.start("delay")
    await scene.answer("ocr", "continue", await scene.start("ocr"))
    await scene.end()
    assert (await scene.story())[:3] == [
        "step_started delay 1",
        "step_finished delay 1 continue",
        "step_started ocr 1",
    ]


@pytest.mark.parametrize("dies", [False, True])
async def test_retries_tell_the_step_the_attempt_and_when(scene: Scene, dies: bool) -> None:
    for attempt in (1, 2):
        start = await scene.start("ocr", attempt)
        await scene.answer("ocr", "retry", start, {"error": "no paper"})
        if dies:
            scene.die()
        await scene.retry(start, timedelta(seconds=5 * attempt))
    await scene.answer("ocr", "continue", await scene.start("ocr", 3))
    await scene.end()
    assert await scene.story() == [
        "step_started ocr 1",
        "step_finished ocr 1 retry",
        "retry ocr 1",
        "step_started ocr 2",
        "step_finished ocr 2 retry",
        "retry ocr 2",
        "step_started ocr 3",
        "step_finished ocr 3 continue",
        "decided continue",
        "released continue",
    ]
    entries = await scene.entries()
    assert [entry.next_try_at for entry in entries if entry.kind == "retry"] == [
        NOW + timedelta(seconds=5),
        NOW + timedelta(seconds=10),
    ]
    assert entries[1].reason == "no paper"


async def test_a_step_that_was_started_anew_without_an_answer_did_not_pass(scene: Scene) -> None:
    """An operator resumed it, or it ran into its deadline: the first attempt has no answer to tell."""
    await scene.start("ocr", 1)
    await scene.start("ocr", 2)
    assert await scene.story() == ["step_started ocr 1", "step_started ocr 2"]


async def test_another_run_begins_from_the_first_attempt(scene: Scene) -> None:
    await scene.start("ocr", 1)
    await scene.start("ocr", 2)
    again = msgspec.structs.replace(scene.upload, run=2)
    assert await scene.catalogue.change(scene.upload, again)
    scene.upload = again
    await scene.start("ocr", 1)
    assert await scene.story() == ["step_started ocr 1", "step_started ocr 2", "restarted", "step_started ocr 1"]


async def test_services_that_do_not_name_what_they_answer_are_understood(scene: Scene) -> None:
    """The Go services: random IDs, no causation."""
    await scene.start("virusscan", event_id=new_event_id())
    await scene.answer("virusscan", "continue")
    await scene.answer("virusscan", "continue")
    await scene.start("ocr", event_id="")
    await scene.answer("ocr", "continue")
    await scene.end()
    assert await scene.story() == [
        "step_started virusscan",
        "step_finished virusscan continue",
        "step_started ocr",
        "step_finished ocr continue",
        "decided continue",
        "released continue",
    ]


async def test_an_answer_to_something_else_is_told_without_an_attempt(scene: Scene) -> None:
    await scene.start("ocr")
    await scene.answer("ocr", "continue", new_event_id())
    await scene.answer("thumbnail", "continue")
    assert await scene.story() == [
        "step_started ocr 1",
        "step_finished ocr continue",
        "step_finished thumbnail continue",
    ]
    await scene.end()
    assert (await scene.story())[-3:] == ["step_finished ocr 1 continue", "decided continue", "released continue"]


async def test_what_the_scanner_found_is_kept_with_the_upload(scene: Scene) -> None:
    result = VirusscanResult(infected=True, description="Eicar", scandate="2026-01-01T00:00:00Z")
    await scene.answer("virusscan", "abort", await scene.start("virusscan"), result)
    upload = await scene.present()
    assert upload.scan == ScanMark(infected=True, signature="Eicar", scanned_at="2026-01-01T00:00:00Z")
    assert upload.reason == "infected: Eicar"
    assert (await scene.entries())[-1].reason == "infected: Eicar"


async def test_a_scan_that_failed_is_no_finding(scene: Scene) -> None:
    result = VirusscanResult(error_message="clamd is away")
    await scene.answer("virusscan", "retry", await scene.start("virusscan"), result)
    upload = await scene.present()
    assert upload.scan == ScanMark(infected=False, scanned_at=result.scandate, error="clamd is away")
    assert upload.reason == "clamd is away"


async def test_what_passes_with_a_remark_is_not_rejected_for_it(scene: Scene) -> None:
    await scene.answer("ocr", "continue", await scene.start("ocr"), {"error": "two pages were empty"})
    upload = await scene.present()
    assert upload.reason == ""


async def test_memory_is_bounded_and_what_was_forgotten_is_looked_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "_KNOWN", 10)
    await scene.start("virusscan")
    for number in range(20):
        scene.recorder.begun(msgspec.structs.replace(scene.upload, id=f"other {number}"))
    assert len(scene.recorder._runs) == (10 if scene.recorder._alone else 0)
    await scene.start("virusscan")
    await scene.start("ocr")
    assert await scene.story() == USUAL[:3]


INFECTED = VirusscanResult(infected=True, description="Eicar", scandate="2026-01-01T00:00:00Z")
CLEAN = VirusscanResult(scandate="2026-01-01T00:00:05Z")


async def test_why_an_upload_does_not_pass_is_kept_before_it_is_said(scene: Scene) -> None:
    start = await scene.start("virusscan")
    upload = await scene.is_about_to_answer("virusscan", "delete", start, INFECTED)
    assert upload.scan == ScanMark(infected=True, signature="Eicar", scanned_at="2026-01-01T00:00:00Z")
    assert upload.reason == "infected: Eicar"
    assert await scene.story() == ["step_started virusscan 1"]
    await scene.end(Phase.DELETED, "delete", upload.reason)
    assert await scene.story() == [
        "step_started virusscan 1",
        "step_finished virusscan 1 delete",
        "decided delete",
        "deleted delete",
    ]
    assert [entry.reason for entry in await scene.entries()] == ["", *["infected: Eicar"] * 3]


async def test_a_remark_of_the_scanner_is_kept_and_is_no_reason(scene: Scene) -> None:
    start = await scene.start("virusscan")
    partly = VirusscanResult(error_message="scanned in part", scandate="2026-01-01T00:00:00Z")
    upload = await scene.is_about_to_answer("virusscan", "continue", start, partly)
    assert upload.scan == ScanMark(infected=False, scanned_at="2026-01-01T00:00:00Z", error="scanned in part")
    assert upload.reason == ""


async def test_a_finding_is_not_kept_beyond_the_scan_that_corrects_it(scene: Scene) -> None:
    start = await scene.start("virusscan")
    assert (await scene.is_about_to_answer("virusscan", "continue", start, CLEAN)).scan is None  # that can wait
    await scene.is_about_to_answer("virusscan", "delete", start, INFECTED)
    upload = await scene.is_about_to_answer("virusscan", "continue", start, CLEAN)
    assert upload.scan == ScanMark(infected=False, scanned_at="2026-01-01T00:00:05Z")


async def test_what_an_earlier_run_says_against_an_upload_does_not_count(scene: Scene) -> None:
    earlier = await scene.start("virusscan")
    again = msgspec.structs.replace(scene.upload, run=2)
    assert await scene.catalogue.change(scene.upload, again)
    upload = await scene.is_about_to_answer("virusscan", "delete", earlier, INFECTED)
    assert (upload.run, upload.scan, upload.reason) == (2, None, "")


async def test_abort_does_not_prove_what_was_answered(scene: Scene) -> None:
    """It also follows from too many retries, and from a step that does not answer."""
    await scene.start("ocr")
    await scene.end(Phase.REJECTED, "abort")
    assert await scene.story() == ["step_started ocr 1", "decided abort", "rejected abort"]


async def test_what_another_instance_has_written_counts(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path}/test.db") as database:
        scene = Scene(database)
        await scene.catalogue.add(scene.upload)
        ours, others = (Recorder(scene.catalogue, scene.clock, alone=False) for _ in range(2))
        for scene.recorder, step in ((ours, "virusscan"), (others, "ocr")):
            await scene.start(step)
        scene.recorder = ours
        await scene.answer("ocr", "continue", start_id(scene.upload.id, 1, "ocr", 1))
        last = (await scene.feed.since(0, limit=100))[-1]
        assert (last.step, last.attempt, last.outcome) == ("ocr", 1, "continue")


async def test_a_start_that_an_earlier_process_wrote_down_is_known_as_long_as_the_upload_is_in_processing(
    scene: Scene,
) -> None:
    written = said_start(scene, await scene.start("ocr"))
    other = said_start(scene, start_id(scene.upload.id, 1, "ocr", 2))
    assert not await scene.recorder.has_written(scene.upload.id, written)  # this one knows the run by itself
    later = Recorder(scene.catalogue, scene.clock, alone=True)
    assert await later.has_written(scene.upload.id, written)
    assert not await later.has_written(scene.upload.id, other)
    among_others = Recorder(scene.catalogue, scene.clock, alone=False)
    assert not await among_others.has_written(scene.upload.id, written)
    await scene.catalogue.change(scene.upload, msgspec.structs.replace(scene.upload, phase=Phase.CANCELLED))
    assert not await later.has_written(scene.upload.id, written)


def said_start(scene: Scene, event_id: str) -> Envelope:
    return Envelope(
        event=StartPostprocessingStep(upload_id=scene.upload.id, step_to_start="ocr"), event_id=event_id, id="again"
    )
