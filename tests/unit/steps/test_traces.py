"""Each run of a step is a span of the upload's trace, and what follows from it goes on there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from penstock.bus.local import LocalBus
from penstock.bus.publish import Publisher
from penstock.delivery.path import PathDelivery
from penstock.events.types import (
    CancelPostprocessing,
    Envelope,
    PostprocessingStepFinished,
    PostprocessingStepProgress,
    StartPostprocessingStep,
)
from penstock.steps.kit import Outcome, StepDefinition, StepUpload, step
from penstock.steps.runner import StepRunner
from penstock.testing import ManualClock, RecordedTracing, eventually

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Around:
    """What a step runs between."""

    def __init__(self, folder: Path, bus: LocalBus, clock: ManualClock, stack: AsyncExitStack) -> None:
        self.bus = bus
        self.tracing = RecordedTracing()
        self.heard: list[Envelope] = []
        self._folder = folder
        self._clock = clock
        self._stack = stack
        self._path = folder / "file"
        self._path.write_bytes(b"abc")

    async def run(self, definition: StepDefinition) -> None:
        runner = StepRunner(
            definition,
            bus=self.bus,
            publisher=Publisher(self.bus, self._clock),
            delivery=PathDelivery(self._folder),
            clock=self._clock,
            tracing=self.tracing,
        )
        await self._stack.enter_async_context(runner)

    async def start(self, sending: str = "1") -> None:
        event = StartPostprocessingStep(
            upload_id="u", url=self._path.as_uri(), filename="file", filesize=3, step_to_start="ocr"
        )
        await self.bus.publish(Envelope(event=event, event_id="start", id=sending, trace_parent=PARENT))

    async def hear(self, envelope: Envelope) -> None:
        self.heard.append(envelope)


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[Around]:
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(LocalBus(clock))
        parts = Around(tmp_path, bus, clock, stack)
        heard = [PostprocessingStepFinished, PostprocessingStepProgress]
        await stack.enter_async_context(bus.subscribe("test", heard, parts.hear, workers=1))
        yield parts


async def test_the_function_its_heartbeats_and_its_answer_are_in_the_span(around: Around) -> None:
    seen: list[str] = []

    @step("ocr")
    async def ocr(upload: StepUpload) -> Outcome:
        seen.append(upload.trace_parent)
        upload.heartbeat(0.5)
        await eventually(lambda: around.heard)
        return Outcome.ABORT

    await around.run(ocr)
    await around.start()
    await eventually(lambda: len(around.heard) == 2)
    (span,) = await eventually(lambda: around.tracing.ended)
    assert (span.name, span.parent, span.error) == ("step ocr", PARENT, "")
    assert span.attributes == {"upload_id": "u", "step": "ocr", "outcome": "abort"}
    assert {*seen, *(heard.trace_parent for heard in around.heard)} == {span.trace_parent}
    assert span.trace_parent != PARENT


async def test_a_failure_is_in_the_span_and_a_repeat_is_marked(around: Around) -> None:
    @step("ocr")
    async def ocr(upload: StepUpload) -> Outcome:
        raise ValueError(f"{upload.filename} is no picture")

    await around.run(ocr)
    await around.start()
    await eventually(lambda: len(around.tracing.ended) == 1)
    await around.start("2")
    await eventually(lambda: len(around.tracing.ended) == 2)
    first, again = around.tracing.ended
    assert first.error == "ValueError: file is no picture"
    assert first.attributes["outcome"] == again.attributes["outcome"] == "retry"
    assert again.attributes["repeated"] is True


async def test_a_cancelled_run_says_so(around: Around) -> None:
    begun = threading.Event()  # the function has a thread to itself

    @step("ocr")
    async def ocr(upload: StepUpload) -> Outcome:
        begun.set()
        await asyncio.Event().wait()
        return Outcome.CONTINUE

    await around.run(ocr)
    await around.start()
    await eventually(begun.is_set)
    await around.bus.publish(Envelope(event=CancelPostprocessing(upload_id="u"), id="c"))
    (span,) = await eventually(lambda: around.tracing.ended)
    assert (span.attributes["outcome"], span.error) == ("cancelled", "")


def test_in_a_test_of_a_step_there_is_no_trace(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    assert StepUpload.from_file(tmp_path / "f").trace_parent == ""
