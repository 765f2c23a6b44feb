"""`penstock antivirus server` as a process, with real NATS and real clamd: ready, frugal, and gone when told."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from penstock.antivirus.eicar import eicar
from penstock.testing import eventually
from tests.servers.clamd import Clamd
from tests.servers.copies import installed
from tests.servers.nats import NatsServer
from tests.servers.process import halt
from tests.servers.single import SingleService, running_services
from tests.servers.storage import Storage
from tests.wire.scanning import Platform, start

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024
SIZE_BYTES = 96 * MIB
COMMAND = ("antivirus", "server")


@pytest.fixture
def environment(nats: NatsServer, clamd: Clamd, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "tmp").mkdir()
    return {
        "OCIS_EVENTS_ENDPOINT": nats.endpoint,
        "ANTIVIRUS_CLAMAV_SOCKET": clamd.unix_address,
        "PENSTOCK_ANTIVIRUS_CLAMAV_MAX_FILE_SIZE": "1MiB",
        "TMPDIR": str(tmp_path / "tmp"),
    }


def status(service: SingleService, path: str) -> tuple[int, str]:
    answer = httpx.get(f"{service.url}{path}", timeout=120, trust_env=False)
    return answer.status_code, answer.text


async def test_it_is_ready_while_the_scanner_finds_eicar_and_ends_when_told(
    platform: Platform, clamd: Clamd, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    clamd.stop()
    service = SingleService(tmp_path, *COMMAND, **environment)
    try:

        async def listens() -> bool:
            return "antivirus-pull" in await platform.consumers()

        await eventually(listens, timeout_seconds=60)
        code, text = status(service, "/readyz")
        assert (code, "no connection to clamd" in text) == (503, True)
        assert status(service, "/healthz")[0] == 200
        held = await platform.scan(storage.put("/a", b"harmless"), 8)
        assert (held["Outcome"], "no connection to clamd" in held["Result"]["ErrorMsg"]) == ("retry", True)
        clamd.start_again()
        service.ready()
        assert (await platform.scan(storage.url("/a"), 8))["Outcome"] == "continue"
        assert (await platform.scan(storage.put("/b", eicar()), 68))["Outcome"] == "delete"
        assert 'penstock_queue_depth{group="antivirus"}' in status(service, "/metrics")[1]
        assert service.stop() == 0
    finally:
        service.kill()


async def test_bytes_pass_through_without_a_file_and_in_constant_memory(
    platform: Platform, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    url = storage.put("/big", bytes(SIZE_BYTES - 68) + eicar())
    limits = {f"PENSTOCK_ANTIVIRUS_CLAMAV_{name}": str(SIZE_BYTES) for name in ("MAX_FILE_SIZE", "STREAM_MAX_LENGTH")}
    with installed(), running_services(tmp_path, 1, *COMMAND, **environment | limits) as [service]:
        await platform.scan(storage.put("/small", b"harmless"), 8)
        process = psutil.Process(service.process.pid)
        idle = process.memory_info().rss
        upload = "big"
        await platform.say(start(url, SIZE_BYTES, upload))
        most = 0

        def done() -> bool:
            nonlocal most
            most = max(most, process.memory_info().rss)
            assert not list((tmp_path / "tmp").iterdir())
            return bool(platform.answers and platform.answers[-1]["UploadID"] == upload)

        await eventually(done, timeout_seconds=240)
    assert platform.answers[-1]["Outcome"] == "delete"
    assert most - idle < 32 * MIB


async def test_a_scan_that_was_killed_is_done_by_another_instance(
    platform: Platform, clamd: Clamd, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    await platform.make_go_consumer(ack_wait=1)
    names = [str(number) for number in range(6)]
    with running_services(tmp_path, 2, *COMMAND, **environment) as services:
        halt(clamd.pid)
        for name in names:
            await platform.say(start(storage.put(f"/{name}", eicar()), 68, name))
        await eventually(lambda: len(storage.requests) >= len(names))
        assert not platform.answers
        services[0].kill()
        clamd.process.send_signal(signal.SIGCONT)
        answers = [await platform.answer_to(name) for name in names]
        services[0].start_again()  # for the end of the context
    assert {answer["Outcome"] for answer in answers} == {"delete"}


async def test_what_cannot_work_ends_with_status_2_and_a_sentence(environment: dict[str, str], tmp_path: Path) -> None:
    wrong = {"ANTIVIRUS_INFECTED_FILE_HANDLING": "ignore"}
    service = SingleService(tmp_path, *COMMAND, **environment | wrong)
    assert service.process.wait(120) == 2
    assert "ANTIVIRUS_INFECTED_FILE_HANDLING=ignore" in service.last_words()
