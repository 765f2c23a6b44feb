"""Services that are started before their servers: they say what they wait for, end when told to, and then begin."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from penstock.testing import eventually
from tests.servers.nats import NatsServer, running_nats
from tests.servers.platform import Platform
from tests.servers.single import SingleService

STEP = """
from penstock import Outcome, StepUpload, step


@step("ocr")
def ocr(upload: StepUpload) -> Outcome:
    return Outcome.CONTINUE
"""
COORDINATOR = ("postprocessing", "server")


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    folder = tmp_path / "nats"
    folder.mkdir()
    with running_nats(folder) as server:
        server.kill()
        yield server


def started(folder: Path, server: NatsServer, *arguments: str, **more: str) -> SingleService:
    settings = {"OCIS_EVENTS_ENDPOINT": server.endpoint, "OCIS_PERSISTENT_STORE_NODES": server.endpoint}
    return SingleService(folder, *arguments, **({"POSTPROCESSING_STEPS": "ocr"} | settings | more))


@contextmanager
def connections_only(server: NatsServer) -> Iterator[None]:
    """Run a server without JetStream in the place of one that was killed."""
    configuration = server.folder / "connections-only.conf"
    configuration.write_text(f'listen: "{server.endpoint}"')
    program = str(server.process.args[0])  # type: ignore[index]  # it was started by a list of words
    with subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def readiness(service: SingleService) -> tuple[int, str]:
    try:
        answer = httpx.get(f"{service.url}/readyz", timeout=120, trust_env=False)
    except httpx.HTTPError:
        return 0, ""
    return answer.status_code, answer.text


def stopped_in_seconds(service: SingleService) -> float:
    began = time.monotonic()
    assert service.stop() == 0, service.last_words()
    return time.monotonic() - began


@pytest.mark.parametrize("kind", ["coordinator", "step"])
async def test_it_says_what_it_waits_for_ends_when_told_and_begins_by_itself(
    tmp_path: Path, nats: NatsServer, kind: str
) -> None:
    (tmp_path / "step.py").write_text(STEP)
    arguments = COORDINATOR if kind == "coordinator" else ("step", "run", "step.py")
    service = started(tmp_path, nats, *arguments)
    try:
        await eventually(lambda: readiness(service)[0] == 503, timeout_seconds=60)
        assert stopped_in_seconds(service) < 30  # in the middle of its first attempt
        service.start_again()
        await eventually(lambda: nats.endpoint in readiness(service)[1], timeout_seconds=60)
        await asyncio.to_thread(nats.start_again)
        await eventually(lambda: readiness(service) == (200, "OK\n"), timeout_seconds=60)
        assert stopped_in_seconds(service) < 30
    finally:
        service.process.kill()
        service.process.wait()


async def test_a_server_that_comes_back_without_jetstream_is_not_ready(tmp_path: Path, nats: NatsServer) -> None:
    """The connection is there, and yet no event comes: row 12, where the Go service says that all is well."""
    nats.start_again()
    service = started(tmp_path, nats, *COORDINATOR)
    try:
        await asyncio.to_thread(service.ready)
        nats.kill()
        with connections_only(nats):
            await eventually(lambda: "does not show the stream main-queue" in readiness(service)[1], timeout_seconds=60)
            assert readiness(service)[0] == 503
        await asyncio.to_thread(nats.start_again)
        await asyncio.to_thread(service.ready)
    finally:
        service.process.kill()
        service.process.wait()


async def test_a_store_on_another_nats_server_that_is_away_is_not_ready(
    tmp_path: Path, nats: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Such a store knows by itself what is due, and yet nothing can be saved."""
    nats.start_again()
    with running_nats(tmp_path_factory.mktemp("store")) as other:
        service = started(tmp_path, nats, *COORDINATOR, OCIS_PERSISTENT_STORE_NODES=other.endpoint)
        try:
            await asyncio.to_thread(service.ready)
            other.kill()
            await eventually(lambda: readiness(service)[0] == 503, timeout_seconds=60)
            assert readiness(service)[1].startswith("store: ")
            await asyncio.to_thread(other.start_again)
            await asyncio.to_thread(service.ready)
        finally:
            service.process.kill()
            service.process.wait()


async def test_a_server_that_takes_connections_and_says_nothing(tmp_path: Path, nats: NatsServer) -> None:
    nats.start_again()
    nats.freeze()
    service = started(tmp_path, nats, *COORDINATOR)
    try:
        await eventually(lambda: nats.endpoint in readiness(service)[1], timeout_seconds=60)
        assert stopped_in_seconds(service) < 30  # in the pause behind an attempt, or in the next one
        service.start_again()
        await eventually(lambda: readiness(service)[0] == 503, timeout_seconds=60)
        nats.thaw()
        await asyncio.to_thread(service.ready)
        async with Platform(nats.endpoint) as platform:
            await platform.put(3)
            await platform.settled(60)
            assert not platform.wrong()
        assert stopped_in_seconds(service) < 30
    finally:
        nats.thaw()
        service.process.kill()
        service.process.wait()
