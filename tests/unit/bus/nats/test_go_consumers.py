"""Consumers that Go services have left: used as they are, and left as they were."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy, ReplayPolicy
from nats.js.manager import JetStreamManager
from structlog.testing import capture_logs

from penstock.bus.nats.streams import make_events_stream
from penstock.events.types import (
    BytesReceived,
    Envelope,
    PostprocessingFinished,
    PostprocessingStepFinished,
    UploadReady,
)
from penstock.ids import new_event_id
from penstock.jetstream import connect
from penstock.testing.bus_contract import Listener, finished, received
from penstock.testing.eventually import eventually
from tests.servers.nats import NatsServer
from tests.unit.bus.nats.conftest import NewBus, Patient, gives_signs_of_life

GROUP = "postprocessing"
COORDINATOR = (BytesReceived, PostprocessingStepFinished, UploadReady)


async def go_push_consumer(manager: JetStreamManager) -> ConsumerInfo:
    """What a Go service makes at its start, read back with CONSUMER.INFO."""
    await make_events_stream(manager)
    config = ConsumerConfig(
        durable_name=GROUP,
        deliver_group=GROUP,
        deliver_subject=manager._nc.new_inbox(),
        filter_subject="main-queue",
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=30,
        deliver_policy=DeliverPolicy.NEW,
        replay_policy=ReplayPolicy.INSTANT,
        max_deliver=-1,
        max_ack_pending=1000,
    )
    return await manager.add_consumer("main-queue", config)


async def go_pull_consumer(manager: JetStreamManager) -> ConsumerInfo:
    """What a newer OpenCloud makes."""
    await make_events_stream(manager)
    config = ConsumerConfig(
        durable_name=f"{GROUP}-pull",
        filter_subject="main-queue",
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=60,
        deliver_policy=DeliverPolicy.NEW,
        max_ack_pending=10_000,
    )
    return await manager.add_consumer("main-queue", config)


async def names(manager: JetStreamManager) -> list[str]:
    return sorted(info.name for info in await manager.consumers_info("main-queue"))


async def test_a_push_consumer_is_used_and_stays_what_it_was(
    new_bus: NewBus, manager: JetStreamManager, server: NatsServer
) -> None:
    theirs = await go_push_consumer(manager)
    listener = Listener()
    async with new_bus() as bus:
        await bus.publish(received("while nobody listened"))
        async with bus.subscribe(GROUP, COORDINATOR, listener, workers=2):
            await bus.publish(received("u1"), received("u2"))
            await eventually(lambda: sorted(listener.uploads) == ["u1", "u2", "while nobody listened"])
            await eventually(lambda: bus.pending(GROUP) == 0)
        assert await names(manager) == [GROUP]
        left = await manager.consumer_info("main-queue", GROUP)
        assert (left.config, left.created) == (theirs.config, theirs.created)
        # Rolled back: a Go service joins the delivery group, and gets what comes.
        await bus.publish(received("after"))
    async with connect(server.servers, name="go") as client:
        subscription = await client.jetstream().subscribe("main-queue", queue=GROUP, durable=GROUP, manual_ack=True)
        message = await subscription.next_msg(timeout=60)
        await message.ack_sync()
        assert message.metadata.sequence.stream == 4


async def test_a_go_service_and_ours_share_a_push_consumer(
    new_bus: NewBus, manager: JetStreamManager, server: NatsServer
) -> None:
    await go_push_consumer(manager)
    listener = Listener()
    go: list[object] = []
    async with connect(server.servers, name="go") as client, new_bus() as bus:
        await client.jetstream().subscribe("main-queue", queue=GROUP, durable=GROUP, cb=lambda m: _take(m, go))
        async with bus.subscribe(GROUP, COORDINATOR, listener, workers=2):
            await bus.publish(*(received(f"u{number}") for number in range(200)))
            await eventually(lambda: len(go) + len(listener.uploads) == 200)
            await eventually(lambda: bus.pending(GROUP) == 0)
    assert go, "the server chooses at random"
    assert listener.uploads


async def _take(message: object, into: list[object]) -> None:
    into.append(message)


async def test_what_a_push_consumer_sends_ahead_is_kept_alive_and_goes_back_in_the_end(
    new_bus: NewBus, manager: JetStreamManager, server: NatsServer
) -> None:
    theirs = await go_push_consumer(manager)
    await manager.delete_consumer("main-queue", GROUP)
    clock, ack_wait = Patient(), timedelta(minutes=5)
    theirs.config.ack_wait = ack_wait.total_seconds()
    await manager.add_consumer("main-queue", theirs.config)
    listener, next_one = Listener(), Listener()
    listener.gate.clear()
    async with connect(server.servers, name="test") as client, new_bus(clock=clock) as bus:
        async with bus.subscribe(GROUP, COORDINATOR, listener, workers=1):
            await bus.publish(*(received(f"u{number}") for number in range(50)))
            await eventually(lambda: bus.pending(GROUP) == 50)
            await gives_signs_of_life(client, clock, events=50, ack_wait=ack_wait)
            info = await manager.consumer_info("main-queue", GROUP)
            assert (info.num_ack_pending, info.num_redelivered) == (50, 0)
        async with bus.subscribe(GROUP, COORDINATOR, next_one, workers=5):
            await eventually(lambda: len(set(next_one.uploads)) == 50)


async def test_a_push_consumer_that_is_made_anew_with_another_inbox(new_bus: NewBus, manager: JetStreamManager) -> None:
    await go_push_consumer(manager)
    listener = Listener()
    async with new_bus() as bus, bus.subscribe(GROUP, COORDINATOR, listener, workers=2):
        await bus.publish(received("u1"))
        await eventually(lambda: listener.uploads == ["u1"])
        await manager.delete_consumer("main-queue", GROUP)
        await go_push_consumer(manager)
        await bus.publish(received("u2"))
        await eventually(lambda: listener.uploads == ["u1", "u2"])
        assert await names(manager) == [GROUP]


async def test_a_pull_consumer_is_used_and_stays_what_it_was(new_bus: NewBus, manager: JetStreamManager) -> None:
    theirs = await go_pull_consumer(manager)
    listener = Listener()
    async with new_bus() as bus:
        await bus.publish(received("while nobody listened"))
        async with bus.subscribe(GROUP, COORDINATOR, listener, workers=2):
            await bus.publish(received("u1"))
            await eventually(lambda: listener.uploads == ["while nobody listened", "u1"])
            await eventually(lambda: bus.pending(GROUP) == 0)
        left = await manager.consumer_info("main-queue", f"{GROUP}-pull")
    assert (left.config, left.created) == (theirs.config, theirs.created)


async def test_of_two_consumers_the_one_that_was_left_behind_is_left_alone(
    new_bus: NewBus, manager: JetStreamManager
) -> None:
    """After an upgrade from the older Go service to the newer one, the old consumer is still there."""
    await go_push_consumer(manager)
    listener = Listener()
    async with new_bus() as bus:
        await bus.publish(*(received(f"old {number}") for number in range(5)))
        await go_pull_consumer(manager)
        await bus.publish(received("new"))
        async with bus.subscribe(GROUP, COORDINATOR, listener, workers=2):
            await eventually(lambda: listener.uploads == ["new"])
            await eventually(lambda: bus.pending(GROUP) == 0)


async def test_a_new_consumer_on_an_old_stream_handles_only_what_has_no_end(
    new_bus: NewBus, manager: JetStreamManager
) -> None:
    listener = Listener()
    async with new_bus() as bus:
        await bus.publish(received("waits"))
        for number in range(20):
            await bus.publish(
                received(f"old {number}"), finished(f"old {number}", "virusscan"), decided(f"old {number}")
            )
        await bus.publish(received("answered"), finished("answered", "virusscan"))
        async with bus.subscribe(GROUP, COORDINATOR, listener, workers=1):
            await bus.publish(received("old 3"), received("new"))
            await eventually(lambda: bus.pending(GROUP) == 0 and "new" in listener.uploads)
    assert listener.uploads == ["waits", "answered", "answered", "old 3", "new"]


async def test_the_next_instance_goes_on_in_the_past_where_the_first_one_died(
    new_bus: NewBus, manager: JetStreamManager
) -> None:
    first, second = Listener(), Listener()
    first.gate.clear()
    async with new_bus() as bus:
        await bus.publish(received("waits"), received("old"), decided("old"), received("waits too"))
        async with bus.subscribe(GROUP, COORDINATOR, first, workers=1):
            await eventually(lambda: first.running == 1)
    async with new_bus() as bus, bus.subscribe(GROUP, COORDINATOR, second, workers=1):
        await eventually(lambda: second.uploads == ["waits", "waits too"])
        await eventually(lambda: bus.pending(GROUP) == 0)
    assert (await manager.consumer_info("main-queue", f"{GROUP}-pull")).config.opt_start_seq == 1


async def test_two_instances_that_come_at_the_same_moment_make_one_consumer(
    new_bus: NewBus, manager: JetStreamManager
) -> None:
    listener = Listener()
    async with new_bus() as one, new_bus() as other:
        await one.publish(received("u1"))

        async def listen(bus: object) -> None:
            async with bus.subscribe(GROUP, COORDINATOR, listener, workers=1):  # type: ignore[attr-defined]
                await eventually(lambda: listener.uploads == ["u1"])

        await asyncio.gather(listen(one), listen(other))
    assert await names(manager) == [f"{GROUP}-pull"]


async def test_what_is_older_than_a_week_is_left_alone(new_bus: NewBus) -> None:
    class InAWeek:
        """A clock that is ahead."""

        def __init__(self, real: object) -> None:
            self._real = real

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

        def now(self) -> datetime:
            later: datetime = self._real.now() + timedelta(days=8)  # type: ignore[attr-defined]
            return later

    listener = Listener()
    async with new_bus() as bus:
        await bus.publish(received("forgotten"))
        bus._consumers._clock = InAWeek(bus._clock)  # type: ignore[assignment]
        async with bus.subscribe(GROUP, COORDINATOR, listener, workers=1):
            await bus.publish(received("new"))
            await eventually(lambda: listener.uploads == ["new"])
            await eventually(lambda: bus.pending(GROUP) == 0)


def decided(upload: str) -> Envelope:
    return Envelope(event=PostprocessingFinished(upload_id=upload, outcome="continue"), event_id=new_event_id())


async def test_a_consumer_that_gives_up_on_events_is_told(new_bus: NewBus, manager: JetStreamManager) -> None:
    """Nobody else would: the server says nothing when it delivers an event no more."""
    async with new_bus() as bus:
        await manager.add_consumer(
            "main-queue", durable_name=f"{GROUP}-pull", ack_policy=AckPolicy.EXPLICIT, max_deliver=5
        )
        with capture_logs() as logs:
            await bus._reader_of(GROUP).bind()
    told = [line for line in logs if line["event"] == "consumer_drops_events"]
    assert [(line["consumer"], line["max_deliver"]) for line in told] == [(f"{GROUP}-pull", 5)]
