"""Scanners that do what they should not, end to end: whatever they do, only files that they call clean are readable.

`penstock serve` has a clamd, and then an ICAP server, that goes wrong in the way that a file names in its first bytes.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from penstock.antivirus.eicar import eicar
from tests.servers.fake_icap import CLEAN, INFECTED, Peer, running_fake
from tests.servers.penstock import PenstockServer
from tests.unit.antivirus.clamav.fake_clamd import fake_clamd, read_exactly, read_stream

if TYPE_CHECKING:
    from tests.servers.fake_icap import Request

Behaviour: TypeAlias = Callable[..., Any]
Running: TypeAlias = "tuple[str, PenstockServer, Counter[str], dict[str, str]]"

SIZE_BYTES = 300_000
"""More than a preview, and than one chunk of a stream."""
SCAN_SECONDS = 4
"""Less than the 5 s for which it is waited that a clamd closes the connection behind its answer."""
TRIES = 2
BOUND_SECONDS = 150
"""By when everything has ended, on a machine that has a lot else to do: all tries, the pauses between, and as much."""


class Expected(NamedTuple):
    phase: str
    reason: str
    """What people are told."""
    tries: int = 1


NO_ANSWER = "gave up after"
RELEASED, DELETED = Expected("released", ""), Expected("deleted", "infected")


def failed(reason: str) -> Expected:
    """Nothing is known about the file: it is tried again, then kept unreadable."""
    return Expected("rejected", reason, TRIES)


CLAMAV: dict[str, Expected] = {
    "error": failed("Can't allocate memory"),
    "unknown": failed("UNKNOWN COMMAND"),
    "garbage": failed("not an answer"),
    "closes": failed("without"),
    "resets": failed(""),
    "silence": failed(NO_ANSWER),
    "half": failed(NO_ANSWER),
    "unread": failed(""),
    "limit": Expected("rejected", "not scanned"),
    "slowly-clean": RELEASED,
    "slowly-infected": DELETED,
    # clamd closes the connection behind each answer; that shows that it has left nothing unread.
    "endless-clean": failed(""),
    "endless-infected": failed(""),
}
ICAP: dict[str, Expected] = {
    "404": failed("antivirus_icap_service"),
    "500": failed("could not scan"),
    "206": failed("no answer to a scan"),
    "garbage": failed("not ICAP"),
    "closes": failed("without an answer"),
    "resets": failed("broke"),
    "silence": failed(NO_ANSWER),
    "half": failed(NO_ANSWER),
    "deaf": failed(NO_ANSWER),
    "unread": Expected("rejected", "did not want to see all"),
    "sent-back": Expected("rejected", "without a verdict"),
    "slowly-clean": RELEASED,
    "slowly-infected": DELETED,
    "endless-clean": RELEASED,
    "endless-infected": DELETED,
}


def file_for(fault: str) -> bytes:
    """Return a file that makes a scanner go wrong; infected, unless it is to be called clean."""
    inside = b"harmless" if fault.endswith("clean") else eicar()
    return f"fault={fault};".encode().ljust(100) + inside + bytes(SIZE_BYTES)


def fault_of(data: bytes) -> str:
    found = re.match(rb"fault=([a-z0-9-]+);", data)
    return found[1].decode() if found else ""


def clamd_behaving(scans: Counter[str]) -> Callable[[socket.socket], None]:
    answers = {
        "error": b"stream: Can't allocate memory ERROR\0",
        "unknown": b"UNKNOWN COMMAND\0",
        "garbage": b"\xff\x00 what?\0",
        "limit": b"INSTREAM size limit exceeded. ERROR\0",
        "half": b"stream: O",
        "closes": b"",
        "silence": b"",
    }

    def behave(connection: socket.socket) -> None:
        length = int.from_bytes(read_exactly(connection, 4), "big")
        data = read_exactly(connection, min(length, 100))
        fault = fault_of(data)
        scans[fault] += 1
        if fault == "resets":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        if fault == "unread":
            connection.sendall(b"stream: OK\0")
            return
        data += read_exactly(connection, length - len(data)) + read_stream(connection)
        answer = answers.get(fault, b"stream: Eicar FOUND\0" if eicar() in data else b"stream: OK\0")
        pieces = [answer[at : at + 1] for at in range(len(answer))] if fault.startswith("slowly") else [answer]
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        if fault in ("silence", "half") or fault.startswith("endless"):
            connection.recv(1)  # until the client goes away

    return behave


def icap_behaving(scans: Counter[str]) -> Behaviour:
    http = b"POST / HTTP/1.1\r\n\r\n"
    back = b'ICAP/1.0 200 OK\r\nISTag: "one"\r\nEncapsulated: req-hdr=0, req-body=%d\r\n\r\n' % len(http) + http
    answers = {
        "404": b"ICAP/1.0 404 Service not found\r\n\r\n",
        "500": b"ICAP/1.0 500 Server error\r\n\r\n",
        "206": b'ICAP/1.0 206 Partial Content\r\nISTag: "one"\r\nEncapsulated: null-body=0\r\n\r\n',
        "garbage": b"\xff\x00 what?",
        "half": CLEAN[:-2],
        "closes": b"",
        "silence": b"",
    }

    async def answer_of(peer: Peer, request: Request, fault: str) -> bytes:
        if fault == "unread":
            return CLEAN
        request.data += await peer.rest(request)
        if fault == "sent-back":
            return back + b"%x\r\n%b\r\n0\r\n\r\n" % (len(request.data), request.data)
        return answers.get(fault, INFECTED if eicar() in request.data else CLEAN)

    async def behave(peer: Peer) -> None:
        request = await peer.request(go_on=False)
        fault = fault_of(request.data)
        scans[fault] += 1
        if fault == "resets":
            peer.reset()
            return
        if fault == "deaf":
            await peer.say(b"ICAP/1.0 100 Continue\r\n\r\n")
            await asyncio.Event().wait()
        answer = await answer_of(peer, request, fault)
        peer.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(answer), 1 if fault.startswith("slowly") else max(1, len(answer))):
            await peer.say(answer[at : at + 1] if fault.startswith("slowly") else answer)
        if fault in ("silence", "half"):
            await asyncio.Event().wait()
        if fault.startswith("endless"):
            await behave(peer)  # the connection stays open, for whatever comes next

    return behave


@contextmanager
def faulty_scanner(kind: str, scans: Counter[str]) -> Iterator[dict[str, str]]:
    """Run one; yields how to use it."""
    if kind == "clamav":
        with fake_clamd(None, clamd_behaving(scans)) as clamd:
            yield {"ANTIVIRUS_CLAMAV_SOCKET": clamd.address, "PENSTOCK_ANTIVIRUS_CLAMAV_MAX_FILE_SIZE": "1MiB"}
    else:
        fake = running_fake(icap_behaving(scans))
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(fake) as icap:
            yield {"ANTIVIRUS_ICAP_URL": icap.url, "PENSTOCK_ANTIVIRUS_ICAP_MAX_FILE_SIZE": "1MiB"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Running]]:
    """Run a server with a faulty scanner, and send it all files at once."""
    started: dict[str, Running] = {}
    with ExitStack() as stack:

        def run(kind: str) -> Running:
            if kind not in started:
                scans: Counter[str] = Counter()
                environment = stack.enter_context(faulty_scanner(kind, scans)) | {
                    "ANTIVIRUS_SCANNER_TYPE": kind,
                    "ANTIVIRUS_WORKERS": "50",
                    "PENSTOCK_ANTIVIRUS_SCAN_TIMEOUT": f"{SCAN_SECONDS}s",
                    "PENSTOCK_ANTIVIRUS_BREAKER_FAILURES": "1000",
                    "POSTPROCESSING_MAX_RETRIES": str(TRIES - 1),
                    "POSTPROCESSING_RETRY_BACKOFF_DURATION": "100ms",
                }
                server = stack.enter_context(PenstockServer(tmp_path_factory.mktemp(kind), **environment))
                faults = CLAMAV if kind == "clamav" else ICAP
                started[kind] = (kind, server, scans, {fault: sent(server, fault) for fault in faults})
            return started[kind]

        yield run


def sent(server: PenstockServer, fault: str) -> str:
    answer = httpx.put(f"{server.url}/files/{fault}", content=file_for(fault), trust_env=False)
    assert answer.status_code == 202
    return str(answer.json()["id"])


@pytest.mark.parametrize(
    ("kind", "fault"), [*(("clamav", fault) for fault in CLAMAV), *(("icap", fault) for fault in ICAP)]
)
def test_what_becomes_of_a_file(running: Callable[[str], Running], kind: str, fault: str) -> None:
    _, server, scans, sent_files = running(kind)
    expected, upload_id = (CLAMAV if kind == "clamav" else ICAP)[fault], sent_files[fault]
    paths = (f"/files/{fault}", f"/api/v1/files/{upload_id}/content")
    ends_at = time.monotonic() + BOUND_SECONDS
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        while True:
            view = client.get(f"/api/v1/uploads/{upload_id}").json()
            statuses = [client.get(path).status_code for path in paths]
            if expected is not RELEASED:
                assert min(statuses) >= 400
            if view["phase"] != "processing":
                break
            assert time.monotonic() < ends_at, view
            time.sleep(0.02)
        assert view["phase"] == expected.phase, view
        # What breaks off on a connection that was kept from another file is done once more on a new one.
        most = expected.tries * (2 if kind == "icap" and fault in ("resets", "closes") else 1)
        assert expected.tries <= scans[fault] <= most, (scans, view)
        assert expected.reason in view["reason"]
        if expected is RELEASED:
            assert client.get(paths[0]).content == file_for(fault)
    staged = [path for path in server.staging if path.name.startswith(upload_id)]
    assert bool(staged) is (expected.phase == "rejected")  # kept for a restart
