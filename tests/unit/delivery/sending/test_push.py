"""Pushing a file to real receivers: ours, and servers that are told how to behave."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from penstock.blobs.local import LocalBlobs
from penstock.clock import SystemClock
from penstock.delivery.sending.base import NotDelivered
from penstock.delivery.sending.digests import Digests
from penstock.delivery.sending.push import Pushing, PushWay
from penstock.delivery.sending.targets import Targets
from penstock.events.types import StartPostprocessingStep
from tests.servers.nginx import running_nginx
from tests.servers.receiver import Receiver, running_receiver

BODY = random.Random(3).randbytes(3_000_000)
UPLOAD = "a" * 32


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    async with LocalBlobs(tmp_path / "blobs") as blobs:
        await blobs.create(UPLOAD)
        async with blobs.append(UPLOAD, 0) as appender:
            await appender.write(BODY)
        yield blobs


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with running_receiver(tmp_path_factory.mktemp("receiver"), secret="s3cret") as receiver:
        yield receiver


def pushing(blobs: LocalBlobs, **more: Any) -> Pushing:
    how: dict[str, Any] = {
        "targets": Targets(["127.0.0.1"]),
        "clock": SystemClock(),
        "tls": True,
        "secret": "s3cret",
        "tries": 3,
        "stall_limit": timedelta(seconds=5),
    }
    return Pushing(blobs=blobs, digests=Digests(blobs), **(how | more))


def start(size_bytes: int = len(BODY)) -> StartPostprocessingStep:
    return StartPostprocessingStep(upload_id=UPLOAD, filesize=size_bytes, step_to_start="ocr")


class Reports(list[tuple[float | None, str]]):
    def take(self, fraction: float | None, message: str) -> None:
        self.append((fraction, message))


async def test_the_file_arrives_whole(blobs: LocalBlobs, receiver: Receiver) -> None:
    start_id, reports = str(uuid.uuid4()), Reports()
    url = await PushWay(receiver.url, pushing(blobs)).address(start(), start_id, reports.take)
    assert url == f"{receiver.url}/{start_id}"
    assert (receiver.folder / start_id).read_bytes() == BODY
    assert reports[-1][0] == 1.0
    # Once more does nothing: it is there.
    before = (receiver.folder / start_id).stat().st_ino
    await PushWay(receiver.url, pushing(blobs)).address(start(), start_id, reports.take)
    assert (receiver.folder / start_id).stat().st_ino == before


async def test_it_goes_on_where_it_was(blobs: LocalBlobs, receiver: Receiver) -> None:
    start_id, reports = str(uuid.uuid4()), Reports()
    (receiver.folder / f".{start_id}.part").write_bytes(BODY[:2_000_000])
    await PushWay(receiver.url, pushing(blobs)).address(start(), start_id, reports.take)
    assert (receiver.folder / start_id).read_bytes() == BODY
    sent = [fraction for fraction, message in reports if message.startswith("sent")]
    assert sent[0] is not None
    assert sent[0] > 0.66


async def test_a_part_of_something_else_is_sent_again(blobs: LocalBlobs, receiver: Receiver) -> None:
    start_id = str(uuid.uuid4())
    (receiver.folder / f".{start_id}.part").write_bytes(b"x" * 1000)
    await PushWay(receiver.url, pushing(blobs)).address(start(), start_id, Reports().take)
    assert (receiver.folder / start_id).read_bytes() == BODY


async def test_a_wrong_secret_is_refused_at_once(blobs: LocalBlobs, receiver: Receiver) -> None:
    start_id = str(uuid.uuid4())
    with pytest.raises(NotDelivered, match=r"tried once; the last time, it answered 401 Unauthorized") as found:
        await PushWay(receiver.url, pushing(blobs, secret="other")).address(start(), start_id, Reports().take)
    assert "other" not in str(found.value)
    assert not list(receiver.folder.glob(f"*{start_id}*"))


class Unruly(BaseHTTPRequestHandler):
    """Does what `script` says, one request after the other."""

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def do_PUT(self) -> None:
        server: Any = self.server
        server.requests.append(dict(self.headers))
        status = server.script.pop(0) if server.script else 201
        if status == "cut":
            self.rfile.read(1000)
            self.close_connection = True
            return
        if status == "hang":
            server.ending.wait(20)
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.bodies.append(hashlib.sha256(body).hexdigest())
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        del arguments


@contextmanager
def unruly(*script: int | str) -> Iterator[Any]:

    with ThreadingHTTPServer(("127.0.0.1", 0), Unruly) as server:
        running: Any = server
        running.script, running.requests, running.bodies, running.ending = list(script), [], [], Event()
        running.daemon_threads, running.block_on_close = True, False
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield running
        finally:
            running.ending.set()
            server.shutdown()
            thread.join()


def to(server: Any, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{server.server_port}/in"


async def test_what_passes_is_tried_again(blobs: LocalBlobs) -> None:
    with unruly(503, "cut", 201) as server:
        await PushWay(to(server), pushing(blobs)).address(start(), str(uuid.uuid4()), Reports().take)
        assert server.bodies[-1] == hashlib.sha256(BODY).hexdigest()
    assert len(server.requests) == 3
    assert server.requests[0]["Penstock-Upload"] == UPLOAD
    assert server.requests[0]["Authorization"] == "Bearer s3cret"


async def test_what_does_not_pass_is_said(blobs: LocalBlobs) -> None:
    with unruly(503, 503, 503) as server:
        way = PushWay(to(server), pushing(blobs))
        with pytest.raises(NotDelivered, match=r"127\.0\.0\.1:\d+: tried 3 times in \d+ s; .* 503 Service Unavailable"):
            await way.address(start(), str(uuid.uuid4()), Reports().take)


async def test_a_receiver_that_hangs_is_given_up(blobs: LocalBlobs) -> None:
    with unruly("hang") as server:
        way = PushWay(to(server), pushing(blobs, tries=1, stall_limit=timedelta(seconds=0.5)))
        with pytest.raises(NotDelivered, match="tried once"):
            await way.address(start(), str(uuid.uuid4()), Reports().take)


async def test_no_redirect_is_followed(blobs: LocalBlobs) -> None:
    with unruly(302) as server:
        with pytest.raises(NotDelivered, match="answered 302 Found, which is not followed"):
            await PushWay(to(server), pushing(blobs)).address(start(), str(uuid.uuid4()), Reports().take)
        assert len(server.requests) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433"])
async def test_nothing_is_sent_where_it_must_not_be(blobs: LocalBlobs, host: str) -> None:
    with unruly() as server:
        with pytest.raises(NotDelivered, match=r"tried once; .*not out in the world"):
            await PushWay(to(server, host), pushing(blobs, targets=Targets())).address(
                start(), str(uuid.uuid4()), Reports().take
            )
        assert server.requests == []


async def test_the_checked_address_is_connected_to_under_its_name(blobs: LocalBlobs) -> None:
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    with unruly() as server:
        targets = Targets(["127.0.0.1"], resolve=resolve)
        await PushWay(to(server, "worker.test"), pushing(blobs, targets=targets)).address(
            start(), str(uuid.uuid4()), Reports().take
        )
        assert asked == [("worker.test", server.server_port)]
        assert server.requests[0]["Host"] == f"worker.test:{server.server_port}"


async def test_a_damaged_file_is_not_sent(blobs: LocalBlobs) -> None:
    with unruly() as server:
        with pytest.raises(NotDelivered, match="damaged"):
            await PushWay(to(server), pushing(blobs)).address(start(5), str(uuid.uuid4()), Reports().take)
        assert server.requests == []


async def test_a_plain_web_server_takes_files_too(blobs: LocalBlobs, tmp_path: Path) -> None:
    """No Upload-Offset, no digest: the whole file, each time."""
    with running_nginx(tmp_path / "nginx") as nginx:
        start_id = str(uuid.uuid4())
        for _ in range(2):
            await PushWay(nginx.url, pushing(blobs)).address(start(), start_id, Reports().take)
            assert (nginx.folder / start_id).read_bytes() == BODY
