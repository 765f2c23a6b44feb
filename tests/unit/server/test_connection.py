from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from penstock.errors import PenstockError
from penstock.http.asgi import Receive, Scope, Send
from penstock.server import connection as module
from tests.unit.server.clients import LONG, Client, answer, exchange_of, serving


class Seen:
    """An application that notes what it is given, and what it is to do next."""

    def __init__(self) -> None:
        self.requests: list[Scope] = []
        self.bodies: list[bytes] = []
        self.trailers: list[dict[str, str]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.lost = asyncio.Event()
        self.asked = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests.append(scope)
        self.asked.set()
        do: Callable[[Scope, Receive, Send], Awaitable[None]] = getattr(self, scope["path"].strip("/") or "read")
        await do(scope, receive, send)

    async def read(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.go.wait()
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.bodies.append(bytes(body))
                self.lost.set()
                return
            body += message["body"]
            more = message["more_body"]
        self.bodies.append(bytes(body))
        self.trailers.append(dict(exchange_of(scope).trailers()))
        await answer(send, 200, bytes(body[:100]))

    async def whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in one piece, where that is possible, with what the query says in a field."""
        await self.go.wait()
        headers = {"X-Said": scope["query_string"].decode().replace("+", "\n"), "Content-Length": "5"}
        if not exchange_of(scope).answer(201, headers, b"whole"):
            await answer(send, 202, b"in two")

    async def salvage(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while (message := await receive())["type"] != "http.disconnect":
            body += message["body"]
        await answer(send, 400, body)

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, 413, b"too large")

    async def inform(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange_of(scope).inform(104, {"Location": "/there"})
        await self.read(scope, receive, send)
        exchange_of(scope).inform(104, {"Location": "/too-late"})

    async def break_(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["query_string"] == b"late":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        raise PenstockError("the file was deleted") if scope["query_string"] == b"late" else ValueError("a bug")

    async def pour(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        gone = asyncio.ensure_future(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": bytes(256 * 1024), "more_body": True})
            await asyncio.sleep(0)
        self.lost.set()

    async def drip(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece, more in ((b"one,", True), (b"two", True), (b"", False)):
            await send({"type": "http.response.body", "body": piece, "more_body": more})

    async def wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.lost.set()


@pytest.fixture
def app() -> Seen:
    return Seen()


@pytest.fixture
async def connect(app: Seen) -> AsyncIterator[Callable[[], Client]]:
    async with serving(app) as connect:
        yield connect


Connect = Callable[[], Client]


async def test_one_request_after_the_other(app: Seen, connect: Connect) -> None:
    async with connect() as client:
        for number in range(3):
            client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab%d" % number)
            head = await client.head()
            assert head.startswith("http/1.1 200")
            assert "\r\ndate: " in head
            assert await client.exactly(3) == b"ab%d" % number


async def test_requests_that_do_not_wait_for_answers_are_answered_in_turn(app: Seen, connect: Connect) -> None:
    async with connect() as client:
        client.send(b"".join(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab%d" % one for one in range(3)))
        for number in range(3):
            await client.head()
            assert await client.exactly(3) == b"ab%d" % number


async def test_whole_answers_are_answers_like_others(app: Seen, connect: Connect) -> None:
    request = b"PUT /whole?%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    async with connect() as client:
        client.send(b"".join(request % number for number in range(3)))
        for number in range(3):
            head = await client.head()
            assert head.startswith("http/1.1 201 created\r\ndate: ")
            assert head.endswith(f"\r\nx-said: {number}\r\ncontent-length: 5\r\n\r\n")
            assert await client.exactly(5) == b"whole"
    async with connect() as client:
        client.send(b"GET /whole HTTP/1.0\r\n\r\n")
        assert (await client.head()).endswith("\r\nconnection: close\r\n\r\n")
        assert await client.closed() == b"whole"


async def test_whole_answers_wait_until_the_request_is_there(app: Seen, connect: Connect) -> None:
    async with connect() as client:
        client.send(b"PUT /whole HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
        assert (await client.head()).startswith("http/1.1 202")
        assert await client.exactly(6) == b"in two"


async def test_no_answer_has_a_line_that_somebody_else_has_written(app: Seen, connect: Connect) -> None:
    with structlog.testing.capture_logs() as logs:
        async with connect() as client:
            client.send(b"GET /whole?a+Set-Cookie:b HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.head()).startswith("http/1.1 500")
            assert await client.closed() == b""
    assert [one["event"] for one in logs] == ["request_failed"]


@pytest.mark.parametrize("cut", ["end", "reset"])
async def test_what_arrived_before_a_cut_is_handed_out(app: Seen, connect: Connect, cut: str) -> None:
    app.go.clear()
    async with connect() as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        client.send(b"what came")
        await client.writer.drain()
        await app.asked.wait()
        if cut == "reset":
            client.reset()
    app.go.set()
    await asyncio.wait_for(app.lost.wait(), LONG)
    assert app.bodies == [b"what came"]


async def test_who_ends_its_side_behind_a_request_gets_the_answer(app: Seen, connect: Connect) -> None:
    app.go.clear()
    async with connect() as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nall")
        client.writer.write_eof()
        await app.asked.wait()
        app.go.set()
        assert (await client.head()).startswith("http/1.1 200")
        assert await client.closed() == b"all"


async def test_a_body_larger_than_what_is_held_is_whole(app: Seen, connect: Connect) -> None:
    app.go.clear()
    body = b"0123456789abcdef" * (512 * 1024)
    async with connect() as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        client.send(body)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.writer.drain(), 0.3)  # it has to wait
        app.go.set()
        await client.head()
    assert app.bodies == [body]


async def test_an_interim_response_comes_before_the_answer(app: Seen, connect: Connect) -> None:
    async with connect() as client:
        client.send(b"POST /inform HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
        assert await client.head() == "http/1.1 104 \r\nlocation: /there\r\n\r\n"
        client.send(b"ab")
        assert (await client.head()).startswith("http/1.1 200")
        assert await client.exactly(2) == b"ab"
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.head()).startswith("http/1.1 200"), "nothing was sent after the answer"


async def test_no_interim_response_for_http_1_0(app: Seen, connect: Connect) -> None:
    async with connect() as client:
        client.send(b"POST /inform HTTP/1.0\r\nContent-Length: 2\r\n\r\nab")
        assert (await client.head()).startswith("http/1.1 200")


async def test_nobody_is_asked_to_go_on_in_http_1_0(app: Seen, connect: Connect) -> None:
    async with connect() as client:
        client.send(b"PUT / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        await asyncio.wait_for(app.asked.wait(), LONG)
        client.send(b"ab")
        assert (await client.head()).startswith("http/1.1 200"), "it would take a 100 for the answer"


async def test_an_answer_of_unknown_length_ends_with_the_connection_in_http_1_0(connect: Connect) -> None:
    async with connect() as client:
        client.send(b"GET /drip HTTP/1.0\r\n\r\n")
        head = await client.head()
        assert "transfer-encoding" not in head
        assert "content-length" not in head
        assert await client.closed() == b"one,two"


async def test_trailers_are_no_headers(app: Seen, connect: Connect) -> None:
    async with connect() as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: Upload-Checksum\r\n\r\n")
        client.send(b"2\r\nab\r\n0\r\nUpload-Checksum: sha1 x\r\nHost: y\r\n\r\n")
        await client.head()
        await client.exactly(2)
    assert app.trailers == [{"upload-checksum": "sha1 x", "host": "y"}]
    assert [value for name, value in app.requests[0]["headers"] if name == b"host"] == [b"x"]


async def test_who_waits_to_be_asked_is_asked_when_its_body_is_read(app: Seen, connect: Connect) -> None:
    async with connect() as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.head()).startswith("http/1.1 100")
        client.send(b"ab")
        assert (await client.head()).startswith("http/1.1 200")


async def test_who_is_never_asked_is_answered_and_the_connection_closed(app: Seen, connect: Connect) -> None:
    async with connect() as client:
        client.send(b"PUT /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        head = await client.head()
        assert head.startswith("http/1.1 413")
        assert "connection: close" in head
        assert await client.closed() == b"too large"


@pytest.mark.parametrize("keep", [True, False])
async def test_the_rest_of_a_refused_body_is_read(app: Seen, connect: Connect, keep: bool) -> None:
    """So that a client that sends all before it listens sees the answer, and can go on with its connection."""
    closing = b"" if keep else b"Connection: close\r\n"
    async with connect() as client:
        client.send(b"PUT /refuse HTTP/1.1\r\nHost: x\r\n" + closing + b"Content-Length: 8000000\r\n\r\n")
        await client.flood(8_000_000)
        assert (await client.head()).startswith("http/1.1 413")
        assert await client.exactly(9) == b"too large"
        if keep:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.head()).startswith("http/1.1 200")
        else:
            assert await client.closed() == b""


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_nothing_is_done_behind_the_end_of_a_connection(app: Seen, connect: Connect, version: bytes) -> None:
    closing = b"Connection: close\r\n" if version == b"1.1" else b"Connection: keep-alive\r\n"
    async with connect() as client:
        client.send(b"PUT /refuse HTTP/" + version + b"\r\nHost: x\r\n" + closing + b"Content-Length: 10\r\n\r\n")
        assert "connection: close" in await client.head()
        client.send(b"0123456789DELETE /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await client.closed() == b"too large"
    assert [scope["method"] for scope in app.requests] == ["PUT"]


@pytest.mark.parametrize(
    ("target", "host"),
    [(b"http://There:80/?x", b"There:80"), (b"HTTP://[::1]/", b"[::1]"), (b"/http://there/", b"here")],
)
async def test_the_host_is_the_one_of_the_target(app: Seen, connect: Connect, target: bytes, host: bytes) -> None:
    async with connect() as client:
        client.send(b"GET " + target + b" HTTP/1.1\r\nHost: here\r\n\r\n")
        await asyncio.wait_for(app.asked.wait(), LONG)
    assert [value for name, value in app.requests[0]["headers"] if name == b"host"] == [host]


async def test_not_everything_is_read_of_a_refused_body(
    app: Seen, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DRAIN_BYTES", 1_000_000)
    async with connect() as client:
        client.send(b"PUT /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 90000000\r\n\r\n")
        with pytest.raises(OSError):
            await client.flood(90_000_000)


async def test_the_rest_of_a_refused_body_is_not_waited_for_without_end(
    app: Seen, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DRAIN_SECONDS", 0.1)
    async with connect() as client:
        client.send(b"PUT /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        await client.head()
        assert await client.closed() == b"too large"


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nHo", b"GET /"])
async def test_a_head_that_does_not_end_is_not_waited_for(
    app: Seen, connect: Connect, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    monkeypatch.setattr(module, "_HEAD_SECONDS", 0.1)
    async with connect() as client:
        client.send(begin)
        assert await client.closed() == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 40_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X:\r\n" * 200 + b"\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000,
        b"GET /" + b"x" * 70_000,
    ],
    ids=["one header", "many", "too many", "target", "an unfinished header", "an unfinished target"],
)
async def test_a_head_may_only_be_so_large(app: Seen, connect: Connect, head: bytes) -> None:
    async with connect() as client:
        client.send(head)
        assert (await client.head()).startswith("http/1.1 431")
        assert b'"status": 431' in await client.closed()
    assert not app.requests


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n folded: y\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\nContent-Length: 3\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nHost: x\r\nhOST: y\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET /#x HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=[
        *(
            "TLS",
            "two lengths",
            "length and chunked",
            "not chunked last",
            "not chunked",
            "space",
            "sign",
            "folded",
            "bare LF",
        ),
        *("two hosts", "no host", "no version", "version 2", "fragment"),
    ],
)
async def test_what_can_be_read_in_two_ways_is_refused(app: Seen, connect: Connect, request_: bytes) -> None:
    async with connect() as client:
        client.send(request_ + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.head()).startswith("http/1.1 400")
        assert b'"status": 400' in await client.closed()
    assert not app.requests


@pytest.mark.parametrize("more", [b"gzip, ", b"gzip\r\nTransfer-Encoding: "])
async def test_a_body_that_was_compressed_on_its_way_is_refused(app: Seen, connect: Connect, more: bytes) -> None:
    async with connect() as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + more + b"chunked\r\n\r\n0\r\n\r\n")
        assert (await client.head()).startswith("http/1.1 501")
        assert b'"status": 501' in await client.closed()
    assert not app.requests


async def test_a_head_may_have_many_fields(app: Seen, connect: Connect) -> None:
    async with connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 199 + b"\r\n")
        assert (await client.head()).startswith("http/1.1 200")


async def test_requests_that_come_together_are_not_taken_for_one_large_head(app: Seen, connect: Connect) -> None:
    request = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000)
    async with connect() as client:
        client.send(request * 6 + request[:30])
        for _ in range(6):
            assert (await client.head()).startswith("http/1.1 200")
            await client.exactly(100)
        client.send(request[30:])
        assert (await client.head()).startswith("http/1.1 200")


@pytest.mark.parametrize(
    "rest",
    [
        b"0\r\nX: " + b"x" * 400_000,
        b"0\r\n" + b"X: y\r\n" * 60_000,
        b"1;" + b"x" * 400_000,
        b"0\r\n" + b"X: y\r\n" * 201,
    ],
    ids=["a field", "fields", "an extension", "too many fields"],
)
async def test_what_is_no_body_is_not_collected_behind_it(app: Seen, connect: Connect, rest: bytes) -> None:
    async with connect() as client:
        client.send(b"POST /salvage HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n" + rest)
        head = await client.head()
        assert "connection: close" in head
        assert await client.closed() == b"ab"


async def test_lines_without_a_request_keep_nothing_open(
    app: Seen, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.head()
        monkeypatch.setattr(module, "_HEAD_SECONDS", 0.1)
        client.send(b"\r\n")
        assert await client.closed() == b""


async def test_who_takes_nothing_of_an_answer_is_gone(app: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receive window that stays shut holds neither the request nor the file behind it open."""
    monkeypatch.setattr("penstock.server.embed._STANDSTILL_SECONDS", 0.3)
    async with serving(app) as connect, connect() as client:
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as one that only writes
        client.send(b"GET /pour HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(app.lost.wait(), LONG)


@pytest.mark.parametrize("end", [b"nothing\r\n", None], ids=["no chunk", "half-closed"])
async def test_who_reads_a_body_that_does_not_end_can_still_answer(
    app: Seen, connect: Connect, end: bytes | None
) -> None:
    async with connect() as client:
        client.send(b"POST /salvage HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        if end is None:
            client.writer.write_eof()
        else:
            client.send(end)
        head = await client.head()
        assert head.startswith("http/1.1 400")
        assert "connection: close" in head
        assert await client.closed() == b"ab"


@pytest.mark.parametrize("chunked", [True, False])
async def test_who_asks_for_another_protocol_is_served_with_this_one(
    app: Seen, connect: Connect, chunked: bool
) -> None:
    """As `curl --http2 -T` does. What follows the head is its body, and not another request."""
    upgrade = b"Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    body = b"GET / HTTP/1.1\r\nHost: y\r\n\r\n"
    async with connect() as client:
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
        sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
        client.send(b"PUT / HTTP/1.1\r\n" + upgrade + framing + b"\r\n\r\n" + sent[:5])
        await app.asked.wait()
        client.send(sent[5:] + b"GET / HTTP/1.1\r\n" + upgrade + b"\r\n" + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.head()).startswith("http/1.1 200")
        assert await client.exactly(len(body)) == body
        assert (await client.head()).startswith("http/1.1 200")
        assert (await client.head()).startswith("http/1.1 200")
    assert app.bodies == [body, b"", b""]


async def test_who_has_nothing_to_read_is_told_that_the_client_is_gone(app: Seen, connect: Connect) -> None:
    async with connect() as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await app.asked.wait()
    await asyncio.wait_for(app.lost.wait(), LONG)


async def test_a_failure_of_the_application_is_told_of(app: Seen, connect: Connect) -> None:
    with structlog.testing.capture_logs() as logs:
        async with connect() as client:
            client.send(b"GET /break_ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.head()).startswith("http/1.1 500")
            assert await client.closed() == b""
        async with connect() as client:
            client.send(b"GET /break_?late HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.head()
            assert await client.closed() == b"", "it is cut off: a client must not take it for whole"
    assert [(one["event"], one["log_level"]) for one in logs] == [
        ("request_failed", "error"),
        ("answer_cut_off", "warning"),
    ]


async def test_at_the_end_what_is_in_flight_is_answered(app: Seen) -> None:
    app.go.clear()
    async with serving(app, grace=timedelta(seconds=LONG)) as connect:
        client = await connect().__aenter__()
        idle = await connect().__aenter__()
        client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab")
        await app.asked.wait()
        asyncio.get_running_loop().call_later(0.2, app.go.set)
    assert (await client.head()).startswith("http/1.1 200")
    assert await client.closed() == b"ab"
    assert await idle.closed() == b""
    client.writer.close()
    idle.writer.close()


async def test_at_the_end_nobody_is_waited_for_without_end(app: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.server.embed._LAST_SECONDS", LONG)
    app.go.clear()
    async with serving(app, grace=timedelta(seconds=0.1)) as connect:
        client = await connect().__aenter__()
        client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab")
        await app.asked.wait()
    assert (await client.closed()).startswith(b"HTTP/1.1 503")
    client.writer.close()


def test_what_is_used_of_uvicorn_is_there() -> None:
    """The hooks are not documented, so a newer version might lack one and never call ours."""
    names = {"on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body", "on_message_complete"}
    names |= {"on_response_complete", "_unset_keepalive_if_required", "connection_made", "connection_lost", "shutdown"}
    missing = {name for name in names if not callable(getattr(HttpToolsProtocol, name, None))}
    assert not missing
