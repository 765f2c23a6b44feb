"""NATS loses its disk while uploads are on their way: what each of them awaits is said again, and every one ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.testing import eventually
from tests.servers.nats import NatsServer, running_nats
from tests.servers.platform import Platform
from tests.servers.single import SingleService, running_services

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


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["that run", "that are down"])
async def test_the_stream_is_lost_under_instances(
    servers: tuple[NatsServer, NatsServer], tmp_path: Path, kind: str
) -> None:
    bus, store = servers
    with running_services(tmp_path, 2, *SERVICE, **settings_for(bus, store)) as instances:
        async with Platform(bus.endpoint) as platform:
            # The first answer of each upload is held back until nobody hears it, so that all of them get lost.
            platform.holds_answers = True
            await platform.put(UPLOADS)
            await eventually(
                lambda: all(upload.starts["virusscan"] for upload in platform.uploads.values()), timeout_seconds=30
            )
            deafen(instances, kill=kind == "that are down")
            platform.release_answers()
            await eventually(lambda: not platform.sending, timeout_seconds=30)
            bus.kill()
            bus.lose_everything()
            await asyncio.to_thread(bus.start_again)
            hear_again(instances, killed=kind == "that are down")
            await platform.settled(60)
            seen = {
                upload.id: {(event_id, outcome) for _, event_id, outcome in upload.finished}
                for upload in platform.uploads.values()
            }
            wrong = {upload: ends for upload, ends in seen.items() if [one[1] for one in ends] != ["continue"]}
            assert not wrong, f"{len(wrong)} of {UPLOADS}"
            assert all(len(upload.starts["virusscan"]) == 1 for upload in platform.uploads.values())


def deafen(instances: list[SingleService], *, kill: bool) -> None:
    for instance in instances:
        if kill:
            instance.kill()
        else:
            os.kill(instance.process.pid, signal.SIGSTOP)


def hear_again(instances: list[SingleService], *, killed: bool) -> None:
    for instance in instances:
        if killed:
            instance.start_again()
        else:
            os.kill(instance.process.pid, signal.SIGCONT)
