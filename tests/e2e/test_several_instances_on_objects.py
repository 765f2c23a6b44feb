"""Three instances that share a database, a bus and a bucket, and no folder."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from sqlalchemy import NullPool, create_engine, make_url, select

from penstock.db.tables import upload_leases
from penstock.testing import eventually
from tests.e2e.test_several_instances import (  # noqa: F401  tests that are the same here
    KIB,
    begin_patch,
    client,
    content,
    created,
    offset,
    patched,
    released,
    test_interleaved_requests_of_several_clients_to_any_instance,
    test_the_last_bytes_and_head_race_and_there_is_one_run,
)
from tests.servers.cluster import Cluster, running_cluster
from tests.servers.stores import settings_for_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.s3 import S3Server

MIB = 1024 * KIB


class OnObjects:
    def __init__(self, cluster: Cluster, s3: S3Server, bucket: str) -> None:
        self.cluster = cluster
        self.s3 = s3
        self.bucket = bucket

    def written(self, upload: str) -> bool:
        """Whether somebody has an upload open for writing."""
        url = make_url(self.cluster.environment["PENSTOCK_DATABASE_URL"]).set(drivername="postgresql+psycopg")
        kept_bytes = select(upload_leases.c.kept_bytes).where(upload_leases.c.upload_id == upload)
        with create_engine(url, poolclass=NullPool).connect() as connection:
            return connection.execute(kept_bytes).scalar() is not None

    async def only_released(self, upload: str) -> None:
        """Wait until nothing is left of an upload but the one object."""

        def left() -> list[str]:
            return [key for key in self.s3.keys(self.bucket) if upload in key]

        await eventually(lambda: left() == [upload], timeout_seconds=60)


@pytest.fixture(scope="module")
def on_objects(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[OnObjects]:
    bucket = s3.new_bucket()
    settings = settings_for_s3(s3, bucket)
    with running_cluster(tmp_path_factory.mktemp("cluster"), 3, apart=True, **settings) as cluster:
        yield OnObjects(cluster, s3, bucket)


@pytest.fixture
def cluster(on_objects: OnObjects) -> Cluster:
    return on_objects.cluster


async def test_an_instance_is_killed_in_the_middle_of_a_body(on_objects: OnObjects, client: httpx.Client) -> None:  # noqa: F811
    cluster = on_objects.cluster
    first, second, third = cluster.servers
    data = os.urandom(3 * MIB)
    upload = created(client, first, len(data))
    assert patched(client, second, upload, 0, data[:MIB]).status_code == 204
    with begin_patch(first, upload, MIB, data[MIB : 2 * MIB], len(data) - MIB):
        await eventually(lambda: on_objects.written(upload))
        first.kill()
    began = time.monotonic()
    assert offset(client, second, upload) == MIB
    assert time.monotonic() - began < 60  # the lease, and what a busy machine takes
    assert patched(client, third, upload, MIB, data[MIB : 2 * MIB]).status_code == 204
    assert patched(client, second, upload, 2 * MIB, data[2 * MIB :]).status_code == 204
    first.start()
    await released(client, first, upload)
    assert content(client, first, upload) == hashlib.sha256(data).hexdigest()
    assert cluster.runs(upload) == 1
    await on_objects.only_released(upload)


async def test_an_instance_that_wakes_up_has_no_say(on_objects: OnObjects, client: httpx.Client) -> None:  # noqa: F811
    cluster = on_objects.cluster
    first, second, third = cluster.servers
    data, other = os.urandom(3 * MIB), os.urandom(3 * MIB)
    upload = created(client, first, len(data))
    with begin_patch(first, upload, 0, other[:MIB], len(data)) as connection:
        await eventually(lambda: on_objects.written(upload))
        os.kill(first.pid, signal.SIGSTOP)
        try:
            at = offset(client, second, upload)
            connection.send(other[MIB:])  # other bytes than those that count
            assert patched(client, third, upload, at, data[at : 2 * MIB]).status_code == 204
        finally:
            os.kill(first.pid, signal.SIGCONT)
        answer = connection.response()
        assert answer.status in (409, 503), answer
    assert at == 0
    assert offset(client, first, upload) == 2 * MIB
    assert patched(client, first, upload, 2 * MIB, data[2 * MIB :]).status_code == 204
    await released(client, second, upload)
    assert content(client, second, upload) == hashlib.sha256(data).hexdigest()
    assert cluster.runs(upload) == 1
    await on_objects.only_released(upload)
