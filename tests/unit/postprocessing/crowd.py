"""Several coordinators on one store and one bus, which delivers every event twice and in any order."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from penstock.bus.local import LocalBus
from penstock.bus.publish import Publisher
from penstock.clock import SystemClock
from penstock.core.policy import Policy
from penstock.core.progress import State
from penstock.events.types import (
    DELAY,
    BytesReceived,
    Envelope,
    PostprocessingFinished,
    PostprocessingStepFinished,
    StartPostprocessingStep,
    UploadReady,
)
from penstock.ids import derived_id, new_event_id
from penstock.postprocessing.coordinator import GROUP, Coordinator
from penstock.postprocessing.timers import Timers
from penstock.telemetry import Metrics
from penstock.testing import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from penstock.store.base import ProgressStore

POLICY = Policy.create(
    ["virusscan", "delay", "ocr"],
    delay=timedelta(milliseconds=20),
    retry_backoff=timedelta(milliseconds=20),
    ended_kept=timedelta(minutes=5),
)


class Twice:
    """A way to the bus that holds events back, lets them overtake each other, and sends each one twice."""

    def __init__(self, bus: LocalBus, chance: random.Random) -> None:
        self._bus = bus
        self._chance = chance
        self._held: list[tuple[Envelope, bool]] = []
        self._some = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    @property
    def empty(self) -> bool:
        """Whether everything was delivered twice."""
        return not self._held

    async def publish(self, *envelopes: Envelope) -> None:
        self._held += [(envelope, True) for envelope in envelopes]
        self._some.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            await self._some.wait()
            which = self._chance.randrange(len(self._held))
            envelope, again = self._held[which]
            self._held[which] = self._held[-1]
            self._held.pop()
            await self._bus.publish(envelope)
            if again:
                self._held.append((envelope, False))
            if not self._held:
                self._some.clear()
            if self._chance.random() < 0.3:
                await asyncio.sleep(0.0005)


class Outside:
    """The storage side and the steps, as the services of others are: they do not recognise what comes again."""

    def __init__(self, bus: Any, *, names_its_question: bool) -> None:
        self._publisher = Publisher(bus, SystemClock())
        self._names_its_question = names_its_question
        self.decisions: defaultdict[str, set[str]] = defaultdict(set)
        self.outcomes: defaultdict[str, set[str]] = defaultdict(set)
        self.starts: defaultdict[tuple[str, str], list[str]] = defaultdict(list)

    async def on_finished(self, envelope: Envelope) -> None:
        event = envelope.event
        assert isinstance(event, PostprocessingFinished)
        first = event.upload_id not in self.decisions
        self.decisions[event.upload_id].add(envelope.event_id)
        self.outcomes[event.upload_id].add(event.outcome)
        if first:  # then the session is gone
            failed = event.outcome != "continue"
            await self._publisher.publish(UploadReady(upload_id=event.upload_id, failed=failed))

    async def on_start(self, envelope: Envelope) -> None:
        event = envelope.event
        assert isinstance(event, StartPostprocessingStep)
        step = event.step_to_start
        if step == DELAY:
            return
        starts = self.starts[event.upload_id, step]
        if envelope.event_id not in starts:
            starts.append(envelope.event_id)
        outcome = planned(event.upload_id, step, starts.index(envelope.event_id))
        answer = PostprocessingStepFinished(upload_id=event.upload_id, finished_step=step, outcome=outcome)
        if self._names_its_question:
            answer_id, question = derived_id(envelope.event_id, "finished"), envelope.event_id
        else:
            answer_id, question = new_event_id(), ""
        await self._publisher.publish(answer, event_id=answer_id, causation_id=question)


def planned(upload_id: str, step: str, attempt: int) -> str:
    """What a step answers to its attempt, counted from 0."""
    number = int(upload_id)
    if step == "virusscan" and number % 3 == 0 and attempt == 0:
        return "retry"
    return ("abort" if number % 7 == 0 else "continue") if step == "ocr" else "continue"


def planned_end(upload_id: str) -> str:
    """How an upload is to end."""
    return "abort" if int(upload_id) % 7 == 0 else "continue"


class Crowd:
    """All of them."""

    def __init__(self, store: ProgressStore, bus: LocalBus, outside: Outside, twice: Any) -> None:
        self.store = store
        self.bus = bus
        self.outside = outside
        self.twice = twice
        self.metrics = Metrics()

    async def process(self, uploads: int) -> None:
        """Have so many uploads processed, and their beginning announced again when they have ended."""
        publisher = Publisher(self.twice, SystemClock())
        first = [await publisher.publish(BytesReceived(upload_id=str(number))) for number in range(uploads)]
        await eventually(lambda: len(self.outside.decisions) == uploads, timeout_seconds=60)
        await eventually(self._quiet, timeout_seconds=60)
        await self.twice.publish(*first)
        await eventually(self._quiet, timeout_seconds=60)

    async def _quiet(self) -> bool:
        if not self.twice.empty or any(self.bus.pending(group) for group in self.bus.groups()):
            return False
        states = [saved.progress.state async for saved in self.store.all()]
        return all(state in (State.ENDED, State.FAILED) for state in states) and self.twice.empty

    def total(self, name: str) -> float:
        """The sum over all labels of a counter."""
        return sum(
            sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == name
        )

    def verdicts(self, *verdicts: str) -> float:
        """How many inputs had one of these verdicts."""
        return sum(
            sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "penstock_inputs_total" and sample.labels["verdict"] in verdicts
        )


@asynccontextmanager
async def crowd(
    store: ProgressStore, coordinators: int, *, names_its_question: bool, seed: int = 1
) -> AsyncIterator[Crowd]:
    """Open `coordinators` of them, with timers."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(LocalBus(clock))
        twice: Any = Twice(bus, random.Random(seed))
        outside = Outside(twice, names_its_question=names_its_question)
        made = Crowd(store, bus, outside, twice)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        loops = [group.create_task(twice.run())]
        stack.callback(lambda: [loop.cancel() for loop in loops])
        for types, handler in (
            ((PostprocessingFinished,), outside.on_finished),
            ((StartPostprocessingStep,), outside.on_start),
        ):
            await stack.enter_async_context(bus.subscribe(handler.__name__, types, handler, workers=8))
        for _ in range(coordinators):
            coordinator = Coordinator(
                store=store,
                bus=twice,
                publisher=Publisher(twice, clock),
                policy=POLICY,
                clock=clock,
                metrics=made.metrics,
            )
            await stack.enter_async_context(coordinator.subscribe(workers=8))
            loops.append(group.create_task(Timers(store=store, coordinator=coordinator, clock=clock).run()))
        yield made
        assert bus.failures(GROUP) == 0
