from __future__ import annotations

from datetime import UTC, datetime, timedelta

from penstock.core.choice import StepRule
from penstock.core.machine import decide
from penstock.core.policy import Policy
from penstock.core.progress import Progress
from penstock.events.types import BytesReceived, Envelope, PostprocessingStepFinished

NOW = datetime(2025, 3, 1, tzinfo=UTC)
PICTURES = StepRule(extension=("jpg",), steps=("virusscan", "thumbnail"))
POLICY = Policy.create(["ocr"], rules=(PICTURES,), delay=timedelta(seconds=5))


def arrived(filename: str, policy: Policy = POLICY, event_id: str = "first") -> Progress:
    event = BytesReceived(upload_id="u", filename=filename)
    progress = decide(None, Envelope(event=event, event_id=event_id), NOW, policy).progress
    assert progress is not None
    return progress


def test_the_first_rule_that_fits_an_upload_says_its_steps() -> None:
    assert arrived("a.jpg").steps == ("virusscan", "thumbnail")
    assert arrived("a.jpg").status.current_step == "virusscan"


def test_where_none_fits_the_plain_list_holds() -> None:
    assert arrived("a.txt").steps == ("ocr", "delay")


def test_what_is_on_its_way_keeps_its_steps_when_the_rules_change() -> None:
    progress = arrived("a.jpg")
    changed = Policy.create(["ocr"], rules=(StepRule(extension=("jpg",), steps=()),))
    answer = PostprocessingStepFinished(upload_id="u", finished_step="virusscan", outcome="continue")
    after = decide(progress, Envelope(event=answer, event_id="answer"), NOW, changed).progress
    assert after is not None
    assert (after.steps, after.status.current_step) == (("virusscan", "thumbnail"), "thumbnail")
    assert arrived("a.jpg", changed).steps == ()


def test_every_step_is_known_once() -> None:
    assert POLICY.every_step == ("ocr", "delay", "virusscan", "thumbnail")


def test_a_damaged_record_goes_through_every_step() -> None:
    damaged = Progress(upload_id="u", status=arrived("a.jpg").status)
    answer = PostprocessingStepFinished(upload_id="u", finished_step="virusscan", outcome="continue")
    policy = Policy.create([], rules=(PICTURES,))
    after = decide(damaged, Envelope(event=answer, event_id="answer"), NOW, policy).progress
    assert after is not None
    assert (after.steps, after.status.current_step) == (("virusscan", "thumbnail"), "virusscan")
