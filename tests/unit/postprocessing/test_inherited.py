from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.core.machine import decide
from penstock.core.policy import Policy
from penstock.core.progress import Progress, Status
from penstock.core.transition import Tick
from penstock.events.types import Envelope, PostprocessingStepProgress, ResumePostprocessing
from penstock.postprocessing.inherited import Inherited, count_inherited, is_inherited
from penstock.store.memory import MemoryStore

STEPS = ("virusscan", "delay", "ocr")
POLICY = Policy(steps=STEPS)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def by_go(step: str, outcome: str = "", *, steps: tuple[str, ...] = STEPS, finished: bool = False) -> Progress:
    return Progress(upload_id="u", steps=steps, status=Status(step, outcome), finished=finished)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (by_go("virusscan"), Inherited(1, 1, 0, 0)),
        (by_go("virusscan", "retry"), Inherited(1, 1, 1, 0)),
        (by_go("delay"), Inherited(1, 1, 0, 1)),
        (by_go("ocr"), Inherited(1, 1, 0, 1)),
        (by_go("ocr", "retry"), Inherited(1, 1, 1, 1)),
        (by_go("finished", "continue"), Inherited(1, 1, 0, 0)),
        (by_go("finished", "continue", steps=("virusscan", "delay")), Inherited(1, 1, 0, 1)),
        (by_go("a step that is not in the list"), Inherited(1, 1, 0, 0)),
        (by_go("finished", "abort", finished=True), Inherited(1, 0, 0, 0)),
    ],
)
async def test_what_was_in_the_memory_of_a_go_instance(progress: Progress, expected: Inherited) -> None:
    store = MemoryStore()
    await store.save(progress, expected=None)
    assert await count_inherited(store.all()) == expected


def test_what_we_moved_last_is_ours() -> None:
    waiting = Progress(upload_id="u", steps=STEPS, status=Status("virusscan"), updated_at=NOW, announced=1)
    assert not is_inherited(waiting)


@pytest.mark.parametrize("progress", [by_go("virusscan"), by_go("finished", "continue")])
def test_what_an_instance_of_ours_has_met_meanwhile_is_still_to_be_resumed(progress: Progress) -> None:
    """It has not said what a Go instance may have died before saying; only whoever asks it to resume has it say so."""
    met = decide(progress, Tick(), NOW, POLICY).progress
    assert met is not None
    assert met.updated_at == NOW
    assert is_inherited(met)
    resume = Envelope(event=ResumePostprocessing(upload_id="u"), event_id="resume")
    resumed = decide(met, resume, NOW, POLICY)
    assert resumed.emits
    assert resumed.progress is not None
    assert not is_inherited(resumed.progress)


@pytest.mark.parametrize("progress", [by_go("delay"), by_go("virusscan", "retry")])
def test_what_goes_on_by_itself_since_we_met_it_is_ours(progress: Progress) -> None:
    met = decide(progress, Tick(), NOW, POLICY).progress
    assert met is not None
    assert not is_inherited(met)


def test_a_step_that_is_alive_is_not_started_again() -> None:
    alive = Envelope(event=PostprocessingStepProgress(upload_id="u", step="virusscan"), event_id="alive")
    heard = decide(by_go("virusscan"), alive, NOW, POLICY).progress
    assert heard is not None
    assert not is_inherited(heard)
