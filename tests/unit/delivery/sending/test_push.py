"""Pushing a file to real receivers: ours, and servers that are told how to behave."""

from __future__ import annotations

import hashlib
import io
import random
import socket
import ssl
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import pytest
from multipart import MultipartParser  # type: ignore[import-untyped]

from penstock.blobs.base import BlobMissing, BlobUnavailable
from penstock.blobs.local import LocalBlobs
from penstock.clock import SystemClock
from penstock.delivery.pushed import written_digest
from penstock.delivery.sending.base import NotDelivered, Report
from penstock.delivery.sending.digests import Digests
from penstock.delivery.sending.parcel import Manner
from penstock.delivery.sending.posting import Posting, form_around
from penstock.delivery.sending.push import Pushing, PushWay
from penstock.delivery.sending.putting import Putting
from penstock.delivery.sending.targets import Targets
from penstock.errors import PenstockError
from penstock.events.types import StartPostprocessingStep
from penstock.testing import eventually
from tests.servers.nats import Certificate
from tests.servers.nginx import running_nginx
from tests.servers.ports import free_port
from tests.servers.receiver import Receiver, running_receiver
from tests.servers.web import QuietHandler, serving

BODY = random.Random(3).randbytes(3_000_000)
UPLOAD = "a" * 32


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no worker that is played by a test."""
    monkeypatch.setattr("penstock.delivery.sending.push._FIRST_PAUSE_SECONDS", 0.001)


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
        "stall_limit": timedelta(seconds=60),
    }
    return Pushing(blobs=blobs, digests=Digests(blobs), **(how | more))


def put(url: str, blobs: LocalBlobs, **more: Any) -> PushWay:
    return PushWay(url, pushing(blobs, **more), Putting())


def start(size_bytes: int = len(BODY)) -> StartPostprocessingStep:
    return StartPostprocessingStep(upload_id=UPLOAD, filename="a b.bin", filesize=size_bytes, step_to_start="ocr")


class Reports(list[tuple[float | None, str]]):
    def take(self, fraction: float | None, message: str) -> None:
        self.append((fraction, message))


async def test_the_file_arrives_whole(blobs: LocalBlobs, receiver: Receiver) -> None:
    start_id, reports = str(uuid.uuid4()), Reports()
    url = await put(receiver.url, blobs).address(start(), start_id, reports.take)
    assert url == f"{receiver.url}/{start_id}"
    assert (receiver.folder / start_id).read_bytes() == BODY
    assert reports[-1][0] == 1.0
    # Once more does nothing: it is there.
    before = (receiver.folder / start_id).stat().st_ino
    await put(receiver.url, blobs).address(start(), start_id, reports.take)
    assert (receiver.folder / start_id).stat().st_ino == before


async def test_it_goes_on_where_it_was(blobs: LocalBlobs, receiver: Receiver) -> None:
    start_id, reports = str(uuid.uuid4()), Reports()
    (receiver.folder / f".{start_id}.part").write_bytes(BODY[:2_000_000])
    await put(receiver.url, blobs).address(start(), start_id, reports.take)
    assert (receiver.folder / start_id).read_bytes() == BODY
    sent = [fraction for fraction, message in reports if message.startswith("sent")]
    assert sent[0] is not None
    assert sent[0] > 0.66


async def test_what_is_all_there_is_not_sent_again(blobs: LocalBlobs, receiver: Receiver) -> None:
    """The connection, or the receiver, ended before the answer."""
    start_id, reports = str(uuid.uuid4()), Reports()
    (receiver.folder / f".{start_id}.part").write_bytes(BODY)
    await put(receiver.url, blobs).address(start(), start_id, reports.take)
    assert (receiver.folder / start_id).read_bytes() == BODY
    assert not [message for _, message in reports if message.startswith("sent")]


async def test_a_part_of_something_else_is_sent_again(blobs: LocalBlobs, receiver: Receiver) -> None:
    start_id = str(uuid.uuid4())
    (receiver.folder / f".{start_id}.part").write_bytes(b"x" * 1000)
    await put(receiver.url, blobs).address(start(), start_id, Reports().take)
    assert (receiver.folder / start_id).read_bytes() == BODY


async def test_a_wrong_secret_is_refused_at_once(blobs: LocalBlobs, receiver: Receiver) -> None:
    start_id = str(uuid.uuid4())
    with pytest.raises(NotDelivered, match=r"tried once; the last time, it answered 401 Unauthorized") as found:
        await put(receiver.url, blobs, secret="other").address(start(), start_id, Reports().take)
    assert "other" not in str(found.value)
    assert not list(receiver.folder.glob(f"*{start_id}*"))


class Unruly(QuietHandler):
    """Does what `script` says, one request after the other."""

    def do_HEAD(self) -> None:
        server: Any = self.server
        known = server.known.pop(0) if server.known else None
        self.send_response(404 if known is None else 204)
        for name, value in (known or {}).items():
            self.send_header(name, value)
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
            server.ending.wait(120)
            return
        if isinstance(status, str) and status.startswith("at once "):
            self.send_response(int(status.removeprefix("at once ")))
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"no!")
            server.ending.wait(120)
            return
        if isinstance(status, str) and status.startswith("interim "):
            for _ in range(int(status.removeprefix("interim "))):
                self.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            status = 201
        if status == "endless":
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.talk()
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.raw.append(body)
        server.bodies.append(hashlib.sha256(body).hexdigest())
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
        self.end_headers()

    do_POST = do_PUT

    def talk(self) -> None:
        """Answer for as long as somebody listens, and note how much of it was taken."""
        server: Any = self.server
        self.send_response(500)
        self.end_headers()
        with suppress(OSError):
            while not server.ending.is_set() and server.talked_bytes < 64 * 1024 * 1024:
                self.wfile.write(b"<script>" * 8192)
                server.talked_bytes += 65536


@contextmanager
def unruly(*script: int | str) -> Iterator[Any]:
    with serving(Unruly) as server:
        running: Any = server
        running.raw, running.talked_bytes, running.known = [], 0, []
        running.script, running.requests, running.bodies, running.ending = list(script), [], [], Event()
        try:
            yield running
        finally:
            running.ending.set()


def to(server: Any, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{server.server_port}/in"


async def test_a_receiver_that_still_reads_what_it_has_is_waited_for(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was started anew since the file came, and the file is large."""
    monkeypatch.setattr("penstock.delivery.sending.putting._PAUSE_SECONDS", 0.0)
    there = {"Upload-Offset": str(len(BODY)), "Upload-Complete": "?1"}
    digest = written_digest(hashlib.sha256(BODY).hexdigest())
    with unruly() as server:
        server.known = [{**there, "Retry-After": "1"}, {**there, "Retry-After": "1"}, {**there, "Repr-Digest": digest}]
        await put(to(server), blobs).address(start(), str(uuid.uuid4()), Reports().take)
    assert (server.known, server.bodies) == ([], [])


async def test_what_passes_is_tried_again(blobs: LocalBlobs) -> None:
    with unruly(503, "cut", 201) as server:
        await put(to(server), blobs).address(start(), str(uuid.uuid4()), Reports().take)
        assert server.bodies[-1] == hashlib.sha256(BODY).hexdigest()
    assert len(server.requests) == 3
    assert server.requests[0]["Penstock-Upload"] == UPLOAD
    assert server.requests[0]["Authorization"] == "Bearer s3cret"


async def test_what_does_not_pass_is_said(blobs: LocalBlobs) -> None:
    with unruly(503, 503, 503) as server:
        way = put(to(server), blobs)
        reports = Reports()
        with pytest.raises(
            NotDelivered, match=r"127\.0\.0\.1:\d+: tried 3 times in \d+ s; .* 503 Service Unavailable"
        ) as found:
            await way.address(start(), str(uuid.uuid4()), reports.take)
    # Uploaders learn why, and not which machines there are.
    assert found.value.told.startswith("the file could not reach the worker: tried 3 times in ")
    assert found.value.told.endswith("the last time, it answered 503 Service Unavailable")
    assert not any("127.0.0.1" in message for _, message in reports)


async def test_what_a_worker_answers_is_not_read_without_end(blobs: LocalBlobs) -> None:
    with unruly("endless") as server:
        with pytest.raises(NotDelivered, match="it answered 500 Internal Server Error: '<script>") as found:
            await put(to(server), blobs, tries=1).address(start(), str(uuid.uuid4()), Reports().take)
        assert server.talked_bytes < 16 * 1024 * 1024  # what the system's buffers hold
    assert len(str(found.value)) < 500
    assert "script" not in found.value.told


@contextmanager
def hasty(answer: str) -> Iterator[Any]:
    """A worker that answers before it has read a file, of which no more than a little fits into its connection."""
    with unruly(f"at once {answer}") as server:
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        yield server


@pytest.mark.parametrize("manner", [Putting(), Posting()])
async def test_a_refusal_is_heard_while_the_file_is_being_sent(blobs: LocalBlobs, manner: Manner) -> None:
    said = r"tried once; .* 413 Request Entity Too Large: 'no!'"
    with hasty("413") as server, pytest.raises(NotDelivered, match=said) as found:
        await PushWay(to(server), pushing(blobs), manner).address(start(), str(uuid.uuid4()), Reports().take)
    assert found.value.told.endswith("tried once; the last time, it answered 413 Request Entity Too Large")


async def test_a_file_that_was_not_all_sent_was_not_taken(blobs: LocalBlobs) -> None:
    said = "it answered 201 Created: 'no!', before it had all of the file"
    with hasty("201") as server, pytest.raises(NotDelivered, match=said) as found:
        await put(to(server), blobs, tries=1).address(start(), str(uuid.uuid4()), Reports().take)
    assert found.value.told.endswith("it answered 201 Created, before it had all of the file")


async def test_interim_answers_are_passed_over_but_not_without_end(blobs: LocalBlobs) -> None:
    """aiohttp would take them for as long as they come, and do nothing else meanwhile."""
    with unruly("interim 3", "interim 1000") as server:
        await put(to(server), blobs, tries=1).address(start(), str(uuid.uuid4()), Reports().take)
        with pytest.raises(NotDelivered, match="what it answers is not HTTP"):
            await put(to(server), blobs, tries=1).address(start(), str(uuid.uuid4()), Reports().take)


async def test_an_answer_may_have_long_fields(blobs: LocalBlobs) -> None:
    with unruly() as server:
        server.known = [{"Set-Cookie": "x" * 30_000}]
        await put(to(server), blobs, tries=1).address(start(), str(uuid.uuid4()), Reports().take)


async def test_nobody_there_is_said_without_where(blobs: LocalBlobs) -> None:
    with pytest.raises(NotDelivered) as found:
        await put(f"http://127.0.0.1:{free_port()}/files", blobs, tries=1).address(
            start(), str(uuid.uuid4()), Reports().take
        )
    assert found.value.told.endswith("tried once; the last time, nobody could be reached there")


async def test_a_name_that_means_another_machine_at_the_next_try_is_refused(blobs: LocalBlobs) -> None:
    """DNS rebinding between two tries: each one is checked."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])

    async def resolve(host: str, port: int) -> list[str]:
        del host, port
        return next(answers)

    with unruly(503, 201) as server:
        targets = Targets(["127.0.0.1"], resolve=resolve)
        with pytest.raises(
            NotDelivered, match=r"tried 2 times .*169\.254\.169\.254.* is not out in the world"
        ) as found:
            await put(to(server, "worker.test"), blobs, targets=targets).address(
                start(), str(uuid.uuid4()), Reports().take
            )
        assert len(server.requests) == 1
    assert "169" not in found.value.told


async def test_a_form_has_the_facts_and_then_the_file(blobs: LocalBlobs) -> None:
    start_id = str(uuid.uuid4())
    with unruly(503, 200) as server:
        url = await PushWay(to(server), pushing(blobs), Posting()).address(start(), start_id, Reports().take)
    assert url == f"{to(server)}/{start_id}"
    whole = server.requests[1]
    parser = MultipartParser(io.BytesIO(server.raw[1]), whole["Content-Type"].partition("boundary=")[2])
    parts = list(parser)
    assert [part.name for part in parts] == ["upload", "step", "start", "sha256", "size", "filename", "file"]
    told = {part.name: part.value for part in parts[:-1]}
    assert (told["start"], told["sha256"]) == (start_id, hashlib.sha256(BODY).hexdigest())
    assert (parts[-1].filename, parts[-1].raw) == ("a b.bin", BODY)
    for part in parts:
        part.close()


async def test_our_receiver_takes_forms(blobs: LocalBlobs, receiver: Receiver) -> None:
    start_id = str(uuid.uuid4())
    await PushWay(receiver.url, pushing(blobs), Posting()).address(start(), start_id, Reports().take)
    assert (receiver.folder / start_id).read_bytes() == BODY


def test_names_cannot_break_out_of_a_form() -> None:
    before, _ = form_around("x", {}, 'a"\r\n\r\nb')
    assert b'filename="a%22%0D%0A%0D%0Ab"\r\n' in before


@pytest.mark.parametrize("worker", ["hang", "at once 413"])
async def test_a_receiver_that_hangs_is_given_up_and_its_line_cut(blobs: LocalBlobs, worker: str) -> None:
    with unruly(worker) as server:
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        way = put(to(server), blobs, tries=1, stall_limit=timedelta(seconds=0.5))
        with pytest.raises(NotDelivered, match="tried once"):
            await way.address(start(), str(uuid.uuid4()), Reports().take)
        await eventually(lambda: lines_to(server.server_port) == 0)


def lines_to(port: int) -> int:
    """Count the connections of this process to a server."""
    lines = psutil.Process().net_connections("tcp4")
    return sum(getattr(line.raddr, "port", None) == port for line in lines)  # who listens has nobody there


async def test_no_redirect_is_followed(blobs: LocalBlobs) -> None:
    with unruly(302) as server:
        with pytest.raises(NotDelivered, match="answered 302 Found, which is not followed"):
            await put(to(server), blobs).address(start(), str(uuid.uuid4()), Reports().take)
        assert len(server.requests) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433"])
async def test_nothing_is_sent_where_it_must_not_be(blobs: LocalBlobs, host: str) -> None:
    with unruly() as server:
        with pytest.raises(NotDelivered, match=r"tried once; .*not out in the world"):
            await put(to(server, host), blobs, targets=Targets()).address(start(), str(uuid.uuid4()), Reports().take)
        assert server.requests == []


async def test_the_checked_address_is_connected_to_under_its_name(blobs: LocalBlobs) -> None:
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    with unruly() as server:
        targets = Targets(["127.0.0.1"], resolve=resolve)
        await put(to(server, "worker.test"), blobs, targets=targets).address(start(), str(uuid.uuid4()), Reports().take)
        assert asked == [("worker.test", server.server_port)]
        assert server.requests[0]["Host"] == f"worker.test:{server.server_port}"


async def test_another_address_of_the_host_is_taken_where_one_cannot_be_reached(blobs: LocalBlobs) -> None:
    """Such as a host that has an address in IPv6, and a receiver that only listens in IPv4."""

    async def resolve(host: str, port: int) -> list[str]:
        del host, port
        return ["127.0.0.2", "127.0.0.1"]

    with unruly() as server:
        targets = Targets(["127.0.0.0/8"], resolve=resolve)
        await put(to(server, "worker.test"), blobs, targets=targets, tries=1).address(
            start(), str(uuid.uuid4()), Reports().take
        )
        assert server.bodies == [hashlib.sha256(BODY).hexdigest()]


async def test_a_certificate_has_to_be_that_of_the_name_and_not_of_the_address(
    blobs: LocalBlobs, tmp_path: Path
) -> None:
    certificate = Certificate.make(tmp_path)  # for 127.0.0.1
    trusting = ssl.create_default_context(cafile=certificate.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)

    async def resolve(host: str, port: int) -> list[str]:
        del host, port
        return ["127.0.0.1"]

    with unruly() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        how: dict[str, Any] = {"targets": Targets(["127.0.0.1"], resolve=resolve), "tries": 1}
        url = to(server).replace("http:", "https:")
        with pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED") as found:
            await put(url.replace("127.0.0.1", "worker.test"), blobs, tls=trusting, **how).address(
                start(), str(uuid.uuid4()), Reports().take
            )
        assert found.value.told.endswith("its certificate is not one that is trusted")
        await put(url, blobs, tls=trusting, **how).address(start(), str(uuid.uuid4()), Reports().take)
    assert len(server.requests) == 1


@pytest.mark.parametrize("failure", [BlobUnavailable("the disk is away"), BlobMissing(UPLOAD)])
async def test_bytes_that_cannot_be_read_are_not_the_worker_s_fault(blobs: LocalBlobs, failure: PenstockError) -> None:
    class Failing(Digests):
        async def of(self, upload_id: str, size_bytes: int, report: Report) -> str:
            found = await super().of(upload_id, size_bytes, report)
            blobs.read = broken  # type: ignore[method-assign]
            return found

    async def broken(upload_id: str, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        del upload_id, start, stop
        yield b"some"
        raise failure

    with unruly() as server:
        how = pushing(blobs, tries=1)._replace(digests=Failing(blobs))
        with pytest.raises((NotDelivered, BlobMissing)) as found:
            await PushWay(to(server), how, Putting()).address(start(), str(uuid.uuid4()), Reports().take)
    if isinstance(failure, BlobUnavailable):
        assert "the disk is away" in str(found.value)
        assert isinstance(found.value, NotDelivered)
        assert found.value.told.endswith("the file could not be read from the storage")
    else:
        assert found.value is failure


async def test_a_damaged_file_is_not_sent(blobs: LocalBlobs) -> None:
    with unruly() as server:
        with pytest.raises(NotDelivered, match="damaged"):
            await put(to(server), blobs).address(start(5), str(uuid.uuid4()), Reports().take)
        assert server.requests == []


async def test_a_plain_web_server_takes_files_too(blobs: LocalBlobs, tmp_path: Path) -> None:
    """No Upload-Offset, no digest: the whole file, each time."""
    with running_nginx(tmp_path / "nginx") as nginx:
        start_id = str(uuid.uuid4())
        for _ in range(2):
            await put(nginx.url, blobs).address(start(), start_id, Reports().take)
            assert (nginx.folder / start_id).read_bytes() == BODY
