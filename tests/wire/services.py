"""The coordinator that a weakness is looked for in: ours, and a model of the Go service.

The model is made from what was seen of the Go service and from its recorded conversations, which it must be able to
hold: `test_weaknesses` has it replay them. It has the weaknesses on purpose.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from penstock.bus.base import BusUnavailable
from penstock.bus.publish import Publisher
from penstock.core.policy import Policy
from penstock.errors import Unavailable
from penstock.events.types import (
    DELAY,
    BytesReceived,
    Envelope,
    Event,
    PostprocessingFinished,
    PostprocessingRetry,
    PostprocessingStepFinished,
    RestartPostprocessing,
    ResumePostprocessing,
    StartPostprocessingStep,
    UploadReady,
    User,
)
from penstock.postprocessing.coordinator import Coordinator
from penstock.postprocessing.timers import Timers
from penstock.store.base import Revision, StoreUnavailable
from penstock.store.memory import MemoryStore
from penstock.telemetry import Metrics
from penstock.testing import ManualClock

if TYPE_CHECKING:
    from penstock.core.progress import Progress

BEFORE_SAVE, BEFORE_PUBLISH = "before save", "before publish"
_SECOND = timedelta(seconds=1)


class Service(Protocol):
    """What can be done with either."""

    said: list[tuple[Event, str]]
    """What it published, each with the initiator."""
    store_away: bool
    bus_away: bool

    async def hear(self, envelope: Envelope, *, dies: str = "") -> None:
        """Deliver an event; `dies`: kill -9 at that point, and start again."""
        ...

    async def kill(self) -> None:
        """Kill -9, and start again."""
        ...

    async def wait(self, duration: timedelta) -> None:
        """Let time pass."""
        ...

    async def uploads(self) -> set[str]:
        """Which uploads have a record."""
        ...


class _Killed(BaseException):
    """Kill -9: nothing of ours gets to see it."""


class Ours:
    """Our coordinator with its timers, on a store that outlives it and a bus that keeps what is not acknowledged."""

    def __init__(self, policy: Policy, *, capacity: int = 0) -> None:
        del capacity  # our stores evict nothing
        self.said: list[tuple[Event, str]] = []
        self.store_away = self.bus_away = False
        self.clock = ManualClock()
        self._policy = policy
        self._store = MemoryStore()
        self._waiting: list[Envelope] = []
        self._dies = ""
        self._start()

    def _start(self) -> None:
        this: Any = self
        self._coordinator = Coordinator(
            store=this,
            bus=this,
            publisher=Publisher(this, self.clock),
            policy=self._policy,
            clock=self.clock,
            metrics=Metrics(),
        )
        self._timers = Timers(store=this, coordinator=self._coordinator, clock=self.clock)

    async def hear(self, envelope: Envelope, *, dies: str = "") -> None:
        self._dies = dies
        try:
            await self._coordinator.handle(envelope)
        except Unavailable:
            self._waiting.append(envelope)
        except _Killed:
            self._waiting.append(envelope)
            await self.kill()

    async def kill(self) -> None:
        self._dies = ""
        self._start()
        await self._deliver()

    async def wait(self, duration: timedelta) -> None:
        while duration > timedelta(0):
            await self.clock.advance(min(_SECOND, duration))
            duration -= _SECOND
            await self._deliver()
            try:
                await self._timers.fire()
            except Unavailable:
                continue

    async def uploads(self) -> set[str]:
        return {saved.progress.upload_id async for saved in self._store.all()}

    async def _deliver(self) -> None:
        waiting, self._waiting = self._waiting, []
        for envelope in waiting:
            await self.hear(envelope)

    # --- the store and the bus, as the coordinator sees them ----------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._store, name)
        if name in ("all", "in_step"):
            return method

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)  # others get their turn, as with a store on another machine
            if self.store_away:
                raise StoreUnavailable("away")
            return await method(*args, **kwargs)

        return awaited

    async def save(self, progress: Progress, *, expected: Revision | None) -> Revision:
        await asyncio.sleep(0)
        if self._dies == BEFORE_SAVE:
            raise _Killed
        if self.store_away:
            raise StoreUnavailable("away")
        return await self._store.save(progress, expected=expected)

    async def publish(self, *envelopes: Envelope) -> None:
        if self._dies == BEFORE_PUBLISH:
            raise _Killed
        if self.bus_away:
            raise BusUnavailable("away")
        self.said += [(envelope.event, envelope.initiator_id) for envelope in envelopes]


@dataclass
class _Record:
    """What the Go service keeps of an upload."""

    received: BytesReceived
    initiator: str
    steps: tuple[str, ...]
    step: str = ""
    outcome: str = ""
    failures: int = 0
    finished: bool = False


@dataclass
class Go:
    """The Go service: acknowledges before it works, keeps timers in memory, checks neither revision nor step."""

    policy: Policy
    capacity: int = 0
    """How many records the store keeps; the least recently used ones go first. 0: all."""
    said: list[tuple[Event, str]] = field(default_factory=list)
    store_away: bool = False
    bus_away: bool = False
    now: timedelta = timedelta(0)
    _records: OrderedDict[str, _Record] = field(default_factory=OrderedDict)
    _timers: list[tuple[timedelta, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: Any = field(default_factory=count)
    _exited: bool = False

    async def hear(self, envelope: Envelope, *, dies: str = "") -> None:
        if self._exited or dies == BEFORE_SAVE or self.store_away:
            return  # acknowledged already, and gone
        said = len(self.said)
        event = envelope.event
        if isinstance(event, ResumePostprocessing):
            self._resume(event)
            return
        before = self._read(event.upload_id)
        await asyncio.sleep(0)  # a record is read, changed and written without a look at what others write meanwhile
        self._handle(event, before, envelope.initiator_id)
        if dies == BEFORE_PUBLISH:
            del self.said[said:]
            await self.kill()

    async def kill(self) -> None:
        self._timers.clear()
        self._exited = False

    async def wait(self, duration: timedelta) -> None:
        until = self.now + duration
        while self._timers and self._timers[0][0] <= until:
            self.now, _, fire = heapq.heappop(self._timers)
            fire()
        self.now = until

    async def uploads(self) -> set[str]:
        return set(self._records)

    def _read(self, upload_id: str) -> _Record | None:
        record = self._records.get(upload_id)
        if record is None:
            return None
        self._records.move_to_end(upload_id)
        return _Record(**vars(record))

    def _write(self, record: _Record) -> None:
        upload_id = record.received.upload_id
        self._records[upload_id] = record
        self._records.move_to_end(upload_id)
        if self.capacity and len(self._records) > self.capacity:
            self._records.popitem(last=False)

    def _handle(self, event: Event, before: _Record | None, initiator: str) -> None:
        match event:
            case BytesReceived():
                steps = self.policy.steps
                self._enter(_Record(event, initiator, steps), steps[0] if steps else None)
            case UploadReady(failed=False):
                self._records.pop(event.upload_id, None)
            case UploadReady() if before is not None:
                before.finished = True
                self._write(before)
            case PostprocessingStepFinished() if before is not None:
                self._answered(before, event)
            case _:
                pass

    def _answered(self, record: _Record, event: PostprocessingStepFinished) -> None:
        if event.outcome == "continue":
            self._enter(record, self._following(record, event.finished_step))
        elif event.outcome == "retry":
            self._retry(record)
        else:
            self._finish(record, event.outcome)
        if record.outcome == "retry":  # also when it was another answer that was handled just now
            present = _Record(**vars(record))
            self._later(self.policy.retry_backoff * 2 ** (record.failures - 1), lambda: self._say_start(present))

    def _retry(self, record: _Record) -> None:
        record.failures += 1
        if record.failures > self.policy.max_retries:
            self._finish(record, "abort")
            return
        record.outcome = "retry"
        self._write(record)
        received, pause = record.received, self.policy.retry_backoff * 2 ** (record.failures - 1)
        self._say(
            PostprocessingRetry(
                upload_id=received.upload_id,
                filename=received.filename,
                executing_user=received.executing_user,
                failures=record.failures,
                backoff_duration_ns=pause // timedelta(microseconds=1) * 1000,
            ),
            record.initiator,
        )

    def _delay(self, record: _Record) -> None:
        following = self._following(record, DELAY)
        record.step = following or "finished"
        record.outcome = record.outcome if following else "continue"
        self._write(record)
        self._later(self.policy.delay, lambda: self._say_start(record))

    def _enter(self, record: _Record, step: str | None) -> None:
        if step is None:
            self._finish(record, "continue")
            return
        record.step = step
        self._write(record)
        self._say_start(record)
        if step == DELAY:
            self._delay(record)

    def _finish(self, record: _Record, outcome: str) -> None:
        record.step, record.outcome = "finished", outcome
        self._write(record)
        self._say_start(record)

    def _following(self, record: _Record, step: str) -> str | None:
        after = record.steps.index(step) + 1 if step in record.steps else len(record.steps)
        return record.steps[after] if after < len(record.steps) else None

    def _resume(self, event: ResumePostprocessing) -> None:
        if event.step:
            chosen = [record for record in self._records.values() if record.step == event.step]
        elif event.upload_id in self._records:
            chosen = [self._records[event.upload_id]]
        else:
            self._say(RestartPostprocessing(upload_id=event.upload_id), "")
            return
        for record in chosen:
            if not record.finished:
                anonymous = _Record(**{**vars(record), "initiator": ""})
                self._say_start(anonymous)

    def _say_start(self, record: _Record) -> None:
        received = record.received
        if record.step == "finished":
            finished = PostprocessingFinished(
                upload_id=received.upload_id,
                filename=received.filename,
                executing_user=received.executing_user,
                outcome=record.outcome,
                impersonating_user=received.impersonating_user,
            )
            self._say(finished, record.initiator)
            return
        start = StartPostprocessingStep(
            upload_id=received.upload_id,
            url=received.url,
            executing_user=received.executing_user,
            filename=received.filename,
            filesize=received.filesize,
            resource_id=received.resource_id,
            step_to_start=record.step,
            impersonating_user=received.impersonating_user,
        )
        self._say(start, record.initiator)

    def _say(self, event: Event, initiator: str) -> None:
        if self.bus_away:
            self._exited = True
        if not self._exited:
            self.said.append((event, initiator))

    def _later(self, pause: timedelta, fire: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (self.now + pause, next(self._numbers), fire))


def user_named(event: Event) -> User | None:
    """Who uploaded the file, as an event says."""
    user: User | None = getattr(event, "executing_user", None)
    return user
