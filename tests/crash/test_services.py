"""Instances of the coordinator between real servers that die: every upload ends once, and as planned.

`PENSTOCK_CRASH_UPLOADS` says how many uploads a run has, for longer ones than the suite has time for.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.testing import eventually
from tests.servers import copies
from tests.servers.etcd import running_etcd
from tests.servers.nats import NatsServer, running_nats
from tests.servers.platform import Platform
from tests.servers.redis import running_sentinels
from tests.servers.single import SingleService, running_services

UPLOADS = int(os.environ.get("PENSTOCK_CRASH_UPLOADS", "1000"))
WINDOW = 256
SETTLE_SECONDS = 180 + UPLOADS / 50
SERVICE = ("postprocessing", "server")


def mixed(number: int) -> tuple[dict[str, list[str]], str]:
    """Plan an upload: most pass, some are tried again, some end early."""
    match number % 20:
        case 3:
            return {"virusscan": ["retry"]}, "continue"
        case 7:
            return {"ocr": ["retry", "retry"]}, "continue"
        case 11:
            return {"virusscan": ["delete"]}, "delete"
        case 13:
            return {"ocr": ["retry", "abort"]}, "abort"
    return {}, "continue"


def environment(nats: NatsServer, **more: str) -> dict[str, str]:
    return {
        "OCIS_EVENTS_ENDPOINT": nats.endpoint,
        "OCIS_PERSISTENT_STORE_NODES": nats.endpoint,
        "POSTPROCESSING_STEPS": "virusscan,ocr",
        "POSTPROCESSING_RETRY_BACKOFF_DURATION": "500ms",
        "OCIS_LOG_LEVEL": "warning",
        **more,
    }


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    folder = tmp_path / "nats"
    folder.mkdir()
    with running_nats(folder) as server:
        yield server


def services(folder: Path, count: int, settings: dict[str, str]) -> AbstractContextManager[list[SingleService]]:
    return running_services(folder, count, *SERVICE, **settings)


async def decided(platform: Platform, number: int) -> None:
    """Wait until so many uploads have a decision."""
    await eventually(lambda: platform.done >= number, timeout_seconds=SETTLE_SECONDS)


async def kill_now_and_then(platform: Platform, instances: Sequence[SingleService], *, seed: int = 5) -> None:
    """Kill one of several instances, once it has come up, after each tenth of the uploads, and start it again."""
    chance = random.Random(seed)
    while True:
        await decided(platform, platform.done + UPLOADS // 10)
        victim = chance.choice(instances)
        await asyncio.to_thread(victim.ready)
        await asyncio.to_thread(victim.kill)
        victim.start_again()


@asynccontextmanager
async def meanwhile(trouble: Any) -> AsyncIterator[None]:
    """Have something go on beside."""
    task = asyncio.create_task(trouble)
    try:
        yield
    finally:
        if task.done():
            task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def left(settings: dict[str, str], folder: Path) -> list[dict[str, Any]]:
    """Return the records that are left, as an operator lists them."""
    environ = copies.without_settings() | settings
    listed = copies.run(["postprocessing", "list", "--json"], environment=environ, folder=folder)
    assert listed.returncode == 0, listed.stderr
    records: list[dict[str, Any]] = json.loads(listed.stdout)
    return records


async def check(platform: Platform, settings: dict[str, str], folder: Path) -> None:
    """Every upload has its one decision, and nothing is left of those that the storage has confirmed."""
    wrong = platform.wrong()
    assert not wrong, f"{len(wrong)} of {len(platform.uploads)}: {wrong[:3]}"
    confirmed = {upload.id for upload in platform.uploads.values() if upload.expected == "continue"}

    async def gone() -> bool:
        records = await asyncio.to_thread(left, settings, folder)
        return not confirmed.intersection(record["id"] for record in records)

    await eventually(gone, timeout_seconds=120)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("instances", "twice", "kills"),
    [(1, False, True), (2, True, False), (4, True, True)],
    ids=["one that is killed", "two that hear everything twice", "four with all of it"],
)
async def test_instances_lose_and_double_nothing(
    nats: NatsServer, tmp_path: Path, instances: int, *, twice: bool, kills: bool
) -> None:
    settings = environment(nats)
    spread = 0.3 if twice else 0.0
    with services(tmp_path, instances, settings) as running:
        async with Platform(nats.endpoint, twice=twice, spread_seconds=spread) as platform:
            async with meanwhile(kill_now_and_then(platform, running) if kills else asyncio.sleep(0)):
                await platform.put(UPLOADS, window=WINDOW, plan=mixed)
            await platform.settled(SETTLE_SECONDS)
            await check(platform, settings, tmp_path)
        if kills:
            assert sum(service.starts for service in running) > instances


@pytest.mark.timeout(900)
async def test_nats_dies_in_mid_run(nats: NatsServer, tmp_path: Path) -> None:
    def kill_nats() -> None:
        nats.kill()
        time.sleep(0.5)
        nats.start_again()

    await _run_through_trouble(nats, environment(nats), tmp_path, kill_nats)


@pytest.mark.timeout(900)
async def test_etcd_dies_in_mid_run(nats: NatsServer, tmp_path: Path) -> None:
    (tmp_path / "etcd").mkdir()
    with running_etcd(tmp_path / "etcd") as etcd:
        settings = environment(nats, OCIS_PERSISTENT_STORE="etcd", OCIS_PERSISTENT_STORE_NODES=etcd.address)

        def kill_etcd() -> None:
            etcd.kill()
            time.sleep(0.5)
            etcd.start_again()

        await _run_through_trouble(nats, settings, tmp_path, kill_etcd)


@pytest.mark.timeout(900)
async def test_the_master_of_redis_dies_in_mid_run(nats: NatsServer, tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with running_sentinels(tmp_path / "redis") as redis:
        nodes = ",".join(redis.nodes)
        settings = environment(nats, OCIS_PERSISTENT_STORE="redis-sentinel", OCIS_PERSISTENT_STORE_NODES=nodes)

        def fail_over() -> None:
            master = redis.master()
            master.kill()
            ends_at = time.monotonic() + 120
            while redis.master() is master and time.monotonic() < ends_at:
                time.sleep(0.05)
            master.start_again()
            assert redis.master() is not master

        await _run_through_trouble(nats, settings, tmp_path, fail_over, times=1)


async def _run_through_trouble(
    nats: NatsServer, settings: dict[str, str], folder: Path, trouble: Callable[[], None], *, times: int = 3
) -> None:
    """Put uploads through two instances while something happens a few times."""

    async def make_trouble() -> None:
        for _ in range(times):
            await asyncio.sleep(1.5)
            await asyncio.to_thread(trouble)

    with services(folder, 2, settings):
        async with Platform(nats.endpoint) as platform:
            async with asyncio.TaskGroup() as group:
                group.create_task(make_trouble())
                await platform.put(UPLOADS, window=WINDOW, plan=mixed)
            await platform.settled(SETTLE_SECONDS)
            await check(platform, settings, folder)


@pytest.mark.timeout(900)
async def test_delays_and_retries_that_are_pending_when_all_instances_die_go_on(
    nats: NatsServer, tmp_path: Path
) -> None:
    settings = environment(
        nats,
        POSTPROCESSING_STEPS="virusscan,delay,ocr",
        POSTPROCESSING_DELAY="10s",
        POSTPROCESSING_RETRY_BACKOFF_DURATION="4s",
    )

    def plan(number: int) -> tuple[dict[str, list[str]], str]:
        return ({"virusscan": ["retry"]}, "continue") if number % 2 else ({}, "continue")

    with services(tmp_path, 2, settings) as running:
        async with Platform(nats.endpoint) as platform:
            await platform.put(200, plan=plan)
            await eventually(lambda: platform.seen["PostprocessingRetry"] >= 30 and _delays(platform) >= 30)
            for service in running:
                service.kill()
            states = [record["state"] for record in await asyncio.to_thread(left, settings, tmp_path)]
            assert {"delay", "backoff"} <= set(states)
            for service in running:
                service.start_again()
            await platform.settled(SETTLE_SECONDS)
            await check(platform, settings, tmp_path)
            assert not [upload for upload in platform.uploads.values() if len(upload.starts["ocr"]) != 1]


def _delays(platform: Platform) -> int:
    return sum(bool(upload.starts["virusscan"]) for upload in platform.uploads.values())
