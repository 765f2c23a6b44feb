"""A process with a bus, which dies of one event; run by `test_trials`."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from penstock.bus.nats import NatsBus, Tolerance
from penstock.clock import SystemClock
from penstock.events.types import BytesReceived
from penstock.jetstream import NatsServers

if TYPE_CHECKING:
    from penstock.events.types import Envelope


async def handle(envelope: Envelope) -> None:
    """Die of "poison"; take long for the others, so that they are in work when that happens."""
    upload: str = envelope.event.upload_id
    if upload == "poison":
        os._exit(9)
    await asyncio.sleep(0.3)
    with open(sys.argv[2], "a", encoding="utf-8") as done:  # noqa: ASYNC230  # a line
        done.write(f"{upload}\n")


async def main(endpoint: str) -> None:
    """Work until killed."""
    bus = NatsBus(
        NatsServers((endpoint,)),
        SystemClock(),
        ack_wait=timedelta(seconds=1),
        look_every=timedelta(milliseconds=100),
        tolerance=Tolerance(suspect_after=2, max_deaths=2),
    )
    async with bus, bus.subscribe("g", [BytesReceived], handle, workers=4):
        await asyncio.Event().wait()


asyncio.run(main(sys.argv[1]))
