"""Save, publish, acknowledge: what the coordinator does with the machine's decisions."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from penstock.bus.base import BusUnavailable
from penstock.core.progress import Progress, State, Status
from penstock.core.transition import Tick, Verdict
from penstock.events.types import (
    BytesReceived,
    CancelPostprocessing,
    Envelope,
    PostprocessingStepProgress,
    ResumePostprocessing,
    UploadReady,
)
from penstock.postprocessing.coordinator import Contended
from penstock.store.base import Revision, RevisionConflict, StoreUnavailable
from penstock.testing import RecordedTracing, eventually
from penstock.tracing.traceparent import checked

from .world import POLICY, RECEIVED, World, answer, received, said


async def test_it_saves_before_it_publishes(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    await eventually(lambda: world.heard)
    assert world.log == ["saved virusscan", "heard virusscan"]


async def test_an_upload_passes_through_and_is_forgotten(world: World) -> None:
    for envelope in (RECEIVED, answer("continue"), answer("continue", "ocr", "answer-2")):
        await world.coordinator.handle(envelope)
    await eventually(lambda: world.log[-1] == "heard PostprocessingFinished")
    await world.coordinator.handle(said(UploadReady(upload_id="u")))
    assert await world.record() is None
    assert set(await world.memory.answered()) == {"virusscan", "ocr"}
    seconds = world.metrics.registry.get_sample_value("penstock_step_seconds_count", {"step": "virusscan"})
    assert seconds == 1


async def test_a_store_that_is_away_leaves_the_event_unhandled(world: World) -> None:
    world.store.failing = 1
    with pytest.raises(StoreUnavailable):
        await world.coordinator.handle(RECEIVED)
    assert world.heard == []
    await world.coordinator.handle(RECEIVED)
    await eventually(lambda: world.heard)


async def test_what_was_saved_but_not_published_is_published_when_the_event_comes_again(world: World) -> None:
    world.line.away = True
    with pytest.raises(BusUnavailable):
        await world.coordinator.handle(RECEIVED)
    assert world.log == ["saved virusscan"]
    world.line.away = False
    await world.coordinator.handle(RECEIVED)
    await eventually(lambda: world.heard)
    assert world.log == ["saved virusscan", "heard virusscan"]
    assert world.count("bytes received", "repeated") == 1


async def test_what_was_saved_is_counted_once_also_when_it_is_published_later(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    world.line.away = True
    with pytest.raises(BusUnavailable):
        await world.coordinator.handle(answer("abort"))
    world.line.away = False
    await world.coordinator.handle(answer("abort"))
    await eventually(world.decisions)
    assert world.sample("penstock_outcomes_total", outcome="abort") == 1
    assert world.sample("penstock_step_outcomes_total", step="virusscan", outcome="abort") == 1


async def test_a_store_that_cannot_note_who_answers_does_not_make_the_answer_come_again(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    world.store.away.add("remember_answer")
    await world.coordinator.handle(answer("continue"))
    assert (await world.progress()).status.current_step == "ocr"
    assert world.sample("penstock_step_outcomes_total", step="virusscan", outcome="continue") == 1
    assert await world.memory.answered() == {}
    world.store.away.clear()
    await world.coordinator.handle(received("v"))
    await world.coordinator.handle(answer("continue", event_id="of v", upload_id="v"))
    assert set(await world.memory.answered()) == {"virusscan"}


TRACE = "0af7651916cd43dd8448eb211c80319c"


def traced(envelope: Envelope, trace_parent: str = f"00-{TRACE}-b7ad6b7169203331-01") -> Envelope:
    return msgspec.structs.replace(envelope, trace_parent=trace_parent)


async def test_a_trace_goes_on_in_what_follows_from_its_event(world: World) -> None:
    await world.coordinator.handle(traced(RECEIVED))
    (heard,) = await eventually(lambda: world.heard)
    assert heard.trace_parent.startswith(f"00-{TRACE}-")
    assert heard.trace_parent != traced(RECEIVED).trace_parent
    assert heard.trace_parent.endswith("-00")  # nobody records our part


async def test_what_nobodys_event_leads_to_stays_in_the_trace_of_the_upload(world: World) -> None:
    await world.coordinator.handle(traced(RECEIVED))
    await world.coordinator.handle(answer("retry"))  # from a service that knows no traces
    await world.clock.advance(timedelta(seconds=4))
    await world.timers.fire()
    await world.coordinator.handle(answer("continue", event_id="late"))
    await eventually(lambda: world.starts() == ["virusscan", "virusscan", "ocr"])
    assert {heard.trace_parent[3:35] for heard in world.heard} == {TRACE}
    assert len({heard.trace_parent for heard in world.heard}) == 3


async def test_an_upload_without_a_trace_is_given_one_and_another_run_has_its_own(world: World) -> None:
    await world.coordinator.handle(traced(RECEIVED, "none"))
    (first,) = await eventually(lambda: world.heard)
    assert (await world.progress()).trace_parent == first.trace_parent
    assert checked(first.trace_parent) == first.trace_parent
    await world.coordinator.handle(traced(said(BytesReceived(upload_id="u"), "run-2")))
    assert (await world.progress()).trace_parent[3:35] == TRACE


async def test_a_record_of_a_go_instance_is_given_a_trace_by_the_first_event(world: World) -> None:
    await world.memory.save(Progress(upload_id="u", status=Status("virusscan"), steps=POLICY.steps), expected=None)
    await world.coordinator.handle(traced(answer("retry")))
    assert (await world.progress()).trace_parent[3:35] == TRACE


async def test_there_is_a_span_for_what_moves_an_upload_and_none_for_signs_of_life(world: World) -> None:
    tracing = RecordedTracing()
    coordinator = world.another(tracing=tracing)
    await coordinator.handle(RECEIVED)
    await coordinator.handle(said(PostprocessingStepProgress(upload_id="u", step="virusscan", fraction=0.5), "beat"))
    await coordinator.handle(answer("continue", event_id="late", upload_id="unknown"))
    await world.another().handle(answer("continue"))
    world.log.clear()
    await coordinator.handle(answer("continue", "ocr", "answer-2"))  # finds that its record is of the past
    assert [(span.name, span.attributes["step"]) for span in tracing.ended] == [
        ("coordinator BytesReceived", "virusscan"),
        ("coordinator PostprocessingStepFinished", "finished"),
    ]
    world.line.away = True
    with pytest.raises(BusUnavailable):
        await coordinator.handle(said(ResumePostprocessing(upload_id="u"), "resume"))
    assert [(span.name, span.error) for span in tracing.ended[2:]] == [
        ("coordinator ResumePostprocessing", "BusUnavailable: away")
    ]


async def test_two_instances_do_not_lose_each_others_changes(world: World) -> None:
    other = world.another()
    await world.coordinator.handle(RECEIVED)
    await other.handle(answer("continue"))  # the first one still remembers the step before
    await world.coordinator.handle(answer("continue", "ocr", "answer-2"))
    record = await world.record()
    assert record is not None
    assert record.state is State.FINISHED
    late = await world.coordinator.apply("u", answer("continue", "ocr", "answer-3"))
    assert late.verdict is Verdict.STALE


async def test_a_conflict_is_decided_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.coordinator.handle(RECEIVED)
    save = world.store.save
    conflicts = [True]

    async def conflicting(progress: Progress, *, expected: Revision | None) -> Revision:
        if conflicts:
            conflicts.pop()
            raise RevisionConflict(progress.upload_id)
        revision: Revision = await save(progress, expected=expected)
        return revision

    monkeypatch.setattr(world.store, "save", conflicting)
    await world.coordinator.handle(answer("continue"))
    record = await world.record()
    assert record is not None
    assert record.status.current_step == "ocr"


async def test_conflicts_without_end_are_given_up_and_the_event_comes_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.coordinator.handle(RECEIVED)
    tries = 0

    async def conflicting(progress: Progress, *, expected: Revision | None) -> Revision:
        nonlocal tries
        tries += 1
        raise RevisionConflict(progress.upload_id)

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "save", conflicting)
        with pytest.raises(Contended, match="upload u:"):
            await world.coordinator.handle(answer("continue"))
    assert tries <= 32
    await world.coordinator.handle(answer("continue"))
    assert (await world.progress()).status.current_step == "ocr"


async def test_a_late_repeat_of_the_first_event_does_not_begin_an_ended_run_anew(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    await world.coordinator.handle(said(CancelPostprocessing(upload_id="u")))
    await world.coordinator.handle(RECEIVED)
    assert await world.record() is None
    assert world.count("bytes received", "duplicate") == 1


async def test_resume_by_step_reaches_all_in_that_step(world: World) -> None:
    for upload in ("u", "v", "w"):
        await world.coordinator.handle(received(upload))
    await eventually(lambda: len(world.heard) == 3)
    await world.coordinator.handle(said(ResumePostprocessing(step="virusscan"), "resume"))
    await eventually(lambda: len(world.heard) == 6)
    assert len({envelope.event_id for envelope in world.heard}) == 6


async def test_a_near_timer_is_told_to_the_timers(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    assert not world.coordinator.near_timer.is_set()
    await world.coordinator.handle(answer("retry"))
    await world.clock.advance(timedelta(seconds=3.5))
    assert not world.coordinator.near_timer.is_set()
    await world.clock.advance(timedelta(seconds=1))
    transition = await world.coordinator.apply("u", Tick())
    assert transition.verdict is Verdict.APPLIED


async def test_resume_by_step_goes_on_past_one_that_cannot_be_written_and_comes_again_for_one_that_was_not_reached(
    world: World,
) -> None:
    for upload in ("u", "v", "w"):
        await world.coordinator.handle(received(upload))
    world.store.unwritable = {"u": ValueError("broken"), "v": StoreUnavailable("away")}
    resume = said(ResumePostprocessing(step="virusscan"), "resume")
    with pytest.raises(StoreUnavailable):
        await world.coordinator.handle(resume)
    assert [(await world.progress(upload)).attempt for upload in ("u", "v", "w")] == [1, 1, 2]
    del world.store.unwritable["v"]
    await world.coordinator.handle(resume)
    assert [(await world.progress(upload)).attempt for upload in ("u", "v", "w")] == [1, 2, 2]
