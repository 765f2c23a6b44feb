"""Large bodies, on the event loop that the server runs on and on the one of the standard library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop

from penstock.blobs.local import LocalBlobs
from penstock.blobs.local.appender import LocalAppender
from penstock.http.asgi import Body, Receive, Scope, Send, headers_of
from penstock.ids import new_upload_id
from penstock.server.bypass import LARGE_BYTES, left_bytes
from penstock.server.exchange import Exchange
from penstock.testing import eventually
from penstock.uploads.locking.locks import Hold
from penstock.uploads.receiving.intake import Intake
from tests.unit.server.clients import LONG, Client, answer, exchange_of, serving

Run = Callable[[Coroutine[Any, Any, None]], None]

SIZE = LARGE_BYTES + 1000
BODY = bytes(number * 7 % 251 for number in range(SIZE))
HEAD = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % SIZE
NEXT = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test on a loop of one kind."""
    new_loop = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[request.param]

    def run(test: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(test)

    return run


class Filling:
    """An application that has bodies put into memory of its own wherever it can, and answers with their lengths."""

    def __init__(self) -> None:
        self.bodies: list[bytearray] = []
        self.filled_bytes = 0
        self.room = bytearray(20_000)
        self.reads = 0
        self.waits_after = 0
        """After how many reads it does something else first; 0: it does not."""
        self.refuses = False
        self.go = asyncio.Event()
        self.lost = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()
        self.bodies.append(body)
        more = True
        while more:
            if count := await exchange_of(scope).receive_into(memoryview(self.room)):
                body += self.room[:count]
                await self._filled(count)
                if self.refuses:
                    self.refuses = False
                    return await answer(send, 413, b"no")
                continue
            message = await receive()
            if message["type"] == "http.disconnect":
                self.lost.set()
                break
            body += message["body"]
            more = message["more_body"]
        await answer(send, 200, b"%d" % len(body))
        return None

    async def _filled(self, count: int) -> None:
        self.reads += 1
        self.filled_bytes += count
        if self.reads == self.waits_after:
            await self.go.wait()

    def has(self, *sizes: int) -> Callable[[], bool]:
        """Return what tells whether so much of each body has come."""
        return lambda: [len(body) for body in self.bodies] == list(sizes)


async def answered(client: Client, body: bytes, status: int = 200) -> None:
    assert (await client.head()).startswith(f"http/1.1 {status}")
    assert await client.exactly(len(body)) == body


@pytest.mark.parametrize("more", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"], ids=["plain", "upgrade"])
def test_wherever_a_body_is_cut_it_is_whole_and_so_is_what_follows(run: Run, more: bytes) -> None:
    head = HEAD + more + b"\r\n"
    sent = head + BODY + NEXT
    begin, end = len(head), len(head) + SIZE
    few = [(one,) for one in (1, begin - 1, begin, begin + 1, begin + 999, begin + 1000, begin + 1001, end - 1, end)]
    more_cuts = [(end + 1,), (end + len(NEXT) - 2,), (begin, begin + 1, end - 2, end - 1, end, end + 1)]

    async def test() -> None:
        async with serving(app := Filling()) as connect:
            for cuts in [*few, *more_cuts, (begin + 500, end - 1), (begin + 500, end), (begin + 500, end + 1)]:
                app.bodies.clear()
                async with connect() as client:
                    for start, stop in zip((0, *cuts), (*cuts, len(sent)), strict=True):
                        client.send(sent[start:stop])
                        if begin <= stop <= end:
                            await eventually(app.has(stop - begin))
                    await answered(client, b"%d" % SIZE)
                    await answered(client, b"3")
                assert app.bodies == [BODY, b"abc"]

    run(test())


def test_what_comes_of_a_large_body_is_put_where_it_is_wanted(run: Run) -> None:
    async def test() -> None:
        async with serving(app := Filling()) as connect, connect() as client:
            client.send(HEAD + b"\r\n")
            await eventually(lambda: bool(app.bodies))
            client.send(BODY + HEAD + b"\r\n" + BODY + NEXT)
            for size in (SIZE, SIZE, 3):
                await answered(client, b"%d" % size)
            assert app.bodies == [BODY, BODY, b"abc"]
            assert app.filled_bytes >= SIZE, "all of the first, at the least"

    run(test())


@pytest.mark.parametrize(
    "request_",
    [
        b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (SIZE, BODY),
        b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + BODY[:60_000],
    ],
    ids=["chunked", "small"],
)
def test_other_bodies_are_parsed(run: Run, request_: bytes) -> None:
    async def test() -> None:
        async with serving(app := Filling()) as connect, connect() as client:
            client.send(request_[:200])
            await eventually(lambda: bool(app.bodies and app.bodies[0]))
            client.send(request_[200:])
            assert (await client.head()).startswith("http/1.1 200")
        assert BODY.startswith(app.bodies[0])
        assert app.filled_bytes == 0

    run(test())


def test_who_waits_to_be_asked_is_asked_first(run: Run) -> None:
    async def test() -> None:
        async with serving(app := Filling()) as connect, connect() as client:
            client.send(HEAD + b"Expect: 100-continue\r\n\r\n")
            assert (await client.head()).startswith("http/1.1 100")
            client.send(BODY)
            await answered(client, b"%d" % SIZE)
        assert app.bodies == [BODY]

    run(test())


@pytest.mark.parametrize("closing", [b"PUT / HTTP/1.0\r\n", b"PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"])
def test_a_connection_that_is_to_be_closed_is(run: Run, closing: bytes) -> None:
    async def test() -> None:
        async with serving(app := Filling()) as connect, connect() as client:
            client.send(closing + b"Content-Length: %d\r\n\r\n" % SIZE + BODY)
            await answered(client, b"%d" % SIZE)
            assert await client.closed() == b""
        assert app.bodies == [BODY]

    run(test())


@pytest.mark.parametrize("cut", ["end", "reset"])
def test_what_came_before_a_cut_is_there(run: Run, cut: str) -> None:
    async def test() -> None:
        async with serving(app := Filling()) as connect, connect() as client:
            client.send(HEAD + b"\r\n" + BODY[:50])
            await eventually(app.has(50))
            client.send(BODY[50:30_000])
            await eventually(app.has(30_000))
            assert app.filled_bytes
            if cut == "reset":
                client.reset()
            else:
                client.send(BODY[30_000:30_010])
                client.writer.write_eof()
                await answered(client, b"30010")
                assert await client.closed() == b""
            await asyncio.wait_for(app.lost.wait(), LONG)
        assert app.bodies == [BODY[: 30_010 if cut == "end" else 30_000]]

    run(test())


def test_nothing_is_read_while_nobody_wants_it(run: Run) -> None:
    """Memory that was filled is its owner's: whatever comes does not change it, and the client has to wait."""

    async def test() -> None:
        async with serving(app := Filling()) as connect, connect() as client:
            app.waits_after = 1
            size = 16 * 1024 * 1024
            client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"a" * 10)
            await eventually(app.has(10))
            client.send(b"b" * (size - 10))
            await eventually(lambda: app.reads == 1)
            held = bytearray(app.room)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.writer.drain(), 0.2)
            assert (app.reads, app.room) == (1, held)
            app.go.set()
            await answered(client, b"%d" % size)
        assert app.bodies == [b"a" * 10 + b"b" * (size - 10)]

    run(test())


def test_what_came_before_a_reset_while_nobody_wanted_it_is_there(run: Run) -> None:
    async def test() -> None:
        async with serving(app := Filling()) as connect, connect() as client:
            app.waits_after = 1
            client.send(HEAD + b"\r\n")
            await eventually(lambda: bool(app.bodies))
            client.send(BODY[:10])
            await eventually(app.has(10))
            client.send(BODY[10:30_000])
            await client.writer.drain()
            client.reset()
            app.go.set()
            await asyncio.wait_for(app.lost.wait(), LONG)
        assert app.bodies == [BODY[:30_000]]

    run(test())


def test_the_rest_of_a_body_that_is_refused_is_read(run: Run) -> None:
    async def test() -> None:
        async with serving(app := Filling()) as connect, connect() as client:
            app.refuses = True
            client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 8000010\r\n\r\n" + bytes(10))
            await eventually(app.has(10))
            await client.flood(8_000_000)
            await answered(client, b"no", 413)
            client.send(NEXT)
            await answered(client, b"3")

    run(test())


@pytest.mark.parametrize("late", [False, True], ids=["before it comes", "when it has come"])
def test_a_cancellation_loses_nothing(run: Run, monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    asked = asyncio.Event()
    wake = Exchange.wake

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange, body, more = exchange_of(scope), b"", True
        reading = asyncio.ensure_future(exchange.receive_into(memoryview(bytearray(20_000))))

        def wake_too_late(self: Exchange) -> None:
            reading.cancel()
            wake(self)

        await asyncio.sleep(0)
        if late:
            monkeypatch.setattr(Exchange, "wake", wake_too_late)
        else:
            reading.cancel()
        asked.set()
        with pytest.raises(asyncio.CancelledError):
            await reading
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        assert body == BODY
        await answer(send, 200, b"%d" % len(body))

    async def test() -> None:
        async with serving(app) as connect, connect() as client:
            client.send(HEAD + b"\r\n")
            await asyncio.wait_for(asked.wait(), LONG)
            client.send(BODY)
            await answered(client, b"%d" % SIZE)

    run(test())


def test_a_large_body_is_received_where_it_is_written_from(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All the way from the socket to the file."""
    size, filled, upload_id = 3 * 1024 * 1024 + 5, list[int](), new_upload_id()
    content = BODY * (size // SIZE) + BODY[: size % SIZE]
    counted = LocalAppender.filled

    async def count(self: LocalAppender, count: int) -> None:
        filled.append(count)
        await counted(self, count)

    monkeypatch.setattr(LocalAppender, "filled", count)

    async def test() -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            body = Body(scope, headers_of(scope), receive)
            async with blobs.append(upload_id, 0) as appender:
                intake = Intake(limit_bytes=None, expected=None)
                await intake.read(body, appender, Hold(upload_id), timedelta(seconds=LONG))
                await appender.seal()
            await answer(send, 200, b"%d" % appender.length_bytes)

        async with LocalBlobs(tmp_path) as blobs, serving(app) as connect, connect() as client:
            await blobs.create(upload_id)
            client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + content[:10])
            client.send(content[10:])
            await answered(client, b"%d" % size)
            assert b"".join([piece async for piece in blobs.read(upload_id)]) == content

    run(test())
    assert sum(filled) > size // 2


def test_only_a_length_tells_how_much_is_missing() -> None:
    assert left_bytes([(b"content-length", b"10")], 3) == 7
    assert left_bytes([(b"transfer-encoding", b"chunked")], 3) == 0
    assert left_bytes([(b"content-length", b"10"), (b"transfer-encoding", b"chunked")], 3) == 0
    assert left_bytes([], 0) == 0
