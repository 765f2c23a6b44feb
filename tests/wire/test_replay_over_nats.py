"""The recorded conversations of the Go service, held with our running service over a real NATS server.

What it publishes and stores is what Go did, byte for byte, but for IDs, times and span IDs. Where ours differs on
purpose, `ROWS` says which row of section 11 of the wire protocol's description is about it, and which of decision 0005.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock.app.postprocessing import PostprocessingService
from penstock.settings import load_settings
from tests.servers.nats import NatsServer, running_nats
from tests.servers.single import running_services

from .captures import capture
from .conversation import BUCKET, US, Listener, Message, compact, comparable, hold, running
from .test_replay import DIFFERENCES, REPLAYED

DECISION = Path(__file__).parents[2] / "docs" / "decisions" / "0005-differences-from-the-go-service.md"


class Row(NamedTuple):
    """Why something differs."""

    weakness: int | None
    """The row of section 11; None: it is none, just different."""
    decision: str
    """What the row of decision 0005 begins with."""


ROWS: Mapping[str, Row] = {
    "duplicates": Row(8, "Answers after the decision start steps again"),
    "retry-then-continue-two-steps": Row(5, "After a successful retry the step is started once more"),
    "retry-ghost-step-double-finish": Row(5, "After a successful retry the step is started once more"),
    "failures-not-reset": Row(6, "Failures are counted over all steps"),
    "step-finished-unexpected-step": Row(7, "An answer for any step name moves the upload"),
}
"""What ours says differs in these conversations; how, is in `DIFFERENCES`."""
STORED: Mapping[str, Row] = {
    "upload-ready-edge-cases": Row(9, "`UploadReady` with `Failed` while a step runs"),
    "outcome-delete": Row(15, "The record of a deleted upload is kept for ever"),
}
"""It says the same in these, and stores something else."""
STORED_AS: Mapping[str, list[list[str]]] = {
    "duplicates": [["virusscan", "customstep", "finished continue", "virusscan"]],
    "retry-then-continue-two-steps": [
        ["virusscan", "virusscan retry", "virusscan", "customstep", "finished continue", "gone"]
    ],
    "retry-ghost-step-double-finish": [
        ["virusscan", "virusscan retry", "virusscan", "customstep", "finished continue", "gone"]
    ],
    "failures-not-reset": [
        ["stepa", "stepa retry", "stepa", "stepa retry", "stepa", "stepb", "stepb retry", "stepb"],
    ],
    "step-finished-unexpected-step": [["virusscan"], ["virusscan"], ["virusscan", "finished"]],
    "upload-ready-edge-cases": [["virusscan", "gone"], ["virusscan", "finished continue"]],
    "outcome-delete": [["virusscan", "finished delete", "gone"]],
}
"""What is stored in the conversations that differ, in the order of their uploads."""
RESUMED = Row(18, "Events after a resume carry no initiator")
KEPT_RETRY = Row(5, "The record says `retry` until the upload is decided")
REMEMBERED = Row(8, "The record is removed at once when an upload is ready")
PROCESSES = ("happy-virusscan", "resume-by-step", "three-steps-delay-middle")
"""Also held with a process of its own."""


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.mark.parametrize("name", REPLAYED)
async def test_the_service_says_and_stores_what_the_go_service_did(nats: NatsServer, tmp_path: Path, name: str) -> None:
    await nats.delete_streams()
    recording = capture(name)
    settings = load_settings(environ=environment(recording, nats), folder=tmp_path, service="postprocessing")
    async with Listener(nats.endpoint) as listener, running(PostprocessingService(settings)):
        await hold(listener, recording, DIFFERENCES.get(name))
    compare(name, recording, listener)


@pytest.mark.parametrize("name", PROCESSES)
async def test_a_process_says_and_stores_what_the_go_service_did(nats: NatsServer, tmp_path: Path, name: str) -> None:
    await nats.delete_streams()
    recording = capture(name)
    with running_services(tmp_path, 1, "postprocessing", "server", **environment(recording, nats)):
        async with Listener(nats.endpoint) as listener:
            await hold(listener, recording, DIFFERENCES.get(name))
    compare(name, recording, listener)


def test_each_difference_has_its_row() -> None:
    decided = DECISION.read_text()
    for row in (*ROWS.values(), *STORED.values(), RESUMED, KEPT_RETRY, REMEMBERED):
        assert f"\n| {row.decision}" in decided
    assert set(ROWS) == set(DIFFERENCES)
    assert set(STORED_AS) == {*ROWS, *STORED}
    assert set(PROCESSES) <= set(REPLAYED)


def environment(recording: dict[str, Any], nats: NatsServer) -> dict[str, str]:
    """What the Go service of the recording was started with."""
    recorded = {name: value for name, value in recording["config"].items() if name.startswith("POSTPROCESSING_")}
    elsewhere = {"POSTPROCESSING_STORE": "nats-js-kv", "OCIS_PERSISTENT_STORE_NODES": nats.endpoint}
    return recorded | elsewhere | {"OCIS_EVENTS_ENDPOINT": nats.endpoint}


def compare(name: str, recording: dict[str, Any], listener: Listener) -> None:
    """What was said and stored, with what the Go service said and stored."""
    gos = [Message(message["raw"]) for message in recording["messages"] if message["from"] == US]
    others = [Message(message["raw"]) for message in recording["messages"] if message["from"] != US]
    for upload in {message.upload for message in (*gos, *listener.said)}:
        theirs = [message for message in gos if message.upload == upload]
        ours = [message for message in listener.said if message.upload == upload]
        if name in ROWS:
            compare_what_both_said(ours, theirs)
        else:
            assert [comparable(message) for message in ours] == [comparable(message) for message in theirs]
        compare_initiators(name, ours, theirs, others)
        compare_traces(ours, others)
    if name in ROWS:
        assert [message.summary for message in listener.said] == DIFFERENCES[name], ROWS[name]
        assert [message.summary for message in gos] != DIFFERENCES[name]
    compare_stored(name, recording, listener)


def compare_what_both_said(ours: list[Message], theirs: list[Message]) -> None:
    """Where something else is said, or at another time, it is said in the same words."""
    words = {message.summary: comparable(message) for message in theirs}
    for message in ours:
        assert comparable(message) == words[message.summary]


def compare_initiators(name: str, ours: list[Message], theirs: list[Message], others: list[Message]) -> None:
    """Each event names who began the upload; Go's do, but for those that follow from a resume."""
    began = [said for said in others if said.kind == "BytesReceived" and ours and said.upload == ours[0].upload]
    initiator = began[0].metadata["initiatorid"] if began else ""
    assert {message.metadata["initiatorid"] for message in ours} <= {initiator}
    if any(message.metadata["initiatorid"] != initiator for message in theirs):
        assert name in ("resume-by-id", "resume-by-step"), RESUMED


def compare_traces(ours: list[Message], others: list[Message]) -> None:
    """Of one upload all is in one trace: the one that it came with, unless an answer brought another one."""
    brought = {_trace(message) for message in others if _trace(message) and ours and message.upload == ours[0].upload}
    traces = {_trace(message) for message in ours if message.kind != "RestartPostprocessing"}
    runs = sum(message.kind == "BytesReceived" for message in others if ours and message.upload == ours[0].upload)
    assert len(traces - brought) <= runs
    if others[0].kind == "BytesReceived" and _trace(others[0]):
        assert traces <= brought


def _trace(message: Message) -> str:
    return message.metadata["traceparent"][3:35]


def compare_stored(name: str, recording: dict[str, Any], listener: Listener) -> None:
    """Each record that was written, in order: same subject, same form, the same twelve fields in the same bytes."""
    theirs: dict[str, list[str]] = {}
    for write in recording.get("store_writes", []):
        theirs.setdefault(write["subject"], []).append(write.get("value_raw", ""))
    said = STORED_AS.get(name, [])
    for number, (subject, ours) in enumerate(sorted(listener.written.items())):
        assert subject.startswith(f"$KV.{BUCKET}.")
        written = _without_repeats([_gos_part(value) for value in ours])
        expected = _without_repeats([_gos_part(value) for value in theirs[subject]])
        if said:
            assert [" ".join(_status(value)[:2]).rstrip() for value in written] == said[number], ROWS.get(name)
            same = {_status(value): value for value in expected}
            assert all(value == same.get(_status(value), value) for value in written)
            assert written[0] == expected[0]
        else:
            assert _without_pauses_that_are_over(written) == expected
    untouched = theirs.keys() - listener.written.keys()
    assert not any(any(theirs[subject]) for subject in untouched), "Go removes what is not there, ours does not"


def _gos_part(value: str) -> str:
    """The record's twelve fields of Go's; nothing for a removal, and for what is kept only to know a repeat."""
    if not value:
        return ""
    wrapped = json.loads(value)
    record = base64.b64decode(wrapped["data"]).decode()
    assert value == compact({"key": wrapped["key"], "data": wrapped["data"], "metadata": None})
    assert list(json.loads(record))[:12] == _FIELDS
    fields = {key: value for key, value in json.loads(record).items() if key in _FIELDS}
    assert record.startswith(compact(fields).removesuffix("}"))
    return "" if fields["Status"]["CurrentStep"] == "ended" else compact(fields)


_FIELDS = list(capture("happy-virusscan")["store_writes"][0]["record"])


def _status(value: str) -> tuple[str, str, int, bool]:
    """Where an upload stands, as its record says."""
    if not value:
        return "gone", "", 0, False
    record = json.loads(value)
    status = record["Status"]
    return status["CurrentStep"], status["Outcome"], record["Failures"], record["Finished"]


def _without_repeats(values: list[str]) -> list[str]:
    return [value for value, _ in groupby(values)]


def _without_pauses_that_are_over(values: list[str]) -> list[str]:
    """Leave out that a step runs again after its pause, which a Go record does not show."""
    kept = values[:1]
    for before, value in pairwise(values):
        if before.replace('"Outcome":"retry"', '"Outcome":""') != value or before == value:
            kept.append(value)
    return kept
