from __future__ import annotations

from penstock.bus.nats.history import History, describe, past_in
from penstock.events.types import (
    BytesReceived,
    Event,
    PostprocessingFinished,
    PostprocessingStepFinished,
    PostprocessingStepProgress,
    ResumePostprocessing,
    StartPostprocessingStep,
    UploadReady,
)

COORDINATOR = frozenset(
    {BytesReceived, PostprocessingStepFinished, PostprocessingStepProgress, UploadReady, ResumePostprocessing}
)


def received(upload: str) -> Event:
    return BytesReceived(upload_id=upload)


def start(upload: str) -> Event:
    return StartPostprocessingStep(upload_id=upload, step_to_start="virusscan")


def answer(upload: str) -> Event:
    return PostprocessingStepFinished(upload_id=upload, finished_step="virusscan", outcome="continue")


def decided(upload: str) -> Event:
    return PostprocessingFinished(upload_id=upload, outcome="continue")


def open_of(types: frozenset[type], *events: Event) -> list[int]:
    history = History(types)
    for sequence, event in enumerate(events, 1):
        history.add(sequence, event)
    return sorted(history.open())


def test_an_upload_that_has_ended_leaves_nothing() -> None:
    whole = (received("a"), start("a"), answer("a"), decided("a"), UploadReady(upload_id="a"))
    assert open_of(COORDINATOR, *whole) == []
    assert open_of(COORDINATOR, *whole[:4]) == []


def test_what_has_no_end_is_all_there() -> None:
    assert open_of(COORDINATOR, received("a"), received("b"), answer("a"), decided("b")) == [1, 3]


def test_what_comes_after_an_end_counts_again() -> None:
    assert open_of(COORDINATOR, received("a"), decided("a"), received("a")) == [3]


def test_only_what_the_group_handles_counts() -> None:
    step = frozenset({StartPostprocessingStep})
    assert open_of(step, received("a"), start("a"), start("b"), answer("a"), decided("b")) == [2]


def test_a_group_that_handles_decisions_gets_those_nobody_confirmed() -> None:
    gateway = frozenset({PostprocessingFinished})
    assert open_of(gateway, decided("a"), decided("b"), UploadReady(upload_id="a")) == [2]


def test_commands_for_all_and_signs_of_life_are_of_their_moment() -> None:
    assert open_of(
        COORDINATOR,
        ResumePostprocessing(upload_id="", step="finished"),
        PostprocessingStepProgress(upload_id="a", step="ocr"),
        ResumePostprocessing(upload_id="a", step=""),
    ) == [3]


def test_what_nobody_can_read_is_not_forgotten() -> None:
    history = History(COORDINATOR)
    history.add_undecodable(7)
    assert history.open() == {7}


def test_a_consumer_remembers_where_its_past_ends() -> None:
    assert past_in(describe(4711)) == 4711
    assert past_in("somebody else's") == 0
    assert past_in(None) == 0
