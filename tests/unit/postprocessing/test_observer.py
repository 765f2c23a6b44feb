"""What is counted, and how often."""

from __future__ import annotations

from datetime import timedelta

from structlog.testing import capture_logs

from penstock.core.policy import Policy
from penstock.core.transition import Tick, Verdict
from penstock.events.types import BytesReceived, PostprocessingStepFinished, ResumePostprocessing, UploadReady
from penstock.testing import eventually

from .world import RECEIVED, World, answer, said


async def test_a_retry_counts_once_though_the_clock_is_set_back(world: World) -> None:
    world.follow(Policy.create(["virusscan"], retry_backoff=timedelta(hours=1)))
    await world.coordinator.handle(RECEIVED)
    await world.coordinator.handle(answer("retry"))
    world.clock.jump(timedelta(hours=-3))
    with capture_logs() as logs:
        transition = await world.coordinator.apply("u", Tick())
    assert transition.verdict is Verdict.APPLIED
    assert world.sample("penstock_retries_total", step="virusscan") == 1
    assert logs == []


async def test_what_is_only_said_again_is_not_logged_as_a_start(world: World) -> None:
    with capture_logs() as logs:
        await world.coordinator.handle(RECEIVED)
        for _ in range(3):
            await world.clock.advance(timedelta(seconds=60))
            await world.timers.fire()
    await eventually(lambda: len(world.starts()) == 4)
    assert [entry["event"] for entry in logs] == ["step_started"]


async def test_a_decision_counts_once_however_often_it_is_sent(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    await world.coordinator.handle(answer("abort"))
    with capture_logs() as logs:
        await world.coordinator.handle(said(ResumePostprocessing(upload_id="u"), "again"))
        await world.coordinator.handle(said(UploadReady(upload_id="u", failed=True), "ready"))
    assert world.sample("penstock_outcomes_total", outcome="abort") == 1
    assert [entry["event"] for entry in logs] == ["decision_repeated", "upload_not_released"]


async def test_an_event_that_names_no_upload_is_counted_and_a_new_upload_without_a_name_is_told(world: World) -> None:
    on_demand = PostprocessingStepFinished(upload_id="", finished_step="virusscan", outcome="continue")
    with capture_logs() as logs:
        await world.coordinator.handle(said(on_demand, "scan"))
        await world.coordinator.handle(said(BytesReceived(upload_id=""), "nobody's"))
    assert world.count("bytes received", "ignored") == world.count("step: continue", "ignored") == 1
    assert [(entry["log_level"], entry["event_id"]) for entry in logs] == [("debug", "scan"), ("error", "nobody's")]


async def test_a_restart_without_steps_is_decided_and_counted_anew(world: World) -> None:
    world.follow(Policy.create([]))
    await world.coordinator.handle(RECEIVED)
    await world.coordinator.handle(said(RECEIVED.event, "run-2"))
    assert world.sample("penstock_outcomes_total", outcome="continue") == 2
