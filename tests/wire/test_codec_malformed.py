from __future__ import annotations

from typing import Any

import pytest

from penstock.events import UndecodableEvent, UnknownEventType, decode
from penstock.events.gojson import dumps
from penstock.events.types import (
    BytesReceived,
    PostprocessingStepFinished,
    ResourceId,
    StartPostprocessingStep,
    User,
    UserId,
    VirusscanResult,
)
from tests.wire.captures import capture

CASES = capture("malformed")["cases"]

# Go's decoder fits any payload into a struct, so these two were read; an empty ID is no key, so they were not stored.
READ_BUT_NOT_STORED = {"Payload {} (BytesReceived)", "Payload null json (BytesReceived)"}

# Go drops these in silence because no type of that name is registered, not because they are broken.
NOT_OURS = {
    "json null",
    "empty object",
    "no Metadata",
    "Metadata null",
    "eventtype without prefix",
    "eventtype with pointer",
    "eventtype wrong case",
    "unregistered event type",
}


def go_accepted(case: dict[str, Any]) -> bool:
    return bool(case["reaction"]) or case["case"] in READ_BUT_NOT_STORED


def param(case: dict[str, Any]) -> Any:
    return pytest.param(case, id=case["case"])


def test_all_cases_are_here() -> None:
    assert len(CASES) == 63
    assert {case["case"] for case in CASES} >= READ_BUT_NOT_STORED | NOT_OURS
    assert sum(map(go_accepted, CASES)) == 29


@pytest.mark.parametrize("case", [param(case) for case in CASES if go_accepted(case)])
def test_what_go_accepted_is_accepted_and_means_the_same(case: dict[str, Any]) -> None:
    event = decode(case["sent"].encode()).event
    if not case["reaction"]:
        assert event == BytesReceived(upload_id="")
        return
    [reaction] = case["reaction"]
    answer = reaction["payload"]
    assert event.upload_id == answer["UploadID"]
    if isinstance(event, BytesReceived):
        started = StartPostprocessingStep(
            upload_id=event.upload_id,
            url=event.url,
            executing_user=event.executing_user,
            filename=event.filename,
            filesize=event.filesize,
            resource_id=event.resource_id,
            step_to_start="customstep",
            impersonating_user=event.impersonating_user,
        )
        assert dumps(started) == dumps(answer_in_wire_order(answer))
    else:
        assert isinstance(event, PostprocessingStepFinished)
        outcome = "retry" if reaction["type"] == "PostprocessingRetry" else answer["Outcome"]
        assert event.outcome == outcome


def answer_in_wire_order(answer: dict[str, Any]) -> StartPostprocessingStep:
    """Go's own answer as an event, field by field and without the codec."""
    user = answer["ExecutingUser"]
    resource = answer["ResourceID"]
    return StartPostprocessingStep(
        upload_id=answer["UploadID"],
        url=answer["URL"],
        executing_user=None if user is None else User(id=UserId(**user["id"])),
        filename=answer["Filename"],
        filesize=answer["Filesize"],
        resource_id=None if resource is None else ResourceId(**resource),
        step_to_start=answer["StepToStart"],
    )


@pytest.mark.parametrize(
    "case", [param(case) for case in CASES if not go_accepted(case) and case["case"] not in NOT_OURS]
)
def test_what_go_refused_is_undecodable(case: dict[str, Any]) -> None:
    with pytest.raises(UndecodableEvent) as raised:
        decode(case["sent"].encode())
    # Go logs a line when the payload is at fault, and nothing when the envelope is.
    assert raised.value.where == ("payload" if case["log"] else "envelope")


@pytest.mark.parametrize("case", [param(case) for case in CASES if case["case"] in NOT_OURS])
def test_what_go_does_not_know_is_not_ours_either(case: dict[str, Any]) -> None:
    assert not case["log"]
    with pytest.raises(UnknownEventType):
        decode(case["sent"].encode())


def test_results_are_read_as_go_reads_them() -> None:
    results = {
        case["case"]: decode(case["sent"].encode()).event
        for case in CASES
        if case["case"].startswith("StepFinished") and go_accepted(case)
    }
    scanned = results["StepFinished virusscan Result {}"]
    missing = results["StepFinished virusscan Result missing"]
    other = results["StepFinished other step Result anything"]
    assert isinstance(scanned, PostprocessingStepFinished)
    assert isinstance(missing, PostprocessingStepFinished)
    assert isinstance(other, PostprocessingStepFinished)
    assert scanned.result == VirusscanResult()
    assert missing.result is None
    assert other.result == [1, "x"]
