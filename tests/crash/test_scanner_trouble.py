"""Scanners that hang, die and come back, next to a coordinator of its own over NATS: every upload ends as documented.

All services are processes; the storage around them is played. `PENSTOCK_TROUBLED_SCANS` and `PENSTOCK_HELD_SCANS` say
how many files there are, for larger numbers than the suite has time for.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from penstock.antivirus.eicar import eicar
from penstock.jetstream import connect
from penstock.testing import eventually
from tests.servers.clamd import Clamd, running_clamd
from tests.servers.hanging_clamd import ALWAYS, ONCE, running_hanging_clamd
from tests.servers.nats import NatsServer, running_nats
from tests.servers.platform import Platform, Upload
from tests.servers.process import halt
from tests.servers.single import SingleService, running_services
from tests.servers.storage import Storage, running_storage
from tests.wire.scanning import Platform as Scans
from tests.wire.scanning import start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from nats.aio.msg import Msg

TROUBLED = int(os.environ.get("PENSTOCK_TROUBLED_SCANS", "200"))
HELD = int(os.environ.get("PENSTOCK_HELD_SCANS", "60"))
PLACES = 10
SCANNER, COORDINATOR = ("antivirus", "server"), ("postprocessing", "server")
NO_PAUSE_ENDS = {"POSTPROCESSING_RETRY_BACKOFF_DURATION": "1h"}
"""So long that nobody goes on because a pause is over."""


def both(nats: NatsServer, clamd: str) -> dict[str, str]:
    """Return the settings of a coordinator and a scanner."""
    return {
        "OCIS_EVENTS_ENDPOINT": nats.endpoint,
        "POSTPROCESSING_STEPS": "virusscan",
        "POSTPROCESSING_STORE": "nats-js-kv",
        "POSTPROCESSING_STORE_NODES": nats.endpoint,
        "ANTIVIRUS_CLAMAV_SOCKET": clamd,
        "PENSTOCK_ANTIVIRUS_CLAMAV_MAX_FILE_SIZE": "1KiB",
        "PENSTOCK_ANTIVIRUS_BREAKER_PAUSE": "1s",
    }


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    (tmp_path / "nats").mkdir()
    with running_nats(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def storage() -> Iterator[Storage]:
    with running_storage() as running:
        yield running


class Files(Platform):
    """Puts files with contents, and leaves the scans to others."""

    def __init__(self, endpoint: str, storage: Storage, contents: list[bytes]) -> None:
        super().__init__(endpoint)
        self._storage = storage
        self._contents = iter(contents)

    def _say(self, kind: str, payload: dict[str, Any], *, initiator: str = "") -> None:
        if kind == "BytesReceived":
            content = next(self._contents)
            url = self._storage.put(f"/{payload['UploadID']}", content)
            payload = payload | {"URL": url, "Filesize": len(content)}
        super()._say(kind, payload, initiator=initiator)

    def has_done(self, count: float) -> bool:
        """Tell whether so many uploads have a decision."""
        return self.done >= count

    def _answer(self, upload: Upload, step: str, event_id: str) -> None:
        """Say nothing: the scanner does."""


def content_of(number: int) -> tuple[bytes, str]:
    """Return a file of which 5 % hang, and what is to become of it."""
    match number % 100:
        case 20 | 40 | 60 | 80:
            return ONCE + b" %d" % number, "continue"
        case 50 if number % 200 == 50:
            return ALWAYS + b" %d" % number, "abort"
        case 30 | 70:
            return eicar() + b" %d" % number, "delete"
        case _:
            return b"harmless %d" % number, "continue"


@pytest.mark.timeout(600)
async def test_all_files_end_with_a_scanner_that_hangs_now_and_then_and_dies_twice(
    nats: NatsServer, storage: Storage, tmp_path: Path
) -> None:
    files = [content_of(number) for number in range(TROUBLED)]
    with running_hanging_clamd(PLACES) as clamd:
        environment = {
            **both(nats, clamd.address),
            "POSTPROCESSING_RETRY_BACKOFF_DURATION": "200ms",
            "POSTPROCESSING_MAX_RETRIES": "6",
            "ANTIVIRUS_WORKERS": str(PLACES),
            "ANTIVIRUS_CLAMAV_SCAN_TIMEOUT": "1s",
        }
        (tmp_path / "coordinator").mkdir()
        with (
            running_services(tmp_path / "coordinator", 1, *COORDINATOR, **environment),
            running_services(tmp_path, 1, *SCANNER, **environment),
        ):
            async with Files(nats.endpoint, storage, [content for content, _ in files]) as platform:
                await platform.put(TROUBLED, plan=lambda number: ({}, files[number][1]))
                most = 0
                for share in (1 / 3, 2 / 3):
                    await eventually(partial(platform.has_done, share * TROUBLED), timeout_seconds=120)
                    most = max(most, clamd.most_at_once())
                    clamd.kill()
                    await asyncio.sleep(0.5)  # it is away for a moment
                    clamd.start_again()
                await platform.settled(120 + TROUBLED / 10)
                assert not platform.wrong()
                assert platform.seen["PostprocessingRetry"] >= TROUBLED * 4 // 100
                most = max(most, clamd.most_at_once())
    assert most <= PLACES + 1  # and a self-test


@pytest.mark.timeout(600)
async def test_all_are_held_while_clamd_is_away_and_go_on_without_a_command(
    nats: NatsServer, storage: Storage, tmp_path: Path
) -> None:
    files = [eicar() if number == 7 else b"harmless %d" % number for number in range(HELD)]
    (tmp_path / "clamd").mkdir()
    with running_clamd(tmp_path / "clamd") as clamd:
        environment = both(nats, clamd.unix_address) | NO_PAUSE_ENDS
        (tmp_path / "coordinator").mkdir()
        with (
            running_services(tmp_path / "coordinator", 1, *COORDINATOR, **environment),
            running_services(tmp_path, 2, *SCANNER, **environment),
        ):
            async with Files(nats.endpoint, storage, files) as platform:
                clamd.stop()
                await platform.put(HELD, plan=lambda number: ({}, "delete" if number == 7 else "continue"))
                await eventually(lambda: platform.seen["PostprocessingRetry"] == HELD, timeout_seconds=120)
                assert platform.done == 0
                clamd.start_again()
                await platform.settled(120)
                assert not platform.wrong()
                # Each was asked for once, whichever instance saw clamd first; again only if clamd, which has just
                # started, was too busy for it.
                assert HELD <= platform.seen["ResumePostprocessing"] <= HELD * 11 // 10
                assert 2 * HELD <= platform.seen["StartPostprocessingStep"] <= HELD * 21 // 10


@pytest.mark.timeout(600)
async def test_what_an_instance_held_that_was_killed_goes_on_as_well(
    nats: NatsServer, storage: Storage, tmp_path: Path
) -> None:
    held = 20
    (tmp_path / "clamd").mkdir()
    with running_clamd(tmp_path / "clamd") as clamd:
        environment = both(nats, clamd.unix_address) | NO_PAUSE_ENDS
        (tmp_path / "coordinator").mkdir()
        with (
            running_services(tmp_path / "coordinator", 1, *COORDINATOR, **environment),
            running_services(tmp_path, 1, *SCANNER, **environment) as [scanner],
        ):
            async with Files(nats.endpoint, storage, [b"harmless %d" % number for number in range(held)]) as platform:
                clamd.stop()
                await platform.put(held)
                await eventually(lambda: platform.seen["PostprocessingRetry"] == held, timeout_seconds=120)
                scanner.kill()
                clamd.start_again()
                scanner.start_again()
                await platform.settled(120)
                assert not platform.wrong()
                assert platform.seen["ResumePostprocessing"] == held


@pytest.fixture
def clamds(tmp_path: Path) -> Iterator[list[Clamd]]:
    for name in ("clamd-0", "clamd-1"):
        (tmp_path / name).mkdir()
    with running_clamd(tmp_path / "clamd-0") as one, running_clamd(tmp_path / "clamd-1") as other:
        yield [one, other]


@asynccontextmanager
async def given_back(nats: NatsServer) -> AsyncIterator[list[bytes]]:
    """Hear what instances tell the server to hand to somebody else."""
    given: list[bytes] = []

    async def hear(message: Msg) -> None:
        if message.data.startswith(b"-NAK"):
            given.append(message.data)

    async with connect(nats.servers, name="test") as client:
        await client.subscribe("$JS.ACK.>", cb=hear)
        await client.flush()
        yield given


@pytest.mark.parametrize("by_go", [False, True], ids=["own-consumer", "consumer-of-go"])
async def test_an_instance_that_is_told_to_end_gives_its_scans_back_at_once(
    by_go: bool, nats: NatsServer, storage: Storage, clamds: list[Clamd], tmp_path: Path
) -> None:
    names = [str(number) for number in range(20)]
    async with Scans(nats.endpoint) as platform:
        if by_go:
            await platform.make_go_consumer(ack_wait=600)
        services = [
            SingleService(
                tmp_path,
                *SCANNER,
                name=f"service-{number}",
                OCIS_EVENTS_ENDPOINT=nats.endpoint,
                ANTIVIRUS_WORKERS="2",
                ANTIVIRUS_CLAMAV_SOCKET=clamd.unix_address,
                PENSTOCK_ANTIVIRUS_CLAMAV_MAX_FILE_SIZE="1KiB",
            )
            for number, clamd in enumerate(clamds)
        ]
        try:
            for service in services:
                service.ready()
            hanging, working = services
            halt(clamds[0].pid)
            for name in names:
                await platform.say(start(storage.put(f"/{name}", eicar()), 68, name))
            if not by_go:  # from the consumer of a Go service, NATS sends an instance what it likes
                await eventually(lambda: len(platform.answers) >= len(names) - 2)
            await eventually(lambda: len(storage.requests) >= len(platform.answers) + 2)
            assert len(platform.answers) < len(names)
            async with given_back(nats) as given:
                assert await asyncio.to_thread(hanging.stop) == 0
                await eventually(lambda: len(platform.answers) >= len(names))
            assert len(given) >= 2, "they came again because NATS missed the instance, and not because it said so"
            assert sorted(answer["UploadID"] for answer in platform.answers) == sorted(names)
            assert {answer["Outcome"] for answer in platform.answers} == {"delete"}
            assert working.stop() == 0
        finally:
            clamds[0].process.send_signal(signal.SIGCONT)
            for service in services:
                service.kill()
