"""The weaknesses that were seen in the Go service `antivirus`: what must hold instead, for ours, and does not for Go's.

Rows are those of section 11 of the description of the wire protocol. Each test runs on both, over real NATS: ours
passes, the model of the Go service fails, strictly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from penstock.antivirus.eicar import eicar
from penstock.testing import eventually
from tests.servers.clamd import running_clamd
from tests.servers.fake_clamd import CLOSE, GARBAGE, MEMORY, SILENCE, SLOW, SLOW_SECONDS, running_fake_clamd
from tests.servers.nats import NatsServer, running_nats
from tests.servers.storage import Storage, running_storage

from .go_antivirus import go_scanning
from .scanning import Platform, scanning, start

MIB = 1024 * 1024
Begin: TypeAlias = Callable[..., AbstractAsyncContextManager[Any]]

for_both = pytest.mark.parametrize(
    "begin",
    [
        pytest.param(scanning, id="penstock"),
        pytest.param(
            go_scanning,
            id="go",
            marks=pytest.mark.xfail(strict=True, raises=(AssertionError, TimeoutError), reason="the weakness"),
        ),
    ],
)


def soon_seconds(begin: Begin) -> float:
    """How long to wait for an answer, which those with a weakness never give."""
    return 3.0 if begin is go_scanning else 60.0


@pytest.fixture(scope="module")
def nats_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
async def platform(nats_of_module: NatsServer) -> AsyncIterator[Platform]:
    await nats_of_module.delete_streams()
    async with Platform(nats_of_module.endpoint) as running:
        yield running


@pytest.fixture
def storage() -> Iterator[Storage]:
    with running_storage() as running:
        yield running


@pytest.fixture
async def environment(nats_of_module: NatsServer) -> AsyncIterator[dict[str, str]]:
    async with running_fake_clamd() as address:
        yield {
            "OCIS_EVENTS_ENDPOINT": nats_of_module.endpoint,
            "ANTIVIRUS_CLAMAV_SOCKET": address,
            "PENSTOCK_ANTIVIRUS_CLAMAV_MAX_FILE_SIZE": "1MiB",
        }


@for_both
async def test_19_what_clamd_refuses_to_take_is_not_clean(
    begin: Begin, platform: Platform, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    body = eicar() + bytes(MIB)
    (tmp_path / "clamd").mkdir()
    with running_clamd(tmp_path / "clamd", StreamMaxLength="1M", MaxFileSize="2M") as clamd:
        told = {"ANTIVIRUS_CLAMAV_SOCKET": clamd.unix_address, "PENSTOCK_ANTIVIRUS_CLAMAV_MAX_FILE_SIZE": "2MiB"}
        async with begin(tmp_path, environment | told):
            answer = await platform.scan(storage.put("/a", body), len(body))
    assert answer["Outcome"] == "abort"
    assert "not scanned" in answer["Result"]["ErrorMsg"]


@for_both
async def test_20_a_part_of_a_file_is_not_clean(
    begin: Begin, platform: Platform, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    body = bytes(200_000) + eicar()
    async with begin(tmp_path, environment):
        answer = await platform.scan(storage.put("/a", body, cut_at=100_000, ranges=False), len(body))
    assert answer["Outcome"] == "retry"


@for_both
@pytest.mark.parametrize("reply", [MEMORY, GARBAGE])
async def test_21_an_error_and_what_is_not_understood_are_not_clean(
    begin: Begin, reply: bytes, platform: Platform, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    async with begin(tmp_path, environment):
        answer = await platform.scan(storage.put("/a", reply), len(reply))
    assert answer["Outcome"] == "retry"
    assert answer["Result"]["ErrorMsg"]


@for_both
async def test_22_a_connection_that_ends_without_a_reply_costs_one_scan_and_no_more(
    begin: Begin, platform: Platform, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    async with begin(tmp_path, environment):
        for body, outcome in ((CLOSE, "retry"), (b"harmless", "continue")):
            await platform.say(start(storage.put("/a", body), len(body), outcome))
            assert (await platform.answer_to(outcome, soon_seconds(begin)))["Outcome"] == outcome


@for_both
async def test_23_a_scanner_or_a_download_that_hangs_is_given_up(
    begin: Begin, platform: Platform, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    few = {"ANTIVIRUS_WORKERS": "1", "ANTIVIRUS_CLAMAV_SCAN_TIMEOUT": "2s"}
    async with begin(tmp_path, environment | few):
        for upload, body in (("hangs", SILENCE), ("stalls", b"x" * 100)):
            url = storage.put(f"/{upload}", body, stalls=upload == "stalls")
            await platform.say(start(url, len(body), upload))
        await platform.say(start(storage.put("/fine", b"fine"), 4, "fine"))
        answers = [await platform.answer_to(upload, soon_seconds(begin)) for upload in ("hangs", "stalls", "fine")]
    assert [answer["Outcome"] for answer in answers] == ["retry", "retry", "continue"]


@for_both
async def test_24_slow_scans_are_done_and_answered_once(
    begin: Begin, platform: Platform, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    uploads = [f"upload-{number}" for number in range(9)]
    await platform.make_go_consumer(ack_wait=3)  # 30 s as a Go service makes it, for scans of 6 s
    async with begin(tmp_path, environment | {"ANTIVIRUS_WORKERS": "1"}):
        for upload in uploads:
            await platform.say(start(storage.put(f"/{upload}", SLOW), len(SLOW), upload))
        await eventually(lambda: len(platform.answers) >= len(uploads), timeout_seconds=60)

        async def idle() -> bool:
            return await platform.unacknowledged() == 0

        await eventually(idle, timeout_seconds=60)
        await asyncio.sleep(2 * SLOW_SECONDS)  # nothing more comes
    assert sorted(answer["UploadID"] for answer in platform.answers) == uploads


@for_both
async def test_25_that_nobody_looked_at_a_file_is_said(
    begin: Begin, platform: Platform, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    body = bytes(1000) + eicar()
    skipping = {"ANTIVIRUS_MAX_SCAN_SIZE": "1000", "ANTIVIRUS_MAX_SCAN_SIZE_MODE": "skip"}
    async with begin(tmp_path, environment | skipping):
        answer = await platform.scan(storage.put("/a", body), len(body))
    assert answer["Outcome"] == "continue"
    assert "not scanned" in answer["Result"]["ErrorMsg"]
    assert not storage.requests
