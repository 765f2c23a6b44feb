from __future__ import annotations

from typing import Any

import pytest

from penstock.events import decode, encode
from penstock.events.gojson import dumps
from penstock.events.gotime import parse_time
from penstock.events.types import (
    BytesReceived,
    PostprocessingRetry,
    PostprocessingStepFinished,
    UploadReady,
    VirusscanResult,
    wire_name,
)
from tests.wire.captures import MESSAGES, capture

each_message = pytest.mark.parametrize(
    "message", [pytest.param(message, id=f"{name}-{message['seq']}") for name, message in MESSAGES]
)


def test_all_captured_messages_are_here() -> None:
    assert len(MESSAGES) == 233


@each_message
def test_a_captured_message_is_read_and_written_again_byte_for_byte(message: dict[str, Any]) -> None:
    raw = message["raw"].encode()
    envelope = decode(raw)
    assert encode(envelope) == raw
    assert dumps(envelope.event) == message["payload_raw"].encode()


@each_message
def test_a_captured_message_is_understood(message: dict[str, Any]) -> None:
    """Fields hold what the key of their name held; writing alone would not notice two that changed places."""
    envelope = decode(message["raw"].encode())
    metadata = message["data"]["Metadata"]
    assert envelope.event_type == message["type"]
    assert envelope.event_id == metadata["eventid"]
    assert envelope.initiator_id == metadata["initiatorid"]
    assert envelope.trace_parent == metadata["traceparent"]
    assert envelope.causation_id == ""
    assert envelope.id == message["data"]["ID"]
    assert parse_time(envelope.timestamp).year == 2026
    for field in ("upload_id", "filename", "url", "filesize", "step_to_start", "finished_step", "outcome", "step"):
        if hasattr(envelope.event, field):
            assert getattr(envelope.event, field) == message["payload"][wire_name(field)]


def test_special_characters_arrive_as_they_were() -> None:
    event = decode(capture("encoding-special-characters")["messages"][0]["raw"].encode()).event
    assert isinstance(event, BytesReceived)
    assert event.filename == 'a<b>&"q"\\ /\u2028\u2029\b\f\n\r\t\x01\x7f é 😀.txt'
    assert event.filesize == 2**63 + 1
    assert event.impersonating_user is not None
    assert event.impersonating_user.username == "boss"


def test_a_scan_result_is_typed() -> None:
    [event] = [
        decode(message["raw"].encode()).event
        for message in capture("antivirus-infected-delete")["messages"]
        if message["type"] == "PostprocessingStepFinished"
    ]
    assert isinstance(event, PostprocessingStepFinished)
    assert isinstance(event.result, VirusscanResult)
    assert event.result.infected
    assert event.result.description
    assert event.outcome == "delete"


def test_a_backoff_is_in_nanoseconds() -> None:
    [event] = [
        decode(message["raw"].encode()).event
        for message in capture("retry-then-continue")["messages"]
        if message["type"] == "PostprocessingRetry"
    ]
    assert isinstance(event, PostprocessingRetry)
    assert (event.failures, event.backoff_duration.total_seconds()) == (1, 1.0)


def test_an_upload_that_is_ready_says_where() -> None:
    event = decode(capture("happy-virusscan")["messages"][-1]["raw"].encode()).event
    assert isinstance(event, UploadReady)
    assert event.file_ref is not None
    assert event.file_ref.path == "./report.txt"
    assert event.file_ref.resource_id is not None
    assert event.file_ref.resource_id.storage_id
    assert not event.failed
