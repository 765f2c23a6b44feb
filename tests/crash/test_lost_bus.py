"""NATS loses its disk while uploads are on their way: what each of them awaits is said again, and every one ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.testing import eventually
from tests.servers.nats import NatsServer, running_nats
from tests.servers.platform import Platform
from tests.servers.single import running_services

UPLOADS = 120
SERVICE = ("postprocessing", "server")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[NatsServer, NatsServer]]:
    """One server that carries the events, and one that keeps the records."""
    folders = [tmp_path / "bus", tmp_path / "store"]
    for folder in folders:
        folder.mkdir()
    with running_nats(folders[0]) as bus, running_nats(folders[1]) as store:
        yield bus, store


def settings_for(bus: NatsServer, store: NatsServer) -> dict[str, str]:
    return {
        "OCIS_EVENTS_ENDPOINT": bus.endpoint,
        "OCIS_PERSISTENT_STORE_NODES": store.endpoint,
        "POSTPROCESSING_STEPS": "virusscan,ocr",
        "OCIS_LOG_LEVEL": "warning",
    }


@pytest.mark.timeout(400)
@pytest.mark.parametrize("run", [True, False], ids=["that run", "that are down"])
async def test_the_stream_is_lost_under_instances(
    servers: tuple[NatsServer, NatsServer], tmp_path: Path, *, run: bool
) -> None:
    bus, store = servers
    with running_services(tmp_path, 2, *SERVICE, **settings_for(bus, store)) as instances:
        async with Platform(bus.endpoint) as platform:
            platform.listens = False
            await platform.put(UPLOADS)

            async def all_steps_are_asked() -> bool:
                return await platform.said() == 2 * UPLOADS

            await eventually(all_steps_are_asked, timeout_seconds=60)
            if not run:
                for instance in instances:
                    instance.kill()
            bus.kill()
            bus.lose_everything()
            await asyncio.to_thread(bus.start_again)
            if not run:
                for instance in instances:
                    instance.start_again()
            platform.listens = True
            await platform.settled(180)
            assert not platform.wrong()
            assert all(len(upload.starts["virusscan"]) == 1 for upload in platform.uploads.values())
