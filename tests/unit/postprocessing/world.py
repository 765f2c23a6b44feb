"""A coordinator, and what is around it: tests take the store and the bus away, and count what was said and saved."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from penstock.bus.base import BusUnavailable
from penstock.bus.publish import Publisher
from penstock.core.policy import Policy
from penstock.events.types import (
    BytesReceived,
    Envelope,
    Event,
    PostprocessingFinished,
    PostprocessingStepFinished,
    StartPostprocessingStep,
)
from penstock.postprocessing.coordinator import Coordinator
from penstock.postprocessing.reconcile import Reconciler
from penstock.postprocessing.survey import Survey
from penstock.postprocessing.timers import Timers
from penstock.store.base import Revision, StoreUnavailable
from penstock.store.memory import MemoryStore
from penstock.telemetry import Metrics
from penstock.tracing import UNTRACED, Tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.bus.local import LocalBus
    from penstock.core.progress import Progress
    from penstock.testing import ManualClock

POLICY = Policy.create(["virusscan", "ocr"], retry_backoff=timedelta(seconds=4), max_retries=1)


class Recording:
    """A store that tells in which order things were done, and fails on demand."""

    def __init__(self, store: MemoryStore, log: list[str], clock: ManualClock) -> None:
        self._store = store
        self._log = log
        self.failing = 0
        """How many saves fail from now on."""
        self.away: set[str] = set()
        """Methods that fail until they are taken out."""
        self.unwritable: dict[str, Exception] = {}
        """What a save of these uploads raises."""
        self.calls: Counter[str] = Counter()
        self.clock = clock
        self.takes = timedelta()
        """How long counting takes."""

    async def count_by_step(self) -> dict[str, int]:
        self._check("count_by_step")
        if self.takes:
            await self.clock.sleep(self.takes)
        return await self._store.count_by_step()

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._store, name)

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            self._check(name)
            return await method(*args, **kwargs)

        async def yielded(*args: Any) -> Any:
            self._check(name)
            async for saved in method(*args):
                yield saved

        return yielded if name in ("all", "in_step") else awaited

    async def save(self, progress: Progress, *, expected: Revision | None) -> Revision:
        self._check("save")
        if self.failing:
            self.failing -= 1
            raise StoreUnavailable("away")
        if progress.upload_id in self.unwritable:
            raise self.unwritable[progress.upload_id]
        revision = await self._store.save(progress, expected=expected)
        self._log.append(f"saved {progress.status.current_step}")
        return revision

    def _check(self, name: str) -> None:
        self.calls[name] += 1
        if name in self.away:
            raise StoreUnavailable("away")


class Line:
    """The way to the bus, which can be cut."""

    def __init__(self, bus: LocalBus) -> None:
        self._bus = bus
        self.away = False
        self.refuses: Callable[[Envelope], bool] = lambda _: False
        """Which events are not taken, though the bus is there: a group that is full."""
        self.attempts = 0
        self.waiting = 0
        """How many events are said to wait for somebody."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    def pending(self, group: str) -> int:
        del group
        return self.waiting

    async def publish(self, *envelopes: Envelope) -> None:
        self.attempts += 1
        if self.away or any(map(self.refuses, envelopes)):
            raise BusUnavailable("away")
        await self._bus.publish(*envelopes)


class World:
    """A coordinator between a memory store and the embedded bus, with somebody who listens."""

    def __init__(self, clock: ManualClock, bus: LocalBus, policy: Policy = POLICY) -> None:
        self.clock = clock
        self.bus = bus
        self.line = Line(bus)
        self.policy = policy
        self.log: list[str] = []
        self.memory = MemoryStore()
        self.store: Any = Recording(self.memory, self.log, clock)
        self.metrics = Metrics()
        self.heard: list[Envelope] = []
        self.coordinator = self.another()
        self.timers = Timers(store=self.store, coordinator=self.coordinator, clock=clock)
        self.survey = Survey(store=self.store, clock=clock, stalled_after=timedelta(minutes=10))
        self.reconciler = self.reconciling()

    def another(self, policy: Policy | None = None, tracing: Tracing = UNTRACED) -> Coordinator:
        line: Any = self.line
        return Coordinator(
            store=self.store,
            bus=line,
            publisher=Publisher(line, self.clock),
            policy=policy or self.policy,
            clock=self.clock,
            metrics=self.metrics,
            tracing=tracing,
        )

    def reconciling(self) -> Reconciler:
        return Reconciler(
            store=self.store,
            coordinator=self.coordinator,
            memory=self.bus.memory,
            clock=self.clock,
            interval=timedelta(minutes=1),
            survey=self.survey,
        )

    def follow(self, policy: Policy) -> None:
        """Have a coordinator that follows another policy."""
        self.policy = policy
        self.coordinator = self.another()
        self.timers = Timers(store=self.store, coordinator=self.coordinator, clock=self.clock)
        self.reconciler = self.reconciling()

    async def hear(self, envelope: Envelope) -> None:
        event = envelope.event
        name = event.step_to_start if isinstance(event, StartPostprocessingStep) else envelope.event_type
        self.log.append(f"heard {name}")
        self.heard.append(envelope)

    def starts(self, upload_id: str = "u") -> list[str]:
        """The steps that an upload was heard to start, in their order."""
        events = [one.event for one in self.heard if one.event.upload_id == upload_id]
        return [event.step_to_start for event in events if isinstance(event, StartPostprocessingStep)]

    def decisions(self, upload_id: str = "u") -> list[str]:
        """The outcomes that were heard of an upload."""
        events = [one.event for one in self.heard if one.event.upload_id == upload_id]
        return [event.outcome for event in events if isinstance(event, PostprocessingFinished)]

    async def record(self, upload_id: str = "u") -> Progress | None:
        saved = await self.memory.get(upload_id)
        return None if saved is None else saved.progress

    async def progress(self, upload_id: str = "u") -> Progress:
        record = await self.record(upload_id)
        assert record is not None
        return record

    def count(self, kind: str, verdict: str) -> float:
        return self.sample("penstock_inputs_total", kind=kind, verdict=verdict)

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def said(event: Event, event_id: str = "", causation_id: str = "") -> Envelope:
    return Envelope(event=event, event_id=event_id or type(event).__name__, causation_id=causation_id)


RECEIVED = said(BytesReceived(upload_id="u", filename="f"), "run-1")


def received(upload_id: str) -> Envelope:
    return said(BytesReceived(upload_id=upload_id), f"run-{upload_id}")


def answer(outcome: str, step: str = "virusscan", event_id: str = "answer", upload_id: str = "u") -> Envelope:
    return said(PostprocessingStepFinished(upload_id=upload_id, finished_step=step, outcome=outcome), event_id)
