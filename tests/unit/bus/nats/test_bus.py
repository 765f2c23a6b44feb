"""What the bus does on a real server beyond what every bus does."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace as replaced
from nats.aio.msg import Msg
from nats.js.api import StreamConfig
from nats.js.manager import JetStreamManager

from penstock.bus.base import BusUnavailable
from penstock.bus.nats import NatsBus
from penstock.bus.nats import reader as reader_module
from penstock.bus.nats.bus import EventTooLarge
from penstock.clock import SystemClock
from penstock.events.codec import decode, encode
from penstock.events.types import (
    BytesReceived,
    CancelPostprocessing,
    Envelope,
    PostprocessingStepFinished,
    StartPostprocessingStep,
)
from penstock.ids import new_event_id
from penstock.jetstream import connect
from penstock.testing.bus_contract import Listener, finished, received
from penstock.testing.eventually import eventually
from tests.servers.nats import Certificate, NatsServer, running_nats
from tests.unit.bus.nats.conftest import NewBus, Patient, gives_signs_of_life


async def test_the_stream_is_the_one_that_a_go_service_makes(new_bus: NewBus, manager: JetStreamManager) -> None:
    async with new_bus():
        config = (await manager.stream_info("main-queue")).config
    assert config.subjects == ["main-queue"]
    assert (config.retention, config.storage, config.discard) == ("limits", "file", "old")
    limits = (config.max_msgs, config.max_bytes, config.max_msg_size, config.max_msgs_per_subject, config.max_consumers)
    assert limits == (-1, -1, -1, -1, -1)
    assert (config.num_replicas, config.max_age, config.duplicate_window) == (1, 0, 120)
    assert not (config.allow_direct)
    assert not (config.allow_rollup_hdrs)


async def test_a_stream_that_is_there_stays_as_it_is(new_bus: NewBus, manager: JetStreamManager) -> None:
    theirs = StreamConfig(name="main-queue", subjects=["main-queue"], max_age=3600, description="theirs")
    before = (await manager.add_stream(theirs)).config
    listener = Listener()
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
        await bus.publish(received("u1"))
        await eventually(lambda: listener.uploads == ["u1"])
        assert (await manager.stream_info("main-queue")).config == before


async def test_a_message_is_what_a_go_service_would_send_and_carries_its_id(
    new_bus: NewBus, manager: JetStreamManager
) -> None:
    envelope = replace_event_id(received("u1"), "e1")
    async with new_bus() as bus:
        await bus.publish(envelope)
    message = await manager.get_msg("main-queue", seq=1)
    assert message.subject == "main-queue"
    assert message.data == encode(envelope)
    assert message.headers == {"Nats-Msg-Id": "e1"}


def replace_event_id(envelope: Envelope, event_id: str) -> Envelope:
    return Envelope(event=envelope.event, event_id=event_id, trace_parent="00-a-b-01", initiator_id="client")


async def test_repeats_are_stored_once(new_bus: NewBus, manager: JetStreamManager) -> None:
    async with new_bus() as bus, new_bus() as other:
        await bus.publish(received("u1", event_id="e1"), received("u1", event_id="e1"))
        await other.publish(received("u1", event_id="e1"), received("u2", event_id="e2"))
    assert (await manager.stream_info("main-queue")).state.messages == 2


async def test_what_was_published_here_for_others_is_acknowledged_unread(
    new_bus: NewBus, manager: JetStreamManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Envelope] = []

    def reading(data: bytes) -> Envelope:
        read.append(decode(data))
        return read[-1]

    monkeypatch.setattr(reader_module, "decode", reading)
    listener, joined = Listener(), Listener()
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
        await bus.publish(finished("u1", "scan"), received("u2"), finished("u3", "scan"))
        await eventually(lambda: listener.uploads == ["u2"])
        await acknowledged(manager, 3)
        assert [envelope.event.upload_id for envelope in read] == ["u2"]
        async with bus.subscribe("g", [PostprocessingStepFinished], joined, workers=1):
            await bus.publish(finished("u4", "scan"))
            await eventually(lambda: joined.uploads == ["u4"])
            await acknowledged(manager, 4)


async def acknowledged(manager: JetStreamManager, count: int) -> None:
    async def all_are() -> bool:
        info = await manager.consumer_info("main-queue", "g-pull")
        return info.ack_floor is not None and info.ack_floor.stream_seq == count

    await eventually(all_are)


async def test_what_was_published_for_others_is_for_who_joins_before_it_comes(new_bus: NewBus) -> None:
    """Nothing of it is passed over that somebody wants by then."""
    joined = Listener()
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], Listener(), workers=1):
        reader = bus._readers["g"]
        message = finished("u1", "scan")
        reader.expect(message, encode(message))
        async with bus.subscribe("g", [PostprocessingStepFinished], joined, workers=1):
            await bus.publish(message)
            await eventually(lambda: joined.uploads == ["u1"])


async def test_what_a_subscription_that_has_left_wants_is_not_passed_over(new_bus: NewBus) -> None:
    listener = Listener()
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], Listener(), workers=1):
        async with bus.subscribe("g", [PostprocessingStepFinished], Listener(), workers=1):
            pass
        await bus.publish(finished("u1", "scan"))
        async with bus.subscribe("g", [PostprocessingStepFinished], listener, workers=1):
            await eventually(lambda: listener.uploads == ["u1"], timeout_seconds=60)


async def test_several_thousand_events_are_confirmed_and_read_in_a_second_or_two(new_bus: NewBus) -> None:
    listener = Listener()
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=10):
        await bus.publish(*(received(f"u{number}") for number in range(5000)))  # more than are in flight at a time
        await eventually(lambda: len(listener.envelopes) == 5000, timeout_seconds=60)
    assert len(set(listener.uploads)) == 5000


async def test_an_event_that_is_too_large_is_refused(new_bus: NewBus, manager: JetStreamManager) -> None:
    large = Envelope(event=BytesReceived(upload_id="u1", filename="x" * 1_000_000), event_id="e1")
    async with new_bus() as bus:
        with pytest.raises(EventTooLarge, match="1048576"):
            await bus.publish(received("u0"), large)
        await bus.publish(received("u2"))
    assert (await manager.stream_info("main-queue")).state.messages == 1


async def test_tls_with_user_and_password(tmp_path: Path, new_bus: NewBus) -> None:
    certificate = Certificate.make(tmp_path)
    listener = Listener()
    with running_nats(tmp_path, certificate=certificate, user=("penstock", "secret")) as server:
        servers = replace(server.servers, endpoints=("127.0.0.1:1", server.endpoint))
        async with new_bus(servers=servers) as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
            await bus.publish(received("u1"))
            await eventually(lambda: listener.uploads == ["u1"])


async def test_a_server_without_jetstream_is_told_from_one_with(tmp_path: Path) -> None:
    with running_nats(tmp_path, more="accounts { plain { users: [{user: a, password: b}] } }") as server:
        servers = replace(server.servers, username="a", password="b")
        with pytest.raises(BusUnavailable, match="Is JetStream enabled"):
            async with NatsBus(servers, SystemClock()):
                pass


async def test_events_published_before_a_group_first_came_are_seen(new_bus: NewBus) -> None:
    listener = Listener()
    async with new_bus() as bus:
        await bus.publish(received("u1"), received("u2"), finished("u1", "virusscan"))
        async with bus.subscribe("g", [BytesReceived], listener, workers=1):
            await eventually(lambda: listener.uploads == ["u1", "u2"])


async def test_instances_of_a_group_share_the_work(new_bus: NewBus) -> None:
    listeners = [Listener(), Listener()]
    for listener in listeners:
        listener.gate.clear()
    async with (
        new_bus() as one,
        new_bus() as other,
        one.subscribe("g", [BytesReceived], listeners[0], workers=2),
        other.subscribe("g", [BytesReceived], listeners[1], workers=2),
    ):
        await one.publish(*(received(f"u{number}") for number in range(12)))
        await eventually(lambda: [listener.running for listener in listeners] == [2, 2])
        assert one.pending("g") == 12
        for listener in listeners:
            listener.gate.set()
        await eventually(lambda: sum(len(listener.envelopes) for listener in listeners) == 12)
        await eventually(lambda: one.pending("g") == other.pending("g") == 0)
    assert len({*listeners[0].uploads, *listeners[1].uploads}) == 12


async def test_no_more_is_fetched_than_the_workers_can_do(new_bus: NewBus, manager: JetStreamManager) -> None:
    listener = Listener()
    listener.gate.clear()
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=3):
        await bus.publish(*(received(f"u{number}") for number in range(20)))
        await eventually(lambda: listener.running == 3)
        await eventually(lambda: bus.pending("g") == 20)
        info = await manager.consumer_info("main-queue", "g-pull")
        assert (info.num_ack_pending, info.num_pending) == (3, 17)


async def test_what_nobody_wants_is_passed_over_many_at_a_time(new_bus: NewBus, server: NatsServer) -> None:
    """The stream carries everybody's events: one by one, a wanted one would wait for a trip for each before it."""
    listener, questions = Listener(), 0
    listener.gate.clear()

    async def count(message: Msg) -> None:
        nonlocal questions
        del message
        questions += 1

    async with (
        connect(server.servers, name="test") as client,
        new_bus() as bus,
        bus.subscribe("g", [BytesReceived], listener, workers=2),
    ):
        await bus.publish(received("u1"))
        await eventually(lambda: listener.running == 1)  # so there is room for one more
        await client.subscribe("$JS.API.CONSUMER.MSG.NEXT.>", cb=count)
        await client.flush()
        others = [finished(f"u{number}", "virusscan") for number in range(2000)]
        await bus.publish(*others, received("u2"))
        await eventually(lambda: listener.running == 2, timeout_seconds=60)
        listener.gate.set()
    assert questions < 400


async def test_long_work_is_not_delivered_twice(new_bus: NewBus, manager: JetStreamManager, server: NatsServer) -> None:
    listener, other = Listener(), Listener()
    listener.gate.clear()
    clock, ack_wait = Patient(), timedelta(minutes=5)
    async with (
        connect(server.servers, name="test") as client,
        new_bus(clock=clock, ack_wait=ack_wait) as bus,
        bus.subscribe("g", [BytesReceived], listener, workers=1),
    ):
        await bus.publish(received("u1"))
        await eventually(lambda: listener.running == 1)
        async with (
            new_bus(ack_wait=ack_wait) as second,
            second.subscribe("g", [BytesReceived], other, workers=1),
        ):
            await gives_signs_of_life(client, clock, events=1, ack_wait=ack_wait)
            assert other.uploads == []
            info = await manager.consumer_info("main-queue", "g-pull")
            assert (info.num_redelivered, info.num_ack_pending) == (0, 1)
            listener.gate.set()
            await eventually(lambda: listener.uploads == ["u1"])
            await eventually(lambda: second.pending("g") == 0)
    assert other.uploads == []


async def test_events_of_an_instance_that_died_come_to_another_one(new_bus: NewBus) -> None:
    dead, alive = Listener(), Listener()
    dead.gate.clear()
    alive.gate.clear()
    async with (
        new_bus(ack_wait=timedelta(seconds=1)) as one,
        one.subscribe("g", [BytesReceived], dead, workers=2),
        new_bus(ack_wait=timedelta(seconds=1)) as other,
        other.subscribe("g", [BytesReceived], alive, workers=1),
    ):
        await one.publish(*(received(f"u{number}") for number in range(3)))
        await eventually(lambda: (dead.running, alive.running) == (2, 1))
        one._client.options["allow_reconnect"] = False
        one._client.abort()  # a death, as far as the server and the other instance can tell
        alive.gate.set()
        await eventually(lambda: sorted(alive.uploads) == ["u0", "u1", "u2"], timeout_seconds=60)


async def test_a_cancellation_reaches_all_instances_and_does_not_wait_behind_their_work(new_bus: NewBus) -> None:
    starts = [Listener(), Listener()]
    cancelled: list[list[str]] = [[], []]
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(new_bus())
        for number in range(2):
            starts[number].gate.clear()
            bus = await stack.enter_async_context(new_bus())
            await stack.enter_async_context(bus.subscribe("step", [StartPostprocessingStep], starts[number], workers=1))
            hear = cancelled[number].append
            await stack.enter_async_context(
                bus.listen([CancelPostprocessing], lambda e, hear=hear: hear(e.event.upload_id))  # type: ignore[misc]
            )
        for number in range(50):
            start = StartPostprocessingStep(upload_id=f"u{number}", step_to_start="ocr")
            await bus.publish(Envelope(event=start, event_id=new_event_id()))
        await bus.publish(Envelope(event=CancelPostprocessing(upload_id="u0"), event_id=new_event_id()))
        await eventually(lambda: cancelled == [["u0"], ["u0"]])
        assert [start.running for start in starts] == [1, 1]


async def test_who_listens_hears_again_after_the_connection_was_lost(new_bus: NewBus) -> None:
    heard: list[str] = []
    async with (
        new_bus() as bus,
        new_bus() as other,
        bus.listen([CancelPostprocessing], lambda e: heard.append(e.event.upload_id)),
    ):
        connected_again = asyncio.Event()
        bus._client.on_reconnected.append(connected_again.set)
        bus._client.abort()
        await asyncio.wait_for(connected_again.wait(), 60)
        await bus._client.flush()
        await other.publish(Envelope(event=CancelPostprocessing(upload_id="u1"), event_id=new_event_id()))
        await eventually(lambda: heard == ["u1"])


async def test_a_group_has_one_consumer_whatever_it_asks_for(new_bus: NewBus, manager: JetStreamManager) -> None:
    starts, cancels = Listener(), Listener()
    async with (
        new_bus() as bus,
        bus.subscribe("g", [StartPostprocessingStep], starts, workers=1),
        bus.subscribe("g", [CancelPostprocessing], cancels, workers=1),
    ):
        await bus.publish(Envelope(event=CancelPostprocessing(upload_id="u0"), event_id=new_event_id()))
        await eventually(lambda: cancels.uploads == ["u0"])
        assert [info.name for info in await manager.consumers_info("main-queue")] == ["g-pull"]


async def test_one_id_for_many_events_of_somebody_elses_loses_none(new_bus: NewBus) -> None:
    """The Go services do not look at IDs, so whoever speaks to them may give one to all that it says."""
    listener = Listener()
    listener.gate.clear()
    uploads = [f"u{number}" for number in range(10)]
    wanted = [BytesReceived, PostprocessingStepFinished]
    async with new_bus() as bus, bus.subscribe("g", wanted, listener, workers=30):
        for upload in uploads:
            begun = received(upload, event_id="1")
            ended = replaced(finished(upload, "ocr"), event_id="1")
            for envelope in (begun, ended, begun):
                await bus._client.publish("main-queue", encode(envelope))
        await eventually(lambda: listener.running == 20)
        await eventually(lambda: bus.pending("g") == 20)  # repeats are still recognised
        listener.gate.set()
        await eventually(lambda: sorted(listener.uploads) == sorted(2 * uploads))


async def test_events_of_unknown_types_are_nobodys_business(new_bus: NewBus, manager: JetStreamManager) -> None:
    listener = Listener()
    foreign = {"Metadata": {"eventtype": "events.ShareCreated"}, "Payload": base64.b64encode(b"{}").decode()}
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
        await bus._client.publish("main-queue", json.dumps(foreign).encode())
        await bus.publish(received("u1"), finished("u1", "ocr"))
        await eventually(lambda: listener.uploads == ["u1"])
        await eventually(lambda: nothing_pending(manager, "g-pull"))
        assert await bus.set_aside.count() == 0


async def nothing_pending(manager: JetStreamManager, consumer: str) -> bool:
    info = await manager.consumer_info("main-queue", consumer)
    return (info.num_ack_pending, info.num_pending) == (0, 0)


async def test_a_name_that_nats_does_not_allow_becomes_one_that_it_does(
    new_bus: NewBus, manager: JetStreamManager
) -> None:
    listeners = [Listener(), Listener()]
    async with (
        new_bus() as bus,
        bus.subscribe("step ocr.v2/é", [BytesReceived], listeners[0], workers=1),
        bus.subscribe("step ocr*v2/é", [BytesReceived], listeners[1], workers=1),
    ):
        await bus.publish(received("u1"))
        await eventually(lambda: [listener.uploads for listener in listeners] == [["u1"], ["u1"]])
        names = [info.name for info in await manager.consumers_info("main-queue")]
    assert len(names) == 2


async def test_nobody_to_publish_to_is_said_in_time(tmp_path: Path, new_bus: NewBus) -> None:
    with running_nats(tmp_path) as server:
        async with new_bus(servers=server.servers, publish_timeout=timedelta(seconds=0.5)) as bus:
            server.kill()
            with pytest.raises(BusUnavailable, match=r"did not confirm 1 of 1 events within 0\.5 s"):
                await bus.publish(received("u1"))
