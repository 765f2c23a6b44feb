"""Whatever happens to the server, the stream or the consumer: nothing is lost, and nobody has to restart anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from nats.js.api import AckPolicy
from nats.js.manager import JetStreamManager
from structlog.testing import capture_logs

from penstock.bus.nats import NatsBus, consumers
from penstock.bus.nats.feeds import PullFeed
from penstock.bus.nats.streams import make_events_stream
from penstock.clock import SystemClock
from penstock.events.types import BytesReceived, Envelope, PostprocessingStepFinished, UploadReady
from penstock.ids import new_event_id
from penstock.testing.bus_contract import Listener, finished, received
from penstock.testing.eventually import eventually
from tests.servers.nats import NatsServer, running_nats
from tests.unit.bus.nats.conftest import NewBus

SECOND = timedelta(seconds=1)


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server to kill."""
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


def ready(upload: str) -> Envelope:
    return Envelope(event=UploadReady(upload_id=upload), event_id=new_event_id())


def bus_on(server: NatsServer) -> NatsBus:
    return NatsBus(server.servers, SystemClock(), ack_wait=SECOND, look_every=SECOND / 10, publish_timeout=60 * SECOND)


async def looked_at_twice(bus: NatsBus) -> None:
    """Wait until the bus has looked at its stream since now."""
    done = bus._watch.looks + 2
    await eventually(lambda: bus._watch.looks >= done)


async def test_a_server_that_is_killed_twice_in_mid_flow_loses_nothing(own_server: NatsServer) -> None:
    done: set[str] = set()

    async with bus_on(own_server) as bus:

        async def receive(envelope: object) -> None:
            upload = envelope.event.upload_id  # type: ignore[attr-defined]
            await bus.publish(finished(upload, "virusscan"))

        async def answer(envelope: object) -> None:
            done.add(envelope.event.upload_id)  # type: ignore[attr-defined]

        async def upload(first: int) -> None:
            for number in range(first, first + 600, 3):
                await bus.publish(*(received(f"u{n}") for n in range(number, number + 3)))

        async with (
            bus.subscribe("coordinator", [BytesReceived], receive, workers=5),
            bus.subscribe("steps", [PostprocessingStepFinished], answer, workers=5),
        ):
            uploading = asyncio.create_task(upload(0))
            for share in (100, 300):
                await eventually(lambda share=share: len(done) >= share)  # type: ignore[misc]
                own_server.kill()
                await asyncio.to_thread(own_server.start_again)
            await asyncio.wait_for(uploading, 120)
            await eventually(lambda: len(done) == 600)
            await eventually(lambda: bus.pending("coordinator") == bus.pending("steps") == 0)


async def test_a_stream_that_is_deleted_is_made_again(new_bus: NewBus, manager: JetStreamManager) -> None:
    listener = Listener()
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=2):
        await bus.publish(*(received(f"u{number}") for number in range(5)))
        await eventually(lambda: len(listener.uploads) == 5)
        await manager.delete_stream("main-queue")
        await bus.publish(received("after"))  # no stream takes it, so it is made
        await eventually(lambda: listener.uploads[5:] == ["after"])
        await eventually(lambda: bus.pending("g") == 0)


async def test_a_stream_that_is_deleted_while_events_are_in_work(new_bus: NewBus, manager: JetStreamManager) -> None:
    listener = Listener()
    listener.gate.clear()
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=2):
        await bus.publish(*(received(f"u{number}") for number in range(5)))
        await eventually(lambda: listener.running == 2)
        with capture_logs() as logs:
            await manager.delete_stream("main-queue")
            await eventually(lambda: any(line["event"] == "consumer_bound" for line in logs))
        await bus.publish(received("after 1"), received("after 2"))  # have the numbers of the ones in work
        listener.gate.set()
        await eventually(lambda: {"after 1", "after 2"} <= set(listener.uploads))
        await eventually(lambda: bus.pending("g") == 0)


async def test_a_stream_in_the_place_of_another_is_not_taken_for_its_past(
    new_bus: NewBus, manager: JetStreamManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another instance may have made stream and consumer anew, and we read from it before we notice."""
    monkeypatch.setattr(consumers, "_SKEW_SECONDS", 0.0)
    listener = Listener()
    async with new_bus() as bus:
        for _ in range(3):
            await bus.publish(received("old"), ready("old"))
        async with bus.subscribe("g", [BytesReceived], listener, workers=1):
            await eventually(lambda: bus.pending("g") == 0)
            reader = bus._readers["g"]

            async def notice_nothing(consumer: consumers.Consumer) -> None:
                del consumer

            monkeypatch.setattr(reader, "_check", notice_nothing)
            await manager.delete_stream("main-queue")
            await make_events_stream(manager)
            await manager.add_consumer("main-queue", durable_name="g-pull", ack_policy=AckPolicy.EXPLICIT)
            assert isinstance(reader._feed, PullFeed)
            reader._feed._forget()  # as it does a while after its question was lost
            await bus.publish(received("new"))
            await eventually(lambda: listener.uploads == ["new"])


async def test_a_server_that_has_lost_everything(own_server: NatsServer) -> None:
    listener = Listener()
    async with bus_on(own_server) as bus, bus.subscribe("g", [BytesReceived], listener, workers=2):
        known = bus.memory.begins_at
        await bus.publish(received("before"))
        await eventually(lambda: listener.uploads == ["before"])
        own_server.kill()
        own_server.lose_everything()
        await asyncio.to_thread(own_server.start_again)
        await bus.publish(received("after"))
        await eventually(lambda: listener.uploads == ["before", "after"], timeout_seconds=60)
        async with asyncio.timeout(60):
            await bus.memory.moved_from(known)


async def test_a_consumer_that_is_deleted_is_made_again_and_misses_nothing(
    new_bus: NewBus, manager: JetStreamManager
) -> None:
    listener = Listener()
    listener.gate.clear()
    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
        await bus.publish(*(received(f"u{number}") for number in range(4)))
        await eventually(lambda: listener.running == 1)
        await manager.delete_consumer("main-queue", "g-pull")
        await bus.publish(received("u4"))
        listener.gate.set()
        await eventually(lambda: {f"u{number}" for number in range(5)} <= set(listener.uploads))


async def test_what_is_in_work_while_its_consumer_is_made_again_comes_again_if_it_fails(
    new_bus: NewBus, manager: JetStreamManager
) -> None:
    """The new consumer brings it while its handler still runs, and nobody waits for an answer to the first delivery."""
    tries: list[str] = []
    come_again = asyncio.Event()

    async def handle(envelope: Envelope) -> None:
        tries.append(envelope.event.upload_id)
        if len(tries) == 1:
            await come_again.wait()
            raise ConnectionError("the store went with the server")

    async with new_bus() as bus, bus.subscribe("g", [BytesReceived], handle, workers=2):
        await bus.publish(received("u"))
        await eventually(lambda: tries == ["u"])
        with capture_logs() as logs:
            await manager.delete_consumer("main-queue", "g-pull")
            await eventually(lambda: any(line["event"] == "consumer_bound" for line in logs))
        ledger = bus._readers["g"]._ledger
        await eventually(lambda: len(ledger) + ledger.settled == 1)
        come_again.set()
        await eventually(lambda: tries == ["u", "u"])
        await eventually(lambda: bus.pending("g") == 0)


async def test_a_server_that_freezes_for_a_while(own_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.jetstream.connection._PING_SECONDS", 0.2)
    listener = Listener()
    async with bus_on(own_server) as bus, bus.subscribe("g", [BytesReceived], listener, workers=2):
        await bus.publish(received("before"))
        await eventually(lambda: listener.uploads == ["before"])
        own_server.freeze()
        publishing = asyncio.create_task(bus.publish(received("meanwhile")))
        await eventually(lambda: not bus._client.is_connected)
        own_server.thaw()
        await publishing
        # The first one comes again if its acknowledgement was not on its way yet.
        await eventually(lambda: set(listener.uploads) == {"before", "meanwhile"})


async def test_leaving_while_the_server_is_away_does_not_hang(own_server: NatsServer) -> None:
    listener = Listener()
    listener.gate.clear()
    async with bus_on(own_server) as bus, bus.subscribe("g", [BytesReceived], listener, workers=2):
        await bus.publish(*(received(f"u{number}") for number in range(5)))
        await eventually(lambda: listener.running == 2)
        own_server.kill()
        await eventually(lambda: not bus._client.is_connected)
    assert listener.cancelled == 2


async def test_a_stream_that_is_made_with_the_first_start_remembers_nothing_from_before(new_bus: NewBus) -> None:
    before = SystemClock().now()
    async with new_bus() as bus, new_bus() as later:
        assert bus.memory.begins_at is not None
        assert before <= bus.memory.begins_at <= SystemClock().now()
        assert later.memory.begins_at is not None
        assert before <= later.memory.begins_at <= SystemClock().now() + 10 * SECOND


@pytest.mark.parametrize("how", ["deleted", "emptied", "made anew by somebody else"])
async def test_a_stream_that_loses_what_was_on_its_way_says_so(
    new_bus: NewBus, manager: JetStreamManager, how: str
) -> None:
    async with new_bus() as bus:
        await bus.publish(*(received(f"u{number}") for number in range(5)))
        known = bus.memory.begins_at
        await looked_at_twice(bus)
        assert bus.memory.begins_at == known
        if how == "emptied":
            await manager.purge_stream("main-queue")
        else:
            await manager.delete_stream("main-queue")
        if how == "made anew by somebody else":
            await make_events_stream(manager)
        async with asyncio.timeout(60):
            await bus.memory.moved_from(known)
        now = bus.memory.begins_at
        await bus.publish(received("after"))
        await looked_at_twice(bus)
        assert bus.memory.begins_at == now


async def test_what_an_emptied_stream_has_lost_can_be_said_again_at_once(
    new_bus: NewBus, manager: JetStreamManager
) -> None:
    """The server goes on to know the IDs of what it was told to forget, for two minutes."""
    async with new_bus() as bus, new_bus() as other:
        lost = [received(f"u{number}") for number in range(3)]
        await bus.publish(*lost)
        known = bus.memory.begins_at
        await manager.purge_stream("main-queue")
        async with asyncio.timeout(60):
            await bus.memory.moved_from(known)
        await looked_at_twice(other)
        for instance in (bus, other, bus):
            await instance.publish(*lost)
        assert (await manager.stream_info("main-queue")).state.messages == len(lost)


async def test_a_server_that_comes_back_with_all_it_had_has_lost_nothing(own_server: NatsServer) -> None:
    listener = Listener()
    async with bus_on(own_server) as bus, bus.subscribe("g", [BytesReceived], listener, workers=2):
        known = bus.memory.begins_at
        await bus.publish(received("before"))
        own_server.kill()
        await asyncio.to_thread(own_server.start_again)
        await bus.publish(received("after"))
        # Two workers, so in any order; and the first one again, if its acknowledgement has died with the server.
        await eventually(lambda: set(listener.uploads) == {"before", "after"}, timeout_seconds=60)
        assert bus.memory.begins_at == known
