"""What an event's ID tells about the run, step and attempt that it belongs to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from penstock.core.emit import awaited_id
from penstock.core.machine import decide
from penstock.core.policy import Policy
from penstock.core.progress import Progress
from penstock.core.transition import Tick
from penstock.events.types import BytesReceived, Envelope, PostprocessingStepFinished
from penstock.ids import new_event_id, new_upload_id
from penstock.uploads.gateway.runs import attempt_of, decides_earlier_run, run_id, start_id

UPLOAD = new_upload_id()
NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = Policy.create(["virusscan", "ocr"], retry_backoff=timedelta(seconds=1))


def machine(run: int, *answers: str) -> Progress:
    """Return what the coordinator has in mind after these answers."""
    begun = Envelope(event=BytesReceived(upload_id=UPLOAD), event_id=run_id(UPLOAD, run))
    progress = decide(None, begun, NOW, POLICY).progress
    for outcome in answers:
        assert progress is not None
        answer = PostprocessingStepFinished(
            upload_id=UPLOAD, finished_step=progress.status.current_step, outcome=outcome
        )
        progress = decide(progress, Envelope(event=answer, event_id=new_event_id()), NOW, POLICY).progress
        assert progress is not None
        progress = decide(progress, Tick(), NOW + timedelta(hours=1), POLICY).progress
    assert progress is not None
    return progress


def test_the_ids_are_those_of_the_coordinator() -> None:
    assert awaited_id(machine(1)) == start_id(UPLOAD, 1, "virusscan", 1)
    assert awaited_id(machine(1, "retry", "retry")) == start_id(UPLOAD, 1, "virusscan", 3)
    assert awaited_id(machine(2, "continue")) == start_id(UPLOAD, 2, "ocr", 1)
    assert awaited_id(machine(2, "abort")) == start_id(UPLOAD, 2, "finished", 1)


def test_an_attempt_is_read_off_the_id() -> None:
    for attempt in (1, 2, 9, 64):
        assert attempt_of(start_id(UPLOAD, 3, "ocr", attempt), UPLOAD, 3, "ocr") == attempt
    assert attempt_of(start_id(UPLOAD, 3, "ocr", 500), UPLOAD, 3, "ocr", first=500) == 500
    assert attempt_of(start_id(UPLOAD, 3, "ocr", 65), UPLOAD, 3, "ocr") is None
    assert attempt_of(start_id(UPLOAD, 2, "ocr", 1), UPLOAD, 3, "ocr") is None
    assert attempt_of(new_event_id(), UPLOAD, 1, "ocr") is None


def test_only_a_decision_that_is_known_to_be_older_is_one_of_an_earlier_run() -> None:
    def decision(run: int, attempt: int = 1) -> str:
        return start_id(UPLOAD, run, "finished", attempt)

    assert decides_earlier_run(decision(1), UPLOAD, 2)
    assert decides_earlier_run(decision(2, 3), UPLOAD, 7)
    assert not decides_earlier_run(decision(2), UPLOAD, 2)
    assert not decides_earlier_run(decision(2, 5), UPLOAD, 2)
    assert not decides_earlier_run(decision(1), UPLOAD, 1)
    assert not decides_earlier_run(new_event_id(), UPLOAD, 2)
    assert not decides_earlier_run("", UPLOAD, 2)


def test_a_run_has_one_id_for_ever() -> None:
    assert run_id("0123456789abcdef0123456789abcdef", 1) == run_id("0123456789abcdef" * 2, 1)
    assert len({run_id(UPLOAD, run) for run in range(1, 100)}) == 99
