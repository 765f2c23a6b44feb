from __future__ import annotations

import base64
import json
import random
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import PenstockError
from penstock.events import UndecodableEvent, UnknownEventType, decode, encode, seal
from penstock.events.types import (
    EVENT_TYPES,
    BytesReceived,
    Envelope,
    Event,
    PostprocessingFinished,
    PostprocessingStepFinished,
    ResumePostprocessing,
    StartPostprocessingStep,
    User,
    UserId,
    VirusscanResult,
)
from tests.unit.events.strategies import envelopes, events, structs


def message(kind: str, payload: Any, **metadata: str) -> bytes:
    """A message as somebody may write it who knows neither Go nor us."""
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return json.dumps(
        {
            "Metadata": {"eventtype": f"events.{kind}", "eventid": "e-1", **metadata},
            "Payload": base64.b64encode(text).decode(),
        }
    ).encode()


def payload_of(data: bytes) -> bytes:
    return base64.b64decode(json.loads(data)["Payload"])


@given(envelopes)
def test_every_event_survives_the_wire(envelope: Envelope) -> None:
    assert decode(encode(envelope)) == envelope


@given(envelopes)
def test_a_message_is_as_the_protocol_has_it(envelope: Envelope) -> None:
    data = encode(envelope)
    wire = json.loads(data)
    assert list(wire) == ["Timestamp", "Metadata", "ID", "Topic", "Payload"]
    assert wire["Topic"] == "main-queue"
    keys = ["eventid", "eventtype", "initiatorid", "traceparent"]
    assert list(wire["Metadata"]) == (["causationid", *keys] if envelope.causation_id else keys)
    assert wire["Metadata"]["eventtype"] == f"events.{envelope.event_type}"
    for text in (data, payload_of(data)):
        assert b"\n" not in text
        assert not set("<>&\u2028\u2029") & set(text.decode())


def disguise(tree: Any, chance: random.Random) -> Any:
    """The same object to a Go reader: keys in another case and order, unknown keys, nulls left out."""
    if not isinstance(tree, dict):
        return tree
    pairs = []
    for key, value in tree.items():
        if value is None:
            continue
        if key == "map":  # its keys are data
            pairs.append((key.upper(), value))
        else:
            pairs.append((chance.choice([str.upper, str.lower, str.title])(key), disguise(value, chance)))
    pairs.append(("X-Unknown", chance.choice([None, 1, "text", [1], {"UploadID": 5}])))
    chance.shuffle(pairs)
    return dict(pairs)


@given(events, st.integers())
def test_keys_in_any_order_and_case_beside_unknown_ones_mean_the_same(event: Event, seed: int) -> None:
    if isinstance(event, (PostprocessingStepFinished, PostprocessingFinished)) and not isinstance(
        event.result, (VirusscanResult, type(None))
    ):
        event = msgspec.structs.replace(event, result=None)  # a free-form result has keys of its own
    payload = disguise(json.loads(payload_of(encode(Envelope(event=event)))), random.Random(seed))
    assert decode(message(type(event).__name__, payload)).event == event


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES))
@pytest.mark.parametrize("payload", [b"{}", b"null", b' { "Unknown" : 1 } '])
def test_an_event_with_nothing_in_it_has_zero_values(kind: str, payload: bytes) -> None:
    event = decode(message(kind, payload)).event
    required: dict[str, Any] = {field.name: "" for field in msgspec.structs.fields(EVENT_TYPES[kind]) if field.required}
    assert event == EVENT_TYPES[kind](**required)


@pytest.mark.parametrize("kind", ["", "events.", "events.ItemTrashed", "BytesReceived", "events.bytesReceived"])
def test_an_unknown_event_type_is_not_an_error_of_ours(kind: str) -> None:
    data = json.dumps({"Metadata": {"eventtype": kind}, "Payload": "AA=="}).encode()
    with pytest.raises(UnknownEventType) as raised:
        decode(data)
    assert raised.value.event_type == kind
    assert raised.value.code == "unknown-event-type"
    assert not isinstance(raised.value, UndecodableEvent)


def test_a_broken_payload_says_what_where_and_in_which_event() -> None:
    with pytest.raises(UndecodableEvent) as raised:
        decode(message("BytesReceived", {"UploadID": 5}))
    error = raised.value
    assert (error.where, error.event_type, error.event_id) == ("payload", "BytesReceived", "e-1")
    assert error.reason == "Expected `str`, got `int` - at `$.UploadID`"
    assert str(error) == (
        "BytesReceived e-1: payload is not readable: Expected `str`, got `int` - at `$.UploadID`."
        " Its sender has to be corrected."
    )
    assert error.code == "undecodable-event"
    assert not error.retryable


def test_a_broken_envelope_says_so() -> None:
    with pytest.raises(UndecodableEvent) as raised:
        decode(b'{"ID":5}')
    assert (raised.value.where, raised.value.event_type, raised.value.event_id) == ("envelope", "", "")
    assert "$.ID" in str(raised.value)


@given(st.binary(max_size=200))
def test_no_bytes_whatsoever_raise_anything_else(data: bytes) -> None:
    with pytest.raises(PenstockError):
        decode(data)


@given(st.sampled_from(sorted(EVENT_TYPES)), st.binary(max_size=100))
def test_no_payload_whatsoever_raises_anything_else(kind: str, payload: bytes) -> None:
    with suppress(UndecodableEvent):
        assert decode(message(kind, payload)).event_id == "e-1"


@given(envelopes, st.data())
def test_a_message_cut_short_is_undecodable(envelope: Envelope, data: st.DataObject) -> None:
    whole = encode(envelope)
    with pytest.raises(UndecodableEvent):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_nesting_beyond_reason_is_undecodable_and_no_crash() -> None:
    deep = b'{"UploadID":"u","FinishedStep":"s","Outcome":"continue","Result":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    with pytest.raises(UndecodableEvent, match="nested too deeply"):
        decode(message("PostprocessingStepFinished", deep))


@pytest.mark.parametrize("key", ["FinishedStep", "finishedstep", "FINISHEDSTEP"])
def test_a_final_event_with_a_finished_step_is_a_steps_answer(key: str) -> None:
    envelope = decode(
        message("PostprocessingFinished", {"UploadID": "u", key: "thumbnail", "Outcome": "continue", "Result": [1]})
    )
    assert envelope.event == PostprocessingStepFinished(
        upload_id="u", finished_step="thumbnail", outcome="continue", result=[1]
    )
    assert envelope.event_type == "PostprocessingStepFinished"


@pytest.mark.parametrize("extra", [{}, {"FinishedStep": None}, {"FinishedStep": ""}, {"Other": "virusscan"}])
def test_a_final_event_without_a_finished_step_is_the_coordinators_own(extra: dict[str, Any]) -> None:
    data = message("PostprocessingFinished", {"UploadID": "u", "Outcome": "abort", **extra})
    assert decode(data).event == PostprocessingFinished(upload_id="u", outcome="abort")


@pytest.mark.parametrize(
    ("broken", "meant"),
    [
        ({"FinishedStep": "thumbnail", "Outcome": 5}, "PostprocessingStepFinished"),
        ({"FinishedStep": "thumbnail", "Error": "boom"}, "PostprocessingStepFinished"),
        ({"FinishedStep": "", "Outcome": 5}, "PostprocessingFinished"),
        ({"Outcome": 5}, "PostprocessingFinished"),
    ],
)
def test_a_broken_answer_under_its_older_name_is_told_as_an_answer(broken: dict[str, Any], meant: str) -> None:
    """So whoever awaits answers sets it aside, where an operator finds it; a broken decision is not ours to keep."""
    with pytest.raises(UndecodableEvent) as raised:
        decode(message("PostprocessingFinished", {"UploadID": "u", **broken}))
    assert raised.value.event_type == meant


@given(structs(PostprocessingFinished))
def test_what_the_coordinator_sends_is_never_taken_for_a_steps_answer(event: PostprocessingFinished) -> None:
    assert isinstance(decode(encode(Envelope(event=event))).event, PostprocessingFinished)


def test_a_steps_answer_in_a_final_event_must_be_sound_too() -> None:
    with pytest.raises(UndecodableEvent, match=r"\$\.FinishedStep"):
        decode(message("PostprocessingFinished", {"UploadID": "u", "FinishedStep": 5}))
    with pytest.raises(UndecodableEvent, match=r"\$\.Error"):
        decode(message("PostprocessingFinished", {"UploadID": "u", "FinishedStep": "s", "Error": "boom"}))


@pytest.mark.parametrize(
    ("result", "scan"),
    [
        (None, None),
        ({}, VirusscanResult()),
        ({"Infected": True, "Description": "Eicar"}, VirusscanResult(infected=True, description="Eicar")),
        ({"infected": True, "INFECTED": False, "x": 1}, VirusscanResult()),
        ({"Scandate": None, "ErrorMsg": "no"}, VirusscanResult(error_message="no")),
        ({"Scandate": "2025-02-13T10:00:00.500Z"}, VirusscanResult(scandate="2025-02-13T10:00:00.5Z")),
    ],
)
def test_the_result_of_a_virus_scan_has_a_type(result: Any, scan: VirusscanResult | None) -> None:
    payload = {"UploadID": "u", "FinishedStep": "virusscan", "Outcome": "continue", "Result": result}
    event = decode(message("PostprocessingStepFinished", payload)).event
    assert isinstance(event, PostprocessingStepFinished)
    assert event.result == scan


@pytest.mark.parametrize(
    "result", ["clean", 5, True, [], {"Infected": "yes"}, {"Infected": 1}, {"Scandate": ""}, {"Scandate": 5}]
)
def test_a_virus_scan_with_another_result_is_undecodable(result: Any) -> None:
    payload = {"UploadID": "u", "FinishedStep": "virusscan", "Outcome": "continue", "Result": result}
    with pytest.raises(UndecodableEvent) as raised:
        decode(message("PostprocessingStepFinished", payload))
    assert raised.value.where == "payload"


@pytest.mark.parametrize("result", ["clean", 5, [1, {"a": None}], {"Infected": 1, "infected": "x"}])
def test_another_steps_result_stays_as_it_is(result: Any) -> None:
    payload = {"UploadID": "u", "FinishedStep": "custom", "Outcome": "continue", "Result": result}
    event = decode(message("PostprocessingStepFinished", payload)).event
    assert isinstance(event, PostprocessingStepFinished)
    assert event.result == result


def test_metadata_keys_have_one_spelling_and_others_are_ignored() -> None:
    data = message("ResumePostprocessing", {}, initiatorid="i", Traceparent="no", causationid="c", other="o")
    assert decode(data) == Envelope(
        event=ResumePostprocessing(), event_id="e-1", initiator_id="i", causation_id="c", trace_parent=""
    )


def test_sealing_fills_the_envelope_from_what_it_is_given() -> None:
    event = StartPostprocessingStep(upload_id="u", step_to_start="virusscan", executing_user=User(id=UserId()))
    envelope = seal(
        event,
        event_id="e",
        id="m",
        timestamp=datetime(2025, 2, 13, 15, 50, 18, 613_550, tzinfo=UTC),
        initiator_id="i",
        trace_parent="t",
        causation_id="c",
    )
    assert envelope == Envelope(
        event=event,
        event_id="e",
        id="m",
        timestamp="2025-02-13T15:50:18.61355Z",
        initiator_id="i",
        trace_parent="t",
        causation_id="c",
    )
    assert decode(encode(envelope)) == envelope


def test_a_time_without_zone_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="without zone"):
        seal(BytesReceived(upload_id="u"), event_id="e", id="m", timestamp=datetime(2025, 2, 13))  # noqa: DTZ001


def test_an_event_with_text_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode(Envelope(event=BytesReceived(upload_id="u", filename="\udcff.txt")))
