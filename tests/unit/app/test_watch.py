from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from penstock.app.watch import BusWatch
from penstock.bus.local import LocalBus
from penstock.bus.nats import NatsBus, Tolerance
from penstock.clock import SystemClock
from penstock.events.types import BytesReceived, Envelope
from penstock.ids import new_event_id
from penstock.telemetry import Metrics
from penstock.testing import eventually
from tests.servers.nats import running_nats

GROUP = {"group": "g"}


async def test_what_fails_is_counted_once_however_often_it_is_looked_at(tmp_path: Path) -> None:
    with running_nats(tmp_path) as server:
        metrics = Metrics()

        async def refuse(envelope: Envelope) -> None:
            raise ValueError(envelope.event_id)

        def counted(name: str) -> Any:
            return metrics.registry.get_sample_value(name, GROUP)

        async with NatsBus(
            server.servers, SystemClock(), tolerance=Tolerance(max_failures=2), look_every=timedelta(seconds=0.1)
        ) as bus:
            watch = BusWatch(bus, metrics)
            async with bus.subscribe("g", [BytesReceived], refuse, workers=1):
                await bus.publish(Envelope(event=BytesReceived(upload_id="u1"), event_id=new_event_id()))
                await eventually(lambda: bus.set_aside_count("g") == 1)
                for _ in range(2):
                    watch.look_up()
                assert counted("penstock_event_failures_total") == 2
                assert counted("penstock_events_set_aside_total") == 1
                assert counted("penstock_queue_depth") is not None
            check, aside = await watch.checks()
            assert check.ok
            assert not aside.ok
            assert not aside.gates
            assert (aside.name, aside.detail) == ("set-aside", "1 events could not be handled and are set aside.")
            assert "penstock postprocessing set-aside list" in aside.hint
            await bus.kept_aside().discard(1)
            assert (await watch.checks())[1].ok
            server.kill()
            await eventually(lambda: bus.trouble() != "")
            [check] = await watch.checks()
            assert not check.ok
            assert check.gates
            assert server.endpoint in check.detail
            server.start_again()
            await eventually(lambda: not bus.trouble(), timeout_seconds=60)
            assert (await watch.checks())[0].ok


async def test_a_bus_in_this_process_is_never_away() -> None:
    metrics = Metrics()
    async with LocalBus(SystemClock()) as bus:
        watch = BusWatch(bus, metrics)
        watch.look_up()
        assert await watch.checks() == []
