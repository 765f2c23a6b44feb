"""Stores full of uploads that wait for the answer of a step, as the service itself would have written them."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from penstock.app.opening import store_of
from penstock.core.machine import decide
from penstock.core.policy import Policy
from penstock.core.transition import Tick
from penstock.events.types import BytesReceived, Envelope, ResourceId, User, UserId
from penstock.settings import Service, Settings, load_settings
from tests.servers.etcd import running_etcd
from tests.servers.nats import running_nats
from tests.servers.platform import Platform
from tests.servers.postgres import PASSWORD, USER, running_postgres
from tests.servers.redis import running_redis, running_sentinels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from penstock.core.progress import Progress
    from penstock.store.base import ProgressStore

STEP: Final = "virusscan"
"""In which they wait."""
POLICY: Final = Policy.create((STEP,), ended_kept=timedelta(minutes=2))
_AT_ONCE: Final = 256
Environment: TypeAlias = dict[str, str]
"""Settings that name a store, and a bus."""


@contextmanager
def _nats(kind: str, folder: Path, endpoint: str) -> Iterator[Environment]:
    del folder
    yield {"POSTPROCESSING_STORE": kind, "POSTPROCESSING_STORE_NODES": endpoint}


@contextmanager
def _etcd(kind: str, folder: Path, endpoint: str) -> Iterator[Environment]:
    del endpoint
    with running_etcd(folder) as node:
        yield {"POSTPROCESSING_STORE": kind, "POSTPROCESSING_STORE_NODES": node.address}


@contextmanager
def _postgres(kind: str, folder: Path, endpoint: str) -> Iterator[Environment]:
    del folder, endpoint
    with running_postgres() as server:
        yield {
            "POSTPROCESSING_STORE": kind,
            "POSTPROCESSING_STORE_NODES": server.address,
            "POSTPROCESSING_STORE_DATABASE": server.new_database(),
            "POSTPROCESSING_STORE_AUTH_USERNAME": USER,
            "POSTPROCESSING_STORE_AUTH_PASSWORD": PASSWORD,
        }


@contextmanager
def _redis(kind: str, folder: Path, endpoint: str) -> Iterator[Environment]:
    del endpoint
    if kind == "redis":
        with running_redis(folder) as server:
            yield {"POSTPROCESSING_STORE": kind, "POSTPROCESSING_STORE_NODES": server.node}
        return
    with running_sentinels(folder) as servers:
        yield {"POSTPROCESSING_STORE": kind, "POSTPROCESSING_STORE_NODES": ",".join(servers.nodes)}


STORES: Final[dict[str, Callable[[str, Path, str], AbstractContextManager[Environment]]]] = {
    "nats-js-kv": _nats,
    "nats-js": _nats,
    "redis": _redis,
    "redis-sentinel": _redis,
    "etcd": _etcd,
    "postgres": _postgres,
    "memory": _nats,
    "ocmem": _nats,
}


@contextmanager
def running(store: str, base: Path, *, room: int = 0) -> Iterator[tuple[int, Environment]]:
    """Run NATS for the bus, and what a store needs; yield the port of NATS, and the settings of a service on both.

    `room` is for `ocmem`: how many uploads it remembers (0: as it does by default).
    """
    folders = [base / name for name in ("nats", "store")]
    for folder in folders:
        folder.mkdir()
    with running_nats(folders[0]) as nats, STORES[store](store, folders[1], nats.endpoint) as environment:
        asyncio.run(_make_stream(nats.endpoint))
        bus = {"POSTPROCESSING_EVENTS_ENDPOINT": nats.endpoint, "POSTPROCESSING_STEPS": STEP}
        size = {"PENSTOCK_STORE_SIZE": str(room)} if room else {}
        yield nats.port, environment | bus | size


async def _make_stream(endpoint: str) -> None:
    """Make the stream as a storage provider does: what is older than it would be said again at the service's start."""
    async with Platform(endpoint, name="first"):
        pass


def settings_of(environment: Environment) -> Settings:
    """Return what a service of this environment goes by."""
    return load_settings(environ=environment, folder=Path("/"), service=Service.POSTPROCESSING)


async def fill(environment: Environment, count: int) -> None:
    """Write `count` records."""
    async with store_of(settings_of(environment), POLICY) as store:
        await fill_store(store, count)


async def fill_store(store: ProgressStore, count: int) -> None:
    """Write `count` records to a store that is open."""
    template, numbers = waiting(), iter(range(count))

    async def write() -> None:
        for number in numbers:
            await store.save(upload(template, number), expected=None)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(write())


def waiting() -> Progress:
    """Return the record of an upload that has been asked for as often as it ever is."""
    now = datetime.now(UTC)
    received = BytesReceived(
        upload_id="template",
        url="https://cloud.example.test/data/eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.template",
        executing_user=User(
            id=UserId(idp="https://idp.example.test", opaque_id="einstein", type=1), username="einstein"
        ),
        filename="measurement.tif",
        filesize=5 * 2**20,
        resource_id=ResourceId(storage_id="storage-users-1", opaque_id="template", space_id=str(uuid.uuid4())),
    )
    envelope = Envelope(event=received, event_id="template", initiator_id=str(uuid.uuid4()))
    progress = decide(None, envelope, now, POLICY).progress
    while progress is not None and progress.announce_at is not None:
        progress = decide(progress, Tick(), progress.announce_at, POLICY).progress
    if progress is None:
        raise RuntimeError("the upload has ended instead of waiting")
    return msgspec.structs.replace(progress, updated_at=now)


def upload(template: Progress, number: int) -> Progress:
    """Return the record of one of many uploads."""
    upload_id, run_id = str(uuid.uuid4()), str(uuid.uuid4())
    resource = template.resource_id
    return msgspec.structs.replace(
        template,
        upload_id=upload_id,
        url=template.url.replace("template", upload_id),
        filename=f"measurement-{number:06}.tif",
        resource_id=resource and msgspec.structs.replace(resource, opaque_id=upload_id),
        run_id=run_id,
        handled=(run_id,),
    )
