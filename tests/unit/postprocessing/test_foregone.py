"""What is decided at once is what the state machine would decide."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NoReturn

import pytest
from prometheus_client import CollectorRegistry

from penstock.core.choice import StepRule
from penstock.core.machine import decide
from penstock.core.policy import Policy
from penstock.core.progress import State
from penstock.events.types import BytesReceived, Envelope
from penstock.postprocessing.foregone import Foregone
from penstock.postprocessing.observer import Observer
from penstock.telemetry import Metrics

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICIES = (
    Policy.create([]),
    Policy.create(["virusscan"]),
    Policy.create([], rules=(StepRule(extension=("jpg",), steps=("ocr",)),)),
    Policy.create(["virusscan"], rules=(StepRule(extension=("jpg",), steps=()),)),
)


@pytest.mark.parametrize("filename", ["a.jpg", "a.txt"])
@pytest.mark.parametrize("policy", POLICIES, ids=range(len(POLICIES)))
def test_it_is_what_the_machine_decides_and_is_counted_as_such(policy: Policy, filename: str) -> None:
    event = BytesReceived(upload_id="u", filename=filename)
    received = Envelope(event=event, event_id="run")
    transition = decide(None, received, NOW, policy)
    decided = transition.progress
    assert decided is not None

    metrics = Metrics()
    done = Foregone(policy, metrics)("u", lambda: event)
    if decided.state is not State.FINISHED:
        assert done is None
        return
    assert decided.status.outcome == "continue"
    assert done is not None
    assert _counted(metrics.registry) == {}
    done()
    usual = Metrics()
    Observer(usual).note("u", None, received, transition, NOW)
    assert _counted(metrics.registry) == _counted(usual.registry) != {}


def test_nothing_is_put_together_where_all_uploads_have_the_same_steps() -> None:
    def beginning() -> NoReturn:
        raise AssertionError("nobody needs it")

    assert Foregone(Policy.create([]), Metrics())("u", beginning) is not None
    assert Foregone(Policy.create(["ocr"]), Metrics())("u", beginning) is None


def _counted(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    return {
        (sample.name, str(sample.labels)): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.value and not sample.name.endswith("_created")
    }
