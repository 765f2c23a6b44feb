from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given

from penstock.events.objects import UINT64_MAX
from penstock.events.types import (
    EVENT_TYPES,
    BytesReceived,
    Envelope,
    Event,
    Outcome,
    PostprocessingRetry,
    PostprocessingStepFinished,
    PostprocessingStepProgress,
    StartPostprocessingStep,
    wire_name,
)
from tests.unit.events.strategies import events, plain

# From the tables of the protocol: the order in which the Go services write the keys.
WIRE_ORDER = {
    "BytesReceived": "UploadID SpaceOwner ExecutingUser ResourceID Filename Filesize URL Timestamp ImpersonatingUser",
    "StartPostprocessingStep": "UploadID URL ExecutingUser Filename Filesize Token ResourceID RevaToken StepToStart "
    "Timestamp ImpersonatingUser",
    "PostprocessingStepFinished": "UploadID ExecutingUser Filename FinishedStep Result Error Outcome Timestamp",
    "PostprocessingFinished": "UploadID Filename SpaceOwner ExecutingUser Result Outcome Timestamp ImpersonatingUser",
    "PostprocessingRetry": "UploadID Filename ExecutingUser Failures BackoffDuration",
    "UploadReady": "UploadID Filename SpaceOwner ExecutingUser ImpersonatingUser FileRef Timestamp Failed IsVersion",
    "ResumePostprocessing": "UploadID Step Timestamp",
    "RestartPostprocessing": "UploadID Timestamp",
    "CancelPostprocessing": "UploadID Timestamp",
    "PostprocessingStepProgress": "UploadID Step Fraction Message",
}


def test_the_table_covers_every_event() -> None:
    assert WIRE_ORDER.keys() == EVENT_TYPES.keys()


@given(events)
def test_every_key_is_always_there_in_wire_order(event: Event) -> None:
    assert list(plain(event)) == WIRE_ORDER[type(event).__name__].split()


@pytest.mark.parametrize(
    ("field", "name"),
    [("upload_id", "UploadID"), ("url", "URL"), ("file_ref", "FileRef"), ("step_to_start", "StepToStart")],
)
def test_field_names_become_go_names(field: str, name: str) -> None:
    assert wire_name(field) == name


@pytest.mark.parametrize("size", [-1, UINT64_MAX + 1])
def test_a_size_that_go_could_not_read_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"filesize={size}"):
        BytesReceived(upload_id="u", filesize=size)
    with pytest.raises(ValueError, match=f"filesize={size}"):
        StartPostprocessingStep(upload_id="u", step_to_start="s", filesize=size)


def test_the_backoff_is_exact_on_the_wire_and_handy_in_python() -> None:
    event = PostprocessingRetry(upload_id="u", backoff_duration_ns=250_000_001)
    assert event.backoff_duration == timedelta(milliseconds=250)
    assert plain(event)["BackoffDuration"] == 250_000_001


@pytest.mark.parametrize("fraction", ["-0.1", "1.1"])
def test_progress_beyond_its_bounds_is_refused(fraction: str) -> None:
    text = f'{{"UploadID":"u","Step":"s","Fraction":{fraction}}}'
    with pytest.raises(msgspec.ValidationError, match="Fraction"):
        msgspec.json.decode(text, type=PostprocessingStepProgress)


def test_outcomes_compare_with_what_is_on_the_wire() -> None:
    assert [outcome.value for outcome in Outcome] == ["continue", "abort", "delete", "retry", "quarantine"]
    assert PostprocessingStepFinished(upload_id="u", finished_step="s", outcome="abort").outcome == Outcome.ABORT


@given(events)
def test_events_are_frozen(event: Event) -> None:
    with pytest.raises(AttributeError):
        event.upload_id = "other"  # type: ignore[misc]


@given(events)
def test_an_envelope_knows_the_type_of_its_event(event: Event) -> None:
    assert EVENT_TYPES[Envelope(event=event).event_type] is type(event)
