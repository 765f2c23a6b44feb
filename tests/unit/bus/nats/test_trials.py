"""An event of which every process dies is set aside in the end, and only that one."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from nats.js.manager import JetStreamManager

from penstock.bus.base import BusUnavailable
from penstock.bus.nats import NatsBus, Tolerance
from penstock.events.types import BytesReceived, Envelope
from penstock.testing.bus_contract import Listener, received
from penstock.testing.eventually import eventually
from tests.servers.nats import NatsServer
from tests.unit.bus.nats.conftest import NewBus

PROGRAM = Path(__file__).parent / "dies_of_it.py"


async def test_an_event_that_ends_the_process_is_set_aside(server: NatsServer, new_bus: NewBus, tmp_path: Path) -> None:
    (tmp_path / "done").touch()
    async with new_bus(ack_wait=timedelta(seconds=1)) as bus:
        await bus.publish(received("u1"), received("poison", event_id="e1"), received("u2"))
        deaths = await processes_until_set_aside(server, bus, tmp_path / "done")
        (event,) = await bus.set_aside.events()
        assert (event.event_id, event.reason) == ("e1", "2 processes died, or hung, while they handled it")
        # Twice before anybody was suspicious, then under a mark; a delivery that nobody lived to see may add one.
        assert 4 <= deaths <= 6
        listener = Listener()
        async with bus.subscribe("g", [BytesReceived], listener, workers=4):
            done = {*(tmp_path / "done").read_text().split()}
            await eventually(lambda: done | {*listener.uploads} == {"u1", "u2"}, timeout_seconds=60)
            await eventually(lambda: bus.pending("g") == 0, timeout_seconds=60)


async def processes_until_set_aside(server: NatsServer, bus: NatsBus, done: Path) -> int:
    """Run one process after the other until one has set something aside; return how many died before."""
    deaths = 0
    async with asyncio.timeout(250):
        while True:
            process = await asyncio.create_subprocess_exec(sys.executable, str(PROGRAM), server.endpoint, str(done))
            ended = asyncio.create_task(process.wait())
            while not ended.done():
                await asyncio.wait([ended], timeout=0.1)
                if await bus.set_aside.count():
                    if not ended.done():
                        process.terminate()
                    await ended
                    return deaths
            assert ended.result() == 9
            deaths += 1


async def test_what_comes_often_because_a_store_is_away_is_not_set_aside(
    new_bus: NewBus, manager: JetStreamManager
) -> None:
    away, handled = True, list[str]()

    async def handle(envelope: Envelope) -> None:
        if away:
            raise BusUnavailable("the store is away")
        handled.append(envelope.event.upload_id)

    tolerance = Tolerance(suspect_after=1, max_deaths=1)
    for _ in range(3):  # every process that dies of something else forgets what it has seen
        async with new_bus(tolerance=tolerance) as bus, bus.subscribe("g", [BytesReceived], handle, workers=4):
            if not bus.failures("g") and not handled:
                await bus.publish(*(received(f"u{number}", event_id=f"e{number}") for number in range(3)))
            await eventually(lambda bus=bus: bus.failures("g") >= 9, timeout_seconds=60)  # type: ignore[misc]
    away = False
    async with new_bus(tolerance=tolerance) as bus, bus.subscribe("g", [BytesReceived], handle, workers=4):
        await eventually(lambda: sorted(handled) == ["u0", "u1", "u2"], timeout_seconds=60)
        assert await bus.set_aside.count() == 0
        await eventually(lambda: no_marks(manager))


async def test_what_has_come_often_and_killed_nobody_is_handled_side_by_side(new_bus: NewBus) -> None:
    """After a store was away for long there may be thousands of these."""
    listener = Listener()
    listener.gate.clear()
    async with (
        new_bus(tolerance=Tolerance(suspect_after=0)) as bus,
        bus.subscribe("g", [BytesReceived], listener, workers=4),
    ):
        await bus.publish(*(received(f"u{number}") for number in range(3)))
        await eventually(lambda: listener.running == 3)
        assert await marks(bus._manager) == 3
        listener.gate.set()
        await eventually(lambda: bus.pending("g") == 0)
        await eventually(lambda: no_marks(bus._manager))


async def test_what_may_be_at_fault_is_handled_one_after_the_other(new_bus: NewBus) -> None:
    listener = Listener()
    listener.gate.clear()
    async with (
        new_bus(tolerance=Tolerance(suspect_after=0), ack_wait=timedelta(seconds=2)) as bus,
        bus.subscribe("g", [BytesReceived], listener, workers=4),
    ):
        consumer = bus._readers["g"]._consumer
        assert consumer is not None
        for sequence in (1, 2, 3):  # as a process leaves them that dies with all three
            await bus._trials.of(consumer, sequence).begin()
        await bus.publish(*(received(f"u{number}") for number in range(3)))
        await eventually(lambda: listener.running == 1)
        assert await marks(bus._manager) == 4
        listener.gate.set()
        await eventually(lambda: len(listener.uploads) == 3, timeout_seconds=60)
        assert listener.most_running == 1
        await eventually(lambda: bus.pending("g") == 0)


async def test_leaving_in_the_middle_of_it_is_no_death(new_bus: NewBus, manager: JetStreamManager) -> None:
    listener = Listener()
    listener.gate.clear()
    tolerance = Tolerance(suspect_after=0, max_deaths=1)
    async with new_bus(tolerance=tolerance) as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
        await bus.publish(received("u1"))
        await eventually(lambda: listener.running == 1)
    assert listener.cancelled == 1
    await eventually(lambda: no_marks(manager))
    listener.gate.set()
    async with new_bus(tolerance=tolerance) as bus, bus.subscribe("g", [BytesReceived], listener, workers=1):
        await eventually(lambda: listener.uploads == ["u1"], timeout_seconds=60)
        assert await bus.set_aside.count() == 0


async def marks(manager: JetStreamManager) -> int:
    info = await manager.stream_info("penstock-set-aside", subjects_filter="penstock.set-aside.trial.>")
    return sum((info.state.subjects or {}).values())


async def no_marks(manager: JetStreamManager) -> bool:
    return await marks(manager) == 0
