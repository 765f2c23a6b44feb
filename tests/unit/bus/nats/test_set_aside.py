"""What cannot be handled is kept, counted and shown; nothing waits behind it."""

from __future__ import annotations

import base64
import json

import pytest
from nats.js.manager import JetStreamManager
from structlog.testing import capture_logs

from penstock.bus.nats import NatsBus, Tolerance
from penstock.bus.nats.streams import make_events_stream
from penstock.errors import NotFound, Unavailable
from penstock.events.types import BytesReceived, Envelope
from penstock.testing.bus_contract import Listener, received
from penstock.testing.eventually import eventually
from tests.unit.bus.nats.conftest import NewBus


async def publish_raw(bus: NatsBus, data: bytes) -> None:
    await bus._client.jetstream().publish("main-queue", data)


def broken_payload(kind: str) -> bytes:
    payload = base64.b64encode(b'{"UploadID":5}').decode()
    metadata = {"eventid": "e1", "eventtype": f"events.{kind}"}
    return json.dumps({"Metadata": metadata, "ID": "i", "Topic": "main-queue", "Payload": payload}).encode()


async def test_what_cannot_be_decoded_is_set_aside_at_once(new_bus: NewBus) -> None:
    listener = Listener()
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
        with capture_logs() as logs:
            await publish_raw(bus, b"no JSON")
            await publish_raw(bus, broken_payload("BytesReceived"))
            await bus.publish(received("u1"))
            await eventually(lambda: listener.uploads == ["u1"])
            await eventually(lambda: bus.set_aside.kept["g"] == 2)
            await eventually(lambda: bus.pending("g") == 0)
        events = await bus.set_aside.events()
    assert [(event.group, event.sequence, event.event_type, event.event_id) for event in events] == [
        ("g", 1, "", ""),
        ("g", 2, "BytesReceived", "e1"),
    ]
    assert [event.data for event in events] == [b"no JSON", broken_payload("BytesReceived")]
    assert "payload is not readable" in events[1].reason
    assert events[0].at is not None
    assert [line["sequence"] for line in logs if line["event"] == "event_set_aside"] == [1, 2]


async def test_the_first_broken_event_of_a_stream_made_anew_is_kept_beside_that_of_the_former(
    new_bus: NewBus, manager: JetStreamManager
) -> None:
    listener = Listener()
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
        await publish_raw(bus, b"no JSON")
        await eventually(lambda: bus.set_aside.kept["g"] == 1)
        await manager.delete_stream("main-queue")
        await make_events_stream(manager)
        await publish_raw(bus, b"nor this")
        await eventually(lambda: bus.set_aside.kept["g"] == 2)
        events = await bus.set_aside.events()
    assert [(event.sequence, event.data) for event in events] == [(1, b"no JSON"), (1, b"nor this")]


async def test_what_is_broken_in_somebody_elses_event_is_their_business(new_bus: NewBus) -> None:
    listener = Listener()
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
        await publish_raw(bus, broken_payload("UploadReady"))
        await bus.publish(received("u1"))
        await eventually(lambda: listener.uploads == ["u1"])
        await eventually(lambda: bus.pending("g") == 0)
        assert await bus.set_aside.count() == 0


async def test_an_event_whose_handler_keeps_failing_is_set_aside(new_bus: NewBus) -> None:
    listener = Listener()
    listener.failing["poison"] = 10**9
    async with (
        new_bus(tolerance=Tolerance(max_failures=3)) as bus,
        bus.subscribe("g", [BytesReceived], listener, workers=1),
    ):
        await bus.publish(received("poison", event_id="e1"), received("u1"))
        await eventually(lambda: bus.set_aside.kept["g"] == 1)
        await eventually(lambda: bus.pending("g") == 0)
        (event,) = await bus.set_aside.events()
        assert (event.event_type, event.event_id) == ("BytesReceived", "e1")
        assert event.reason == "its handler failed 3 times, at last with OSError: cannot handle poison yet"
        assert bus.failures("g") == 3
    assert listener.uploads == ["u1"]


async def test_an_error_that_will_pass_sets_nothing_aside(new_bus: NewBus) -> None:
    tries = 0

    async def handler(envelope: Envelope) -> None:
        nonlocal tries
        tries += 1
        if tries < 5:
            raise Unavailable("the store is away")

    async with (
        new_bus(tolerance=Tolerance(max_failures=2)) as bus,
        bus.subscribe("g", [BytesReceived], handler, workers=1),
    ):
        await bus.publish(received("u1"))
        await eventually(lambda: tries == 5)
        await eventually(lambda: bus.pending("g") == 0)
        assert await bus.set_aside.count() == 0


async def test_what_was_set_aside_can_be_handled_again_or_discarded(new_bus: NewBus) -> None:
    listener = Listener()
    listener.failing["u1"] = 2
    async with (
        new_bus(tolerance=Tolerance(max_failures=2)) as bus,
        bus.subscribe("g", [BytesReceived], listener, workers=1),
    ):
        await publish_raw(bus, b"no JSON")
        await bus.publish(received("u1"))
        await eventually(lambda: bus.set_aside.kept["g"] == 2)
        for event in await bus.set_aside.events():
            if event.event_type:
                await bus.set_aside.again(event.number)
            else:
                await bus.set_aside.discard(event.number)
        await eventually(lambda: listener.uploads == ["u1"])
        assert await bus.set_aside.count() == 0
        assert await bus.set_aside.events() == []
        for act in (bus.set_aside.again, bus.set_aside.discard):
            with pytest.raises(NotFound, match="4711"):
                await act(4711)


async def test_what_is_too_large_to_be_kept_twice_is_named(new_bus: NewBus) -> None:
    listener = Listener()
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
        await publish_raw(bus, b"x" * (1024 * 1024))
        await eventually(lambda: bus.set_aside.kept["g"] == 1)
        (event,) = await bus.set_aside.events()
    assert (event.sequence, event.data) == (1, b"")


async def test_a_list_is_read_in_parts(new_bus: NewBus) -> None:
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], Listener(), workers=1):
        for number in range(5):
            await publish_raw(bus, b"no JSON %d" % number)
        await eventually(lambda: bus.set_aside.kept["g"] == 5)
        first = await bus.set_aside.events(limit=3)
        rest = await bus.set_aside.events(after=first[-1].number)
    assert [event.data for event in [*first, *rest]] == [b"no JSON %d" % number for number in range(5)]
