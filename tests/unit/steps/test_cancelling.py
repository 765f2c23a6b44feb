"""A cancellation ends the work on an upload in whichever instance that is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from penstock.bus.nats import NatsBus
from penstock.bus.publish import Publisher
from penstock.clock import SystemClock
from penstock.delivery.path import PathDelivery
from penstock.events.types import CancelPostprocessing, StartPostprocessingStep
from penstock.steps.kit import Outcome, StepUpload, step
from penstock.steps.runner import StepRunner
from penstock.testing import eventually
from tests.servers.nats import NatsServer, running_nats


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with running_nats(tmp_path) as server:
        yield server


async def test_each_of_several_instances_hears_of_it(nats: NatsServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    cancelled: set[str] = set()
    clock = SystemClock()

    @step("ocr", workers=2)
    async def ocr(upload: StepUpload) -> Outcome:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.add(upload.id)
        return Outcome.CONTINUE

    async with AsyncExitStack() as stack:
        runners = []
        bus = await stack.enter_async_context(NatsBus(nats.servers, clock))
        publisher = Publisher(bus, clock)
        for _ in range(3):
            bus = await stack.enter_async_context(NatsBus(nats.servers, clock))
            runner = StepRunner(ocr, bus=bus, publisher=publisher, delivery=PathDelivery(tmp_path), clock=clock)
            runners.append(await stack.enter_async_context(runner))
        uploads = {f"u{number}" for number in range(6)}
        for upload in sorted(uploads):
            url = (tmp_path / "file").as_uri()
            start = StartPostprocessingStep(upload_id=upload, url=url, filename="file", filesize=3, step_to_start="ocr")
            await publisher.publish(start)
        await eventually(lambda: [runner.running for runner in runners] == [2, 2, 2])
        for upload in sorted(uploads - {"u5"}):
            await publisher.publish(CancelPostprocessing(upload_id=upload))
        await eventually(lambda: cancelled == uploads - {"u5"})
        await eventually(lambda: sum(runner.running for runner in runners) == 1)
