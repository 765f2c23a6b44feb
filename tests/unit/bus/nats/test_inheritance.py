"""The place of a Go service on the stream, looked at and made ours."""

from __future__ import annotations

from nats.js.api import StorageType, StreamConfig
from nats.js.manager import JetStreamManager

from penstock.jetstream import connect
from penstock.testing.bus_contract import Listener, received
from penstock.testing.eventually import eventually
from tests.servers.nats import NatsServer
from tests.unit.bus.nats.conftest import NewBus
from tests.unit.bus.nats.test_go_consumers import COORDINATOR, GROUP, go_pull_consumer, go_push_consumer, names


async def test_a_group_goes_on_where_the_pushing_consumer_has_got_to(
    new_bus: NewBus, manager: JetStreamManager
) -> None:
    pushing = await go_push_consumer(manager)
    listener = Listener()
    async with new_bus() as bus:
        async with bus.subscribe(GROUP, COORDINATOR, listener, workers=1):
            await bus.publish(received("handled"))
            await eventually(lambda: listener.uploads == ["handled"])
            (place,) = await bus.inheritance().places(GROUP)
            assert (place.name, place.pushes, place.connected) == (GROUP, True, True)
        await bus.publish(received("not handled"))
        await eventually(lambda: is_left(manager, pushing.name))
        placed = await bus.inheritance().replace(GROUP)
        assert placed is not None
        assert (placed.name, placed.pushes, placed.waiting) == (f"{GROUP}-pull", False, 1)
        assert await names(manager) == [f"{GROUP}-pull"]
        async with bus.subscribe(GROUP, COORDINATOR, listener, workers=1):
            await eventually(lambda: listener.uploads == ["handled", "not handled"])
        assert await bus.inheritance().replace(GROUP) is None


async def is_left(manager: JetStreamManager, name: str) -> bool:
    return not (await manager.consumer_info("main-queue", name)).push_bound


async def test_a_pulled_one_that_is_further_stays(new_bus: NewBus, manager: JetStreamManager) -> None:
    await go_push_consumer(manager)
    async with new_bus() as bus:
        await bus.publish(received("before the upgrade"))
        theirs = await go_pull_consumer(manager)
        await bus.inheritance().replace(GROUP)
        assert await names(manager) == [theirs.name]
        assert (await manager.consumer_info("main-queue", theirs.name)).created == theirs.created


async def test_a_pulled_one_that_was_left_behind_goes(new_bus: NewBus, manager: JetStreamManager) -> None:
    await go_pull_consumer(manager)
    async with new_bus() as bus:
        await bus.publish(received("after the way back"))
        await go_push_consumer(manager)
        await bus.publish(received("u1"))
        await bus.inheritance().replace(GROUP)
        info = await manager.consumer_info("main-queue", f"{GROUP}-pull")
        assert (info.config.opt_start_seq, info.num_pending) == (2, 1)


async def test_one_that_has_acknowledged_nothing_does_not_begin_with_what_was_before_it(
    new_bus: NewBus, manager: JetStreamManager, server: NatsServer
) -> None:
    async with new_bus() as bus:
        await bus.publish(*(received(f"years ago {number}") for number in range(50)))
        pushing = await go_push_consumer(manager)
        await bus.publish(received("u1"), received("u2"), received("u3"))
        async with connect(server.servers, name="go") as client:  # takes two and dies
            subscription = await client.subscribe(pushing.config.deliver_subject or "", queue=GROUP)
            for _ in range(2):
                await subscription.next_msg(timeout=60)
        placed = await bus.inheritance().replace(GROUP)
        assert placed is not None
        assert placed.waiting == 3
        info = await manager.consumer_info("main-queue", f"{GROUP}-pull")
        assert info.config.opt_start_seq == 51


async def test_what_is_unlike_the_usual_stream_is_told(new_bus: NewBus, manager: JetStreamManager) -> None:
    await manager.add_stream(
        StreamConfig(name="main-queue", subjects=["main-queue"], storage=StorageType.MEMORY, max_age=604800)
    )
    async with new_bus() as bus:
        found = await bus.inheritance().stream()
    assert not found.trouble
    assert not found.made
    assert found.differences == (
        "it is in memory, so a restart of NATS loses what is on its way",
        "it keeps max_age=604800 s",
    )
