"""tus against a real server, when connections break, clients misbehave, disks fill up and processes die."""

from __future__ import annotations

import hashlib
import random
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.raw_http import BYTES, TUS, Connection, TusClient
from tests.servers.copies import installed
from tests.servers.penstock import PenstockServer

MIB = 1024 * 1024
STAY = {"POSTPROCESSING_STEPS": "delay", "POSTPROCESSING_DELAY": "1h"}
BODY = random.Random(5).randbytes(3 * MIB)
HALF = len(BODY) // 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    server = PenstockServer(tmp_path_factory.mktemp("faults"), **STAY)
    with installed():
        server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def client(server: PenstockServer) -> TusClient:
    return TusClient(server.port)


def within(seconds: float, check: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < ends_at, f"not within {seconds} s"
        time.sleep(0.01)


def staged(server: PenstockServer, path: str) -> Path:
    name = path.rpartition("/")[2]
    return next(file for file in server.staging if file.name == name)


def begin(client: TusClient, path: str, offset: int, length: int | None) -> Connection:
    connection = client.connect()
    framing = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": length}
    connection.head("PATCH", path, {**BYTES, "Upload-Offset": offset, **framing})
    return connection


def finish(client: TusClient, server: PenstockServer, path: str) -> None:
    """Continue from where the server says, and compare what it has in the end."""
    offset = client.offset(path)
    assert client.patch(path, offset, BODY[offset:]).status == 204
    assert staged(server, path).read_bytes() == BODY


@pytest.mark.parametrize("chunked", [False, True])
def test_bytes_before_a_fin_are_kept(client: TusClient, server: PenstockServer, chunked: bool) -> None:
    path = client.create(len(BODY))
    with begin(client, path, 0, None if chunked else len(BODY)) as connection:
        (connection.chunk if chunked else connection.send)(BODY[:HALF])
    # HEAD would have it stop, if it came first on a busy machine.
    within(60, lambda: bool(httpx.get(f"{server.url}/api/v1{path}").json()["offset"] == HALF))
    assert client.offset(path) == HALF
    finish(client, server, path)


@pytest.mark.parametrize("chunked", [False, True])
def test_bytes_before_a_reset_are_kept(client: TusClient, server: PenstockServer, chunked: bool) -> None:
    path = client.create(len(BODY))
    connection = begin(client, path, 0, None if chunked else len(BODY))
    (connection.chunk if chunked else connection.send)(BODY[:HALF])
    # Once they are in the file, they have surely arrived; a reset may overtake what is still on its way.
    within(60, lambda: staged(server, path).stat().st_size >= MIB)
    connection.reset()
    assert client.offset(path) >= MIB
    finish(client, server, path)


def test_a_creation_whose_answer_never_came_leaves_nothing_behind(client: TusClient, server: PenstockServer) -> None:
    """Nobody was told the address, so nobody could go on with what had arrived."""
    before = server.staging
    with client.connect() as connection:
        connection.head("POST", "/uploads/", {**BYTES, "Upload-Length": len(BODY), "Content-Length": len(BODY)})
        connection.send(BODY[:HALF])
        within(60, lambda: len(server.staging) > len(before))
    within(60, lambda: server.staging == before)


def test_a_creation_that_the_disk_has_no_room_for_leaves_nothing_behind(
    client: TusClient, server: PenstockServer
) -> None:
    before = server.staging
    limits = resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (2 * MIB, resource.RLIM_INFINITY))
    try:
        with client.connect() as connection:
            assert connection.request("POST", "/uploads/", {**BYTES, "Upload-Length": len(BODY)}, BODY).status == 507
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limits)
    assert server.staging == before


def test_a_client_that_stops_sending_gets_an_answer(client: TusClient) -> None:
    path = client.create(len(BODY))
    with begin(client, path, 0, len(BODY)) as connection:
        connection.send(BODY[:HALF])
        connection.socket.shutdown(1)
        response = connection.response()
        assert response.status == 400
        assert response.problem["code"] == "disconnected"
    assert client.offset(path) == HALF


def test_a_broken_chunk_ends_the_body_where_it_broke(client: TusClient) -> None:
    path = client.create(len(BODY))
    with begin(client, path, 0, None) as connection:
        connection.chunk(b"hello")
        connection.send(b"zz\r\nno such size")
        assert connection.response().status == 400
    assert client.offset(path) == 5


def test_a_cut_body_with_a_checksum_leaves_no_trace(client: TusClient, server: PenstockServer) -> None:
    path = client.create(len(BODY))
    connection = client.connect()
    checksum = {"Upload-Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="}
    connection.head("PATCH", path, {**BYTES, "Upload-Offset": 0, "Content-Length": len(BODY), **checksum})
    connection.send(BODY[: 2 * MIB + 5])
    within(60, lambda: staged(server, path).stat().st_size > 0)
    assert httpx.get(f"{server.url}/api/v1{path}").json()["offset"] == 0
    connection.reset()
    within(60, lambda: staged(server, path).stat().st_size == 0)
    assert client.offset(path) == 0
    finish(client, server, path)


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
def test_a_new_request_takes_over_from_a_half_open_one(client: TusClient, server: PenstockServer, method: str) -> None:
    path = client.create(len(BODY))
    with begin(client, path, 0, len(BODY)) as old:
        old.send(BODY[:HALF])
        within(60, lambda: staged(server, path).stat().st_size >= MIB)
        began_at = time.monotonic()
        if method == "HEAD":
            assert client.offset(path) == HALF
        elif method == "PATCH":
            assert client.patch(path, HALF, BODY[HALF:]).status == 204
        else:
            assert client.request("DELETE", path, TUS).status == 204
        assert time.monotonic() - began_at < 50
        response = old.response()
        assert response.status == 409
        assert response.problem["code"] == "interrupted"
        with suppress(OSError):
            old.send(b"\0" * HALF)  # late bytes
    if method == "DELETE":
        assert client.head(path).status == 410
    elif method == "HEAD":
        assert client.offset(path) == HALF
        finish(client, server, path)
    else:
        assert staged(server, path).read_bytes() == BODY


def test_a_request_that_cannot_succeed_does_not_disturb_the_one_at_work(
    client: TusClient, server: PenstockServer
) -> None:
    path = client.create(len(BODY))
    with begin(client, path, 0, len(BODY)) as first:
        first.send(BODY[:HALF])
        within(60, lambda: staged(server, path).stat().st_size >= MIB)
        assert client.patch(path, 0, BODY).status == 409
        first.send(BODY[HALF:])
        assert first.response().status == 204
    assert staged(server, path).read_bytes() == BODY


def test_of_many_racing_requests_one_wins(client: TusClient, server: PenstockServer) -> None:
    path = client.create(MIB)
    bodies = [bytes([number]) * MIB for number in range(6)]
    statuses: list[tuple[int, int]] = []

    def race(number: int) -> None:
        statuses.append((client.patch(path, 0, bodies[number]).status, number))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for status, number in statuses if status == 204]
    assert len(winners) == 1
    assert all(status in (204, 409) for status, _ in statuses)
    assert staged(server, path).read_bytes() == bodies[winners[0]]
    assert httpx.get(f"{server.url}/api/v1{path}").json()["run"] == 1


def test_the_last_requests_may_be_repeated_and_raced(client: TusClient, server: PenstockServer) -> None:
    path = client.create(10)
    threads = []
    for _ in range(10):
        threads.append(threading.Thread(target=client.patch, args=(path, 0, b"helloworld")))
        threads.append(threading.Thread(target=client.head, args=(path,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    offset = client.offset(path)
    assert client.patch(path, offset, b"helloworld"[offset:]).status == 204
    assert httpx.get(f"{server.url}/api/v1{path}").json()["run"] == 1


def test_a_body_that_goes_on_and_on_is_stopped(client: TusClient, server: PenstockServer) -> None:
    path = client.create(10)
    with begin(client, path, 0, None) as connection:
        connection.chunk(b"hello")
        for _ in range(3):
            connection.chunk(bytes(MIB))
        response = connection.response()
        assert response.status == 413
        assert response.problem["code"] == "too-large"
    assert client.offset(path) == 0
    assert client.patch(path, 0, b"helloworld").status == 204


def test_a_client_that_sends_everything_before_it_listens_sees_why_it_was_refused(client: TusClient) -> None:
    path = client.create(10)
    with begin(client, path, 0, 32 * MIB) as connection:
        connection.send(bytes(32 * MIB))
        assert connection.response().status == 413


def test_a_file_of_a_size_that_cannot_fit_is_refused_at_creation(client: TusClient) -> None:
    with client.connect() as connection:
        response = connection.request("POST", "/uploads/", {**TUS, "Upload-Length": 10**15})
    assert response.status == 507
    assert response.problem["code"] == "storage-full"
    assert int(response.headers["retry-after"]) > 0
    assert "promised" in response.problem["detail"]


def test_a_disk_that_fills_up_in_mid_body_keeps_what_fits(client: TusClient, server: PenstockServer) -> None:
    size, limit = 24 * MIB, 16 * MIB + 123
    body = random.Random(6).randbytes(size)
    path = client.create(size)
    # The kernel refuses to let files of the server grow any further, as it does on a full disk.
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        response = client.patch(path, 0, body)
        assert response.status == 507
        assert "make room" in response.problem["detail"]
        assert client.offset(path) == limit
        assert client.patch(path, limit, body[limit:]).status == 507
        assert client.offset(path) == limit
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)
    assert client.patch(path, limit, body[limit:]).status == 204
    assert staged(server, path).read_bytes() == body


def test_an_upload_goes_on_after_kill_9(tmp_path: Path) -> None:
    with PenstockServer(tmp_path, **STAY) as server:
        client = TusClient(server.port)
        fresh = client.create(len(BODY))
        path = client.create(len(BODY))
        with begin(client, path, 0, len(BODY)) as connection:
            connection.send(BODY[:HALF])
            within(60, lambda: staged(server, path).stat().st_size >= MIB)
            server.kill()
        server.start()
        began_at = time.monotonic()
        assert client.offset(path) >= MIB
        assert client.offset(fresh) == 0
        assert time.monotonic() - began_at < 50
        for one in (path, fresh):
            finish(client, server, one)


def test_unverified_bytes_do_not_survive_kill_9(tmp_path: Path) -> None:
    with PenstockServer(tmp_path, **STAY) as server:
        client = TusClient(server.port)
        path = client.create(len(BODY))
        assert client.patch(path, 0, BODY[:5]).status == 204
        with client.connect() as connection:
            checksum = {"Upload-Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="}
            connection.head("PATCH", path, {**BYTES, "Upload-Offset": 5, "Content-Length": 2 * MIB, **checksum})
            connection.send(bytes(2 * MIB - 1))
            within(60, lambda: staged(server, path).stat().st_size > 5)
            server.kill()
        server.start()
        assert client.offset(path) == 5
        finish(client, server, path)


def test_what_is_put_together_from_parts_goes_on_after_kill_9(tmp_path: Path) -> None:
    part, times = random.Random(9).randbytes(8 * MIB), 8
    with PenstockServer(tmp_path, PENSTOCK_ASYNC_UPLOADS="false") as server:
        client = TusClient(server.port)
        path = client.create(len(part), Upload_Concat="partial")
        assert client.patch(path, 0, part).status == 204
        final = {**TUS, "Upload-Concat": f"final;{' '.join([path] * times)}"}

        def ask() -> None:
            with suppress(OSError, AssertionError):
                client.request("POST", "/uploads/", final)

        asking = threading.Thread(target=ask)
        begun = len(server.staging)
        asking.start()
        within(60, lambda: len(server.staging) > begun or not asking.is_alive())
        server.kill()
        asking.join()
        server.start()
        again = client.request("POST", "/uploads/", final)
        assert again.status == 201
        upload_id = again.headers["location"].rpartition("/")[2]
        listed = httpx.get(f"{server.url}/api/v1/uploads").json()["uploads"]
        assert {upload["id"] for upload in listed} == {upload_id, path.rpartition("/")[2]}
        content = f"{server.url}/api/v1/files/{upload_id}/content"
        within(60, lambda: httpx.head(content).status_code == 200)
        assert hashlib.sha256(httpx.get(content).content).digest() == hashlib.sha256(part * times).digest()


def test_sigterm_ends_requests_that_wait_for_bytes_and_keeps_theirs(tmp_path: Path) -> None:
    with PenstockServer(tmp_path, **STAY, PENSTOCK_GRACE_PERIOD="100s") as server:
        client = TusClient(server.port)
        path = client.create(len(BODY))
        with begin(client, path, 0, len(BODY)) as connection:
            connection.send(BODY[:HALF])
            within(60, lambda: staged(server, path).stat().st_size >= MIB)
            began_at = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began_at < 50
            response = connection.response()
            assert response.status == 503
            assert response.problem["code"] == "ending"
        server.start()
        assert client.offset(path) == HALF
        finish(client, server, path)


def test_memory_does_not_grow_with_the_upload(client: TusClient, server: PenstockServer) -> None:
    process = psutil.Process(server.pid)
    size = 512 * MIB
    path = client.create(size)
    digest, most = hashlib.sha256(), 0
    with begin(client, path, 0, size) as connection:
        for number in range(size // len(BODY) + 1):
            piece = BODY[: min(len(BODY), size - number * len(BODY))]
            connection.send(piece)
            digest.update(piece)
            most = max(most, process.memory_info().rss)
        assert connection.response().status == 204
    assert most < 150 * MIB
    with staged(server, path).open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == digest.digest()
    assert client.request("DELETE", path, TUS).status == 204
