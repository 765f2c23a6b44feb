"""Three instances on one database, one bus and one folder, and a load balancer that sends requests to any of them."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from penstock.testing import eventually
from tests.e2e.raw_http import BYTES, TUS, Connection
from tests.servers.cluster import Cluster, running_cluster
from tests.servers.penstock import PenstockServer

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB = 1024


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=120, trust_env=False) as client:
        yield client


def created(client: httpx.Client, server: PenstockServer, size: int) -> str:
    answer = client.post(f"{server.url}/uploads/", headers={**TUS, "Upload-Length": str(size)})
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"].rpartition("/")[2]


def patched(client: httpx.Client, server: PenstockServer, upload: str, offset: int, data: bytes) -> httpx.Response:
    headers = {**BYTES, "Upload-Offset": str(offset)}
    return client.patch(f"{server.url}/uploads/{upload}", headers=headers, content=data)


def head(client: httpx.Client, server: PenstockServer, upload: str) -> httpx.Response:
    return client.head(f"{server.url}/uploads/{upload}", headers=TUS)


def deleted(client: httpx.Client, server: PenstockServer, upload: str) -> httpx.Response:
    return client.delete(f"{server.url}/uploads/{upload}", headers=TUS)


def probed(client: httpx.Client, server: PenstockServer, probe: str) -> int:
    return client.get(f"{server.url}{probe}").status_code


def offset(client: httpx.Client, server: PenstockServer, upload: str) -> int:
    answer = head(client, server, upload)
    assert answer.status_code == 200, (answer.status_code, answer.headers)
    return int(answer.headers["Upload-Offset"])


def phase(client: httpx.Client, server: PenstockServer, upload: str) -> str:
    found: str = client.get(f"{server.url}/api/v1/uploads/{upload}").json()["phase"]
    return found


def content(client: httpx.Client, server: PenstockServer, upload: str) -> str:
    answer = client.get(f"{server.url}/api/v1/files/{upload}/content")
    assert answer.status_code == 200, answer.text
    return hashlib.sha256(answer.content).hexdigest()


async def released(client: httpx.Client, server: PenstockServer, upload: str) -> None:
    await eventually(lambda: phase(client, server, upload) == "released", timeout_seconds=60)


def begin_patch(server: PenstockServer, upload: str, offset: int, data: bytes, length: int) -> Connection:
    """Send the beginning of a body, and stay connected."""
    connection = Connection(server.port)
    connection.head("PATCH", f"/uploads/{upload}", {**BYTES, "Upload-Offset": offset, "Content-Length": length})
    connection.send(data)
    return connection


async def staged(client: httpx.Client, server: PenstockServer, upload: str, least: int) -> None:
    """Wait until so much of an upload has arrived, without disturbing the request that brings it."""

    def received() -> int:
        found: int = client.get(f"{server.url}/api/v1/uploads/{upload}").json()["offset"]
        return found

    await eventually(lambda: received() >= least, timeout_seconds=60)


async def test_interleaved_requests_of_several_clients_to_any_instance(cluster: Cluster) -> None:
    def send(seed: int) -> tuple[str, bytes]:
        dice = random.Random(seed)
        data = dice.randbytes(dice.randint(100, 400) * KIB)
        with httpx.Client(timeout=120, trust_env=False) as client:
            upload = created(client, cluster.next, len(data))
            at = 0
            while at < len(data):
                if dice.random() < 0.4:
                    assert offset(client, cluster.next, upload) == at
                if at and dice.random() < 0.1:  # what was sent already is refused, by whoever is asked
                    assert patched(client, cluster.next, upload, at - 1, b"x").status_code == 409
                piece = data[at : at + dice.randint(1, 64) * KIB]
                answer = patched(client, cluster.next, upload, at, piece)
                assert answer.status_code == 204, answer.text
                at = int(answer.headers["Upload-Offset"])
            return upload, data

    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(send, range(6)))
    with httpx.Client(timeout=120, trust_env=False) as client:
        for upload, data in sent:
            await released(client, cluster.next, upload)
            assert content(client, cluster.next, upload) == hashlib.sha256(data).hexdigest()
            assert cluster.runs(upload) == 1
        given_up = created(client, cluster.next, 100)
        assert patched(client, cluster.next, given_up, 0, b"x" * 50).status_code == 204
        assert deleted(client, cluster.next, given_up).status_code == 204
        for server in cluster.servers:
            assert head(client, server, given_up).status_code == 410


async def test_the_last_bytes_and_head_race_and_there_is_one_run(cluster: Cluster, client: httpx.Client) -> None:
    data = os.urandom(20 * KIB)
    uploads = []
    with ThreadPoolExecutor(3) as pool:
        for _ in range(20):
            upload = created(client, cluster.next, len(data))
            assert patched(client, cluster.next, upload, 0, data[: 10 * KIB]).status_code == 204
            with (
                httpx.Client(timeout=120, trust_env=False) as other,
                httpx.Client(timeout=120, trust_env=False) as third,
            ):
                last = pool.submit(patched, client, cluster.next, upload, 10 * KIB, data[10 * KIB :])
                heads = [pool.submit(head, one, cluster.next, upload) for one in (other, third)]
                assert last.result().status_code in (204, 409)
                assert {each.result().status_code for each in heads} == {200}
            at = offset(client, cluster.next, upload)
            if at < len(data):
                assert patched(client, cluster.next, upload, at, data[at:]).status_code == 204
            uploads.append(upload)
    for upload in uploads:
        await released(client, cluster.next, upload)
        assert cluster.runs(upload) == 1
        assert content(client, cluster.next, upload) == hashlib.sha256(data).hexdigest()


async def test_a_newcomer_at_another_instance_takes_over_at_once(cluster: Cluster, client: httpx.Client) -> None:
    first, second, _ = cluster.servers
    data = os.urandom(3 * 1024 * KIB)
    upload = created(client, first, len(data))
    with begin_patch(first, upload, 0, data[: 2 * 1024 * KIB], len(data)) as connection:
        await staged(client, first, upload, 1024 * KIB)
        began = time.monotonic()
        at = offset(client, second, upload)
        assert time.monotonic() - began < 60
        assert at == 2 * 1024 * KIB
        assert connection.response().status == 409
    assert patched(client, second, upload, at, data[at:]).status_code == 204
    await released(client, first, upload)
    assert content(client, first, upload) == hashlib.sha256(data).hexdigest()


async def test_an_instance_is_killed_in_the_middle_of_a_body(cluster: Cluster, client: httpx.Client) -> None:
    first, second, third = cluster.servers
    data = os.urandom(3 * 1024 * KIB)
    upload = created(client, first, len(data))
    with begin_patch(first, upload, 0, data[: 2 * 1024 * KIB], len(data)):
        await staged(client, second, upload, 1024 * KIB)
        first.kill()
    began = time.monotonic()
    at = offset(client, second, upload)
    assert time.monotonic() - began < 60  # the lease, and what a busy machine takes
    assert 1024 * KIB <= at <= 2 * 1024 * KIB
    half = at + (len(data) - at) // 2
    assert patched(client, third, upload, at, data[at:half]).status_code == 204
    assert patched(client, second, upload, half, data[half:]).status_code == 204
    first.start()
    await released(client, first, upload)
    assert content(client, first, upload) == hashlib.sha256(data).hexdigest()
    assert cluster.runs(upload) == 1
    assert not [path for path in first.staging if path.name.startswith(upload)]


async def test_an_instance_that_wakes_up_has_no_say(cluster: Cluster, client: httpx.Client) -> None:
    first, second, third = cluster.servers
    data, other = os.urandom(4 * 1024 * KIB), os.urandom(4 * 1024 * KIB)
    upload = created(client, first, len(data))
    with begin_patch(first, upload, 0, data[: 2 * 1024 * KIB], len(data)) as connection:
        await staged(client, second, upload, 1024 * KIB)
        os.kill(first.pid, signal.SIGSTOP)
        try:
            at = offset(client, second, upload)
            connection.send(other[2 * 1024 * KIB :])  # other bytes than those that count
            half = at + (len(data) - at) // 2
            assert patched(client, third, upload, at, data[at:half]).status_code == 204
        finally:
            os.kill(first.pid, signal.SIGCONT)
        answer = connection.response()
        assert answer.status in (409, 503), answer
    assert offset(client, first, upload) == half
    assert patched(client, first, upload, half, data[half:]).status_code == 204
    await released(client, second, upload)
    assert content(client, second, upload) == hashlib.sha256(data).hexdigest()
    assert cluster.runs(upload) == 1


def test_the_feed_of_one_instance_tells_of_all(cluster: Cluster, client: httpx.Client) -> None:
    first, second, _ = cluster.servers
    upload = created(client, first, 3)
    with (
        httpx.Client(timeout=120, trust_env=False) as other,
        client.stream("GET", f"{second.url}/api/v1/uploads/{upload}/events") as events,
    ):
        assert patched(other, first, upload, 0, b"abc").status_code == 204
        seen = ""
        for line in events.iter_lines():
            seen += line
            if "released" in line:
                break
    assert "received" in seen


async def test_the_database_is_away_for_a_while(cluster: Cluster, client: httpx.Client) -> None:
    data = os.urandom(200 * KIB)
    upload = created(client, cluster.next, len(data))
    assert patched(client, cluster.next, upload, 0, data[: 100 * KIB]).status_code == 204
    cluster.postgres.stop()
    for server in cluster.servers:
        began = time.monotonic()
        for answer in (head(client, server, upload), patched(client, server, upload, 100 * KIB, data[100 * KIB :])):
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
        assert probed(client, server, "/healthz") == 200
        assert probed(client, server, "/readyz") == 503
        assert time.monotonic() - began < 60
    cluster.postgres.start_again()
    await eventually(lambda: head(client, cluster.next, upload).status_code == 200, timeout_seconds=60)
    assert offset(client, cluster.next, upload) == 100 * KIB
    assert patched(client, cluster.next, upload, 100 * KIB, data[100 * KIB :]).status_code == 204
    await released(client, cluster.next, upload)
    assert content(client, cluster.next, upload) == hashlib.sha256(data).hexdigest()
