"""What the store behind sentinels does when the master dies, hangs, or is left without replicas."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest
from structlog.testing import capture_logs

from penstock.errors import ConfigurationError
from penstock.store.base import ProgressStore, Revision, RevisionConflict, Saved, StoreUnavailable
from penstock.store.redis import RedisSentinelStore
from penstock.store.target import StoreTarget
from penstock.testing import eventually
from penstock.testing.store_contract.records import SECOND, record
from tests.servers.redis import MASTER, RedisProcess, RedisWithSentinels, running_sentinels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("redis")

PATIENCE: Final = {"down_after_milliseconds": 60_000, "publish_period_milliseconds": 60_000}
FAILOVER_SECONDS = 120.0
"""It takes two or three; a busy machine may need more."""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[RedisWithSentinels]:
    with running_sentinels(tmp_path / "redis", replicas=2) as servers:
        yield servers


def store_behind(servers: RedisWithSentinels, *, timeout: timedelta = 4 * SECOND, **target: str) -> RedisSentinelStore:
    return RedisSentinelStore(StoreTarget(nodes=servers.nodes, **target), timeout=timeout)  # type: ignore[arg-type]  # texts


class Savers:
    """Several tasks that save and change records for as long as they are let, and go on after each failure."""

    def __init__(self, store: ProgressStore) -> None:
        self._store = store
        self.told: dict[str, int] = {}
        """Uploads, and how many changes of each were confirmed."""
        self.failures = 0
        self._tasks = [asyncio.create_task(self._save(name)) for name in range(8)]

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _save(self, name: int) -> None:
        for number in range(100_000):
            upload = f"u{name}-{number}"
            revision = None
            for changes in range(3):
                revision = await self._until_saved(upload, changes, revision)
                self.told[upload] = changes

    async def _until_saved(self, upload: str, changes: int, revision: Revision | None) -> Revision:
        while True:
            try:
                return await self._store.save(record(upload, due=SECOND, failures=changes), expected=revision)
            except StoreUnavailable:
                self.failures += 1
                await asyncio.sleep(0.05)  # as whoever tries again has to
            except RevisionConflict:  # an earlier try was written after all, or what was read is not there any more
                saved = await self._read(upload)
                revision = saved.revision if saved else None
                if saved and saved.progress.failures == changes:
                    return saved.revision

    async def _read(self, upload: str) -> Saved | None:
        while True:
            try:
                return await self._store.get(upload)
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def nothing_confirmed_is_lost(store: ProgressStore, told: dict[str, int]) -> None:
    held = {saved.progress.upload_id: saved.progress.failures async for saved in store.all()}
    assert set(told) - set(held) == set()
    assert {upload for upload, changes in told.items() if held[upload] < changes} == set()
    assert await store.count_by_step() == {"virusscan": len(held)}


async def change_master(servers: RedisWithSentinels, away: RedisProcess) -> None:
    await eventually(lambda: servers.master() is not away, timeout_seconds=FAILOVER_SECONDS)


@pytest.mark.parametrize("hangs", [False, True], ids=["dies", "hangs and comes back"])
async def test_no_confirmed_save_is_lost_when_the_master_goes_in_mid_run(
    servers: RedisWithSentinels, hangs: bool
) -> None:
    first = servers.master()
    async with store_behind(servers) as store:
        savers = Savers(store)
        await eventually(lambda: len(savers.told) > 100)
        await asyncio.to_thread(first.pause if hangs else first.kill)
        await change_master(servers, first)
        if hangs:
            first.go_on()  # still thinks that it is the master
        after = len(savers.told)
        await eventually(lambda: len(savers.told) > after + 100, timeout_seconds=FAILOVER_SECONDS)
        await savers.end()
        assert savers.failures
        told = dict(savers.told)
        await nothing_confirmed_is_lost(store, told)
    async with store_behind(servers) as another:
        await nothing_confirmed_is_lost(another, told)


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[RedisWithSentinels]:
    """Sentinels that give a server which hangs its time."""
    with running_sentinels(tmp_path / "redis", replicas=2, **PATIENCE) as servers:
        yield servers


@pytest.mark.parametrize("hanging", [1, 2])
async def test_a_save_that_a_replica_lacks_is_not_confirmed(patient: RedisWithSentinels, hanging: int) -> None:
    """It may be the very one that the sentinels prefer."""
    async with store_behind(patient) as store:
        revision = await store.save(record("u1"), expected=None)
        for replica in patient.servers[1 : 1 + hanging]:
            replica.pause()
        with pytest.raises(StoreUnavailable, match=f"{2 - hanging} of 2 replicas have confirmed"):
            await store.save(record("u1", failures=1), expected=revision)
        for replica in patient.servers[1:]:
            replica.go_on()
        saved = await store.get("u1")
        assert saved is not None
        await store.save(record("u1", failures=2), expected=saved.revision)


async def test_what_a_replica_lacks_is_not_read_either(patient: RedisWithSentinels) -> None:
    """Who reads that an event was handled acknowledges it; a failover would then lose both."""
    async with store_behind(patient) as store, store_behind(patient) as another:
        revision = await store.save(record("u1"), expected=None)
        patient.servers[1].pause()
        with pytest.raises(StoreUnavailable, match="1 of 2 replicas"):
            await store.save(record("u1", failures=1), expected=revision)
        with pytest.raises(StoreUnavailable, match="1 of 2 replicas"):
            await another.get("u1")
        assert await another.get("unknown") is None
        patient.servers[1].go_on()
        saved = await another.get("u1")
        assert saved is not None
        assert saved.progress.failures == 1


async def test_a_master_without_replicas_counts_alone_until_they_are_back(servers: RedisWithSentinels) -> None:
    replicas = [server for server in servers.servers if server is not servers.master()]
    with capture_logs() as lines:
        async with store_behind(servers) as store:
            for replica in replicas:
                await asyncio.to_thread(replica.kill)
            saves = itertools.count()

            async def confirmed(*events: str) -> bool:
                try:
                    await store.save(record(f"u{next(saves)}"), expected=None)
                except StoreUnavailable:  # until the sentinels have noticed
                    return False
                return [line["event"] for line in lines] == list(events)

            alone, together = "redis_master_without_replicas", "redis_master_has_replicas_again"
            await eventually(lambda: confirmed(alone), timeout_seconds=FAILOVER_SECONDS)
            for replica in replicas:
                await asyncio.to_thread(replica.start_again)
            await eventually(lambda: confirmed(alone, together), timeout_seconds=FAILOVER_SECONDS)


async def test_a_master_alone_that_is_called_so_by_no_sentinel_confirms_nothing(patient: RedisWithSentinels) -> None:
    async with store_behind(patient) as store:
        revision = await store.save(record("u1"), expected=None)
        for process in [*patient.sentinels, *patient.servers[1:]]:
            await asyncio.to_thread(process.kill)
        with pytest.raises(StoreUnavailable, match="no sentinel knows the master"):
            await store.save(record("u1", failures=1), expected=revision)


async def test_what_is_configured_wrongly_is_named(patient: RedisWithSentinels) -> None:
    nodes = tuple(node.replace(MASTER, "another") for node in patient.nodes)
    with pytest.raises(StoreUnavailable, match=r"no sentinel knows the master 'another'.*not known here"):
        async with RedisSentinelStore(StoreTarget(nodes=nodes)):
            pass
    with pytest.raises(ConfigurationError, match="does not name the master"):
        RedisSentinelStore(StoreTarget(nodes=(patient.sentinels[0].node,)))


async def test_sentinels_that_are_away_are_passed_over(patient: RedisWithSentinels) -> None:
    for sentinel in patient.sentinels[:2]:
        await asyncio.to_thread(sentinel.kill)
    async with store_behind(patient) as store:
        await store.save(record("u1"), expected=None)
        await asyncio.to_thread(patient.sentinels[2].kill)
        await asyncio.sleep(1.1)  # longer than what they have said is good for
        await store.save(record("u2"), expected=None)  # the replicas are those that they have named
    with pytest.raises(StoreUnavailable, match="no sentinel knows the master"):
        async with store_behind(patient):
            pass


@pytest.mark.parametrize("sentinels_ask", [False, True], ids=["data only", "sentinels as well"])
async def test_a_password_is_given_to_who_asks_for_it(tmp_path: Path, sentinels_ask: bool) -> None:
    settings = "requirepass pw\nmasterauth pw\n"
    watch = f"sentinel auth-pass {MASTER} pw\n" + ("requirepass pw\nsentinel sentinel-pass pw\n" * sentinels_ask)
    with running_sentinels(tmp_path / "redis", settings=settings, watch=watch, password="pw", **PATIENCE) as servers:
        async with store_behind(servers, password="pw") as store:
            await store.save(record("u1"), expected=None)
        with pytest.raises(ConfigurationError, match="POSTPROCESSING_STORE_AUTH_USERNAME"):
            async with store_behind(servers):
                pass
