"""What envelopes say about the sending of an event."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

import pytest

from penstock.bus.base import Bus, BusUnavailable, Filter, Handler, Hearer
from penstock.bus.memory import Memory
from penstock.bus.publish import Publisher
from penstock.core.emit import Emit
from penstock.errors import Unavailable
from penstock.events.types import BytesReceived, RestartPostprocessing
from penstock.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from penstock.events.types import Envelope

CLOCK = ManualClock(datetime(2026, 5, 1, 12, 30, tzinfo=UTC) + timedelta(milliseconds=250))


class Recorder(Bus):
    """Takes down each call; refuses what it is told to refuse."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.memory = Memory()
        self.calls: list[tuple[Envelope, ...]] = []
        self._refuses = refuses

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def publish(self, *envelopes: Envelope) -> None:
        if self._refuses:
            raise BusUnavailable("no answer within 5 s")
        self.calls.append(envelopes)

    def subscribe(
        self, group: str, types: Sequence[type], handler: Handler, *, workers: int, only: Filter | None = None
    ) -> AbstractAsyncContextManager[None]:
        raise NotImplementedError

    def listen(self, types: Sequence[type], hearer: Hearer) -> AbstractAsyncContextManager[None]:
        raise NotImplementedError

    def groups(self) -> list[str]:
        return []

    def pending(self, group: str) -> int:
        return len(self.calls)

    def failures(self, group: str) -> int:
        return 0


async def test_an_envelope_carries_all_that_is_known() -> None:
    bus = Recorder()
    event = BytesReceived(upload_id="u1")
    returned = await Publisher(bus, CLOCK).publish(
        event, event_id="e1", initiator_id="i1", causation_id="c1", trace_parent="00-aa-bb-01"
    )
    ((sent,),) = bus.calls
    assert sent is returned
    assert sent.event is event
    assert (sent.event_id, sent.initiator_id, sent.causation_id, sent.trace_parent) == ("e1", "i1", "c1", "00-aa-bb-01")
    assert sent.timestamp == "2026-05-01T12:30:00.25Z"


async def test_what_is_not_known_stays_empty() -> None:
    sent = await Publisher(Recorder(), CLOCK).publish(BytesReceived(upload_id="u1"), event_id="e1")
    assert (sent.initiator_id, sent.causation_id, sent.trace_parent) == ("", "", "")


async def test_each_sending_has_an_id_of_its_own_and_a_repeat_keeps_the_events() -> None:
    publisher = Publisher(Recorder(), CLOCK)
    first = await publisher.publish(BytesReceived(upload_id="u1"), event_id="e1")
    again = await publisher.publish(BytesReceived(upload_id="u1"), event_id="e1")
    assert first.event_id == again.event_id == "e1"
    assert first.id != again.id
    assert uuid.UUID(first.id).version == uuid.UUID(again.id).version == 4


async def test_an_event_without_an_id_gets_a_new_random_one() -> None:
    publisher = Publisher(Recorder(), CLOCK)
    ids = {(await publisher.publish(RestartPostprocessing(upload_id="u1"))).event_id for _ in range(3)}
    assert len(ids) == 3
    assert all(uuid.UUID(event_id).version == 4 for event_id in ids)


async def test_what_the_machine_said_goes_out_in_order_and_in_one_call() -> None:
    bus = Recorder()
    emits = [Emit(BytesReceived(upload_id=f"u{n}"), f"e{n}", "client") for n in range(3)]
    await Publisher(bus, CLOCK).emit(*emits, trace_parent="00-aa-bb-01")
    (sent,) = bus.calls
    assert [(e.event, e.event_id, e.initiator_id) for e in sent] == [(e.event, e.event_id, "client") for e in emits]
    assert {e.trace_parent for e in sent} == {"00-aa-bb-01"}


async def test_a_refusal_reaches_the_caller() -> None:
    with pytest.raises(BusUnavailable):
        await Publisher(Recorder(refuses=True), CLOCK).publish(BytesReceived(upload_id="u1"))


async def test_who_hears_first_has_heard_before_the_bus() -> None:
    bus, heard = Recorder(), list[tuple[str, int]]()
    publisher = Publisher(bus, CLOCK)

    async def hear(envelope: Envelope) -> None:
        heard.append((envelope.event_id, len(bus.calls)))

    with publisher.heard_first(hear):
        for name in ("e1", "e2"):
            await publisher.publish(BytesReceived(upload_id="u1"), event_id=name)
    await publisher.publish(BytesReceived(upload_id="u1"), event_id="e3")
    assert heard == [("e1", 0), ("e2", 1)]
    assert len(bus.calls) == 3


async def test_what_could_not_be_heard_first_is_not_published() -> None:
    bus = Recorder()
    publisher = Publisher(bus, CLOCK)

    async def deaf(envelope: Envelope) -> None:
        raise Unavailable(f"cannot keep {envelope.event_id}")

    with publisher.heard_first(deaf), pytest.raises(Unavailable, match="cannot keep e1"):
        await publisher.publish(BytesReceived(upload_id="u1"), event_id="e1")
    assert bus.calls == []
