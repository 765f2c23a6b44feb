"""Takes over what a Go service has left in each store that both know, by the commands and as a process of its own."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import nats
import pytest

from tests.e2e.go_site import DATA, GROUP, Site
from tests.servers.etcd import EtcdNode, running_etcd
from tests.servers.nats import running_nats
from tests.servers.platform import Platform, Upload
from tests.servers.redis import RedisProcess, running_redis, running_sentinels
from tests.servers.single import running_services

Leave: TypeAlias = Callable[[Site, dict[str, Any]], Awaitable[None]]
"""Writes what was captured, byte for byte."""

_SETTINGS: Final = ("POSTPROCESSING_STORE_DATABASE", "POSTPROCESSING_STORE_TABLE", "POSTPROCESSING_STORE_TTL")


def into_redis(server: RedisProcess) -> Leave:
    async def leave(_site: Site, run: dict[str, Any]) -> None:
        with server.client() as client:
            for entry in run["entries"]:
                client.set(entry["key"], entry["value"])

    return leave


def into_etcd(server: EtcdNode) -> Leave:
    async def leave(_site: Site, run: dict[str, Any]) -> None:
        for entry in run["entries"]:
            server.put(entry["key"].encode(), entry["value"].encode())

    return leave


async def into_nats(site: Site, run: dict[str, Any]) -> None:
    config = run["stream_config"]
    await site.client.request(f"$JS.API.STREAM.CREATE.{config['name']}", json.dumps(config).encode())
    for entry in run["entries"]:
        lines = entry["headers"].strip().split("\r\n")[1:]
        value = entry["value"] if "value" in entry else entry["data"]
        headers = dict(line.split(": ") for line in lines) or None
        await site.client.jetstream().publish(entry["subject"], value.encode(), headers=headers)


@contextmanager
def a_store(kind: str, folder: Path, site: Site) -> Iterator[tuple[str, Leave]]:
    """Run the store, unless it is the server of the bus; yield its nodes, and what fills it."""
    folder.mkdir()
    if kind == "redis":
        with running_redis(folder) as redis:
            yield redis.node, into_redis(redis)
    elif kind == "redis-sentinel":
        with running_sentinels(folder) as redis:
            yield ",".join(redis.nodes), into_redis(redis.master())
    elif kind == "etcd":
        with running_etcd(folder) as etcd:
            yield etcd.address, into_etcd(etcd)
    else:
        yield site.server.endpoint, into_nats


def left_by(capture: str) -> list[dict[str, Any]]:
    """Return what one or more Go services have left, each with its settings."""
    captured = json.loads((DATA / f"{capture}.json").read_text())
    runs: list[dict[str, Any]] = captured.get("runs") or [captured | {"config": captured["config"]}]
    return runs


def waiting_in(run: dict[str, Any]) -> dict[str, str]:
    """Return the step of each upload that was left in the middle of something."""
    found = {}
    for entry in run["entries"]:
        record = _record(entry)
        if record is not None and not record["Finished"]:
            found[record["ID"]] = record["Status"]["CurrentStep"]
    return found


def _record(entry: dict[str, Any]) -> dict[str, Any] | None:
    for name in ("record", "value", "data"):
        try:
            read = json.loads(entry.get(name) or "")
        except ValueError:
            continue
        if isinstance(read, dict) and "Status" in read:
            return read
    return None


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("kind", "capture", "number"),  # with and without a table; of each store, tests/wire has both
    [
        ("redis", "store-redis", 1),
        ("redis-sentinel", "store-redis-sentinel", 0),
        ("etcd", "store-etcd", 1),
        ("nats-js", "store-nats-js", 0),
        ("nats-js-kv", "store-nats-js-kv-table-ttl", 0),
    ],
)
async def test_what_a_go_service_left_in_a_store_ends_with_ours(
    tmp_path: Path, kind: str, capture: str, number: int
) -> None:
    run = left_by(capture)[number]
    (tmp_path / "nats").mkdir()
    with running_nats(tmp_path / "nats") as server:
        client = await nats.connect(server.endpoint)
        site = Site(server, tmp_path, client)
        try:
            with a_store(kind, tmp_path / "store", site) as (nodes, leave):
                more = {name: run["config"][name] for name in _SETTINGS if name in run["config"]}
                site.settings |= {"OCIS_PERSISTENT_STORE": kind, "OCIS_PERSISTENT_STORE_NODES": nodes} | more
                await _take_over(site, leave, run)
        finally:
            await client.close()


async def _take_over(site: Site, leave: Leave, run: dict[str, Any]) -> None:
    waiting = waiting_in(run)
    assert waiting
    async with Platform(site.server.endpoint) as platform:
        await site.leave_consumer()
        await leave(site, run)
        for upload in waiting:
            platform.uploads[upload] = Upload(upload, {})

        looked = await site.take_over("--dry-run", "--json")
        assert looked.status == 0, looked.err
        assert {row["id"]: row["step"] for row in looked.json["results"]} == waiting
        assert looked.json["records"]["by_go"] == len(waiting)

        ended = await site.take_over()
        assert ended.status == 0, ended.err
        assert await site.resumes() == sorted(waiting)
        with running_services(site.folder, 1, GROUP, "server", **site.settings):
            await platform.settled(120)
            assert not platform.open
        assert not platform.wrong()
        assert list(await site.consumers()) == [GROUP]
        again = await site.take_over("--dry-run", "--json")
        assert again.json["records"]["by_go"] == 0
