"""The recorded conversations of the Go service, held with our machine.

Inputs are what the storage side, the step services and the command line said, at the times at which they said it; the
machine must answer as the Go coordinator did, payload for payload, except where we differ on purpose: `DIFFERENCES`
says what we answer there, and docs/decisions/0005 says why.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from penstock.core.machine import decide
from penstock.core.policy import Policy
from penstock.core.progress import State
from penstock.core.transition import Tick
from penstock.events.codec import decode
from penstock.events.gojson import dumps
from penstock.events.types import (
    PostprocessingFinished,
    PostprocessingRetry,
    RestartPostprocessing,
    ResumePostprocessing,
    StartPostprocessingStep,
)

from .captures import NAMES, capture

if TYPE_CHECKING:
    from penstock.core.progress import Progress
    from penstock.events.types import Envelope, Event

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

DIFFERENCES: dict[str, list[str]] = {
    # The second BytesReceived has an event ID of its own: a restart, as in Go. Late results change nothing.
    "duplicates": [
        "start virusscan",
        "start virusscan",
        "start customstep",
        "finish continue",
        "start virusscan",
    ],
    # No ghost start after the retry.
    "retry-then-continue-two-steps": [
        "start virusscan",
        "retry 1",
        "start virusscan",
        "start customstep",
        "finish continue",
    ],
    "retry-ghost-step-double-finish": [
        "start virusscan",
        "retry 1",
        "start virusscan",
        "start customstep",
        "finish continue",
    ],
    # Each step has its own budget of retries.
    "failures-not-reset": [
        "start stepa",
        "retry 1",
        "start stepa",
        "retry 2",
        "start stepa",
        "start stepb",
        "retry 1",
        "start stepb",
    ],
    # A result for another step than the current one moves nothing; an outcome that nobody knows ends the upload.
    "step-finished-unexpected-step": [
        "start virusscan",
        "start virusscan",
        "start virusscan",
        "finish ",
    ],
}

REPLAYED = [
    name for name in NAMES if any(message["from"] == "postprocessing" for message in capture(name).get("messages", []))
]


class Replay:
    """The machine with a store and a clock of the simplest kind."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.records: dict[str, Progress] = {}
        self.said: list[Event] = []

    def hear(self, envelope: Envelope, now: datetime) -> None:
        self.fire_timers(now)
        event = envelope.event
        if isinstance(event, ResumePostprocessing) and event.step:
            uploads = [name for name, record in self.records.items() if record.status.current_step == event.step]
        else:
            uploads = [event.upload_id]
        for upload in filter(None, uploads):
            self.decide(upload, envelope, now)

    def fire_timers(self, until: datetime) -> None:
        while due := sorted(
            (record.due_at, upload) for upload, record in self.records.items() if record.due_at is not None
        ):
            due_at, upload = due[0]
            if due_at > until:
                return
            self.decide(upload, Tick(), due_at)

    def decide(self, upload: str, received: Envelope | Tick, now: datetime) -> None:
        transition = decide(self.records.get(upload), received, now, self.policy)
        self.said += [emit.event for emit in transition.emits]
        if transition.progress is None:
            self.records.pop(upload, None)
        else:
            self.records[upload] = transition.progress


def policy_of(config: dict[str, str]) -> Policy:
    seconds = {"1s": 1.0, "2s": 2.0, "250ms": 0.25}
    return Policy.create(
        [step for step in config.get("POSTPROCESSING_STEPS", "").split(",") if step],
        delay=timedelta(seconds=seconds.get(config.get("POSTPROCESSING_DELAY", ""), 0)),
        retry_backoff=timedelta(seconds=seconds.get(config.get("POSTPROCESSING_RETRY_BACKOFF_DURATION", ""), 5)),
        max_retries=int(config.get("POSTPROCESSING_MAX_RETRIES", 14)),
    )


def summary(event: Event) -> str:
    match event:
        case StartPostprocessingStep(step_to_start=step):
            return f"start {step}"
        case PostprocessingFinished(outcome=outcome):
            return f"finish {outcome}"
        case PostprocessingRetry(failures=failures):
            return f"retry {failures}"
        case _:
            return type(event).__name__


def payload(event: Event) -> tuple[str, bytes]:
    if isinstance(event, RestartPostprocessing):  # says when it was sent
        event = RestartPostprocessing(upload_id=event.upload_id)
    return type(event).__name__, dumps(event)


def replay(name: str) -> tuple[list[Event], list[Event], Replay]:
    content = capture(name)
    machine = Replay(policy_of(content["config"]))
    expected: list[Event] = []
    now = BEGIN
    for message in content["messages"]:
        envelope = decode(message["raw"].encode())
        if message["from"] == "postprocessing":
            expected.append(envelope.event)
            continue
        now = BEGIN + timedelta(milliseconds=message["at_ms"])
        machine.hear(envelope, now)
    machine.fire_timers(now + timedelta(seconds=5))
    return machine.said, expected, machine


@pytest.mark.parametrize("name", REPLAYED)
def test_machine_answers_as_the_go_service_did(name: str) -> None:
    said, expected, _ = replay(name)
    if name in DIFFERENCES:
        assert [summary(event) for event in said] == DIFFERENCES[name]
    else:
        assert [payload(event) for event in said] == [payload(event) for event in expected]


@pytest.mark.parametrize("name", sorted(DIFFERENCES))
def test_a_difference_is_still_one(name: str) -> None:
    _, expected, _ = replay(name)
    assert [summary(event) for event in expected] != DIFFERENCES[name]


def test_skipping_the_scan_by_naming_the_last_step_does_not_work() -> None:
    _, _, machine = replay("step-finished-unexpected-step")
    unanswered = [record for record in machine.records.values() if record.state is State.STEP]
    assert [record.status.current_step for record in unanswered] == ["virusscan", "virusscan"]


def test_every_conversation_of_the_coordinator_is_replayed() -> None:
    assert len(REPLAYED) >= 20
    assert set(DIFFERENCES) <= set(REPLAYED)
