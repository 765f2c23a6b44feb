"""Downloads from servers that break off, lie, or send something else: the connection itself is played here."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, TypeAlias

import pytest

from penstock.delivery import body, download
from penstock.delivery.base import BytesUnavailable
from penstock.delivery.stream import StreamDelivery
from tests.servers.nats import Certificate
from tests.servers.storage import Page, Storage, running_storage
from tests.unit.delivery.test_stream import BODY, read, start

Answer: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
AT_ONCE_SECONDS = 30
"""No machine is so slow, and the limit for a transfer that stands still is twice that."""
LARGE = BODY * 4


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(body, "_LOOK_SECONDS", 0.01)


@pytest.fixture
def storage() -> Iterator[Storage]:
    with running_storage() as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate.make(tmp_path_factory.mktemp("tls"))


def proving(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    return context


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that does with each connection what it is told, and then ends it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, OSError):  # whoever asked has heard enough
                await answer(reader, writer)
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/secret"


@asynccontextmanager
async def answering(*parts: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that answers each request with this and then ends the connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with serving(answer, tls) as url:
        yield url


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "without an answer"),
        (b"220 smtp.example\r\n", "not HTTP"),
        (CHUNKED + b"3\r\nab", "did not deliver"),
        (CHUNKED + b"x\r\nabc\r\n", "did not deliver"),
        (b"HTTP/1.1 200 OK\r\n\r\nab", "delivered 2 bytes"),
    ],
)
async def test_what_is_no_answer_is_an_error_that_shows_nothing(answer: bytes, message: str) -> None:
    async with answering(answer) as url:
        with pytest.raises(BytesUnavailable, match=message) as raised:
            await read(start(url, 3))
    assert "secret" not in str(raised.value)


async def test_a_body_in_chunks_is_the_file() -> None:
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:1], BODY[1:70_000], BODY[70_000:])]
    async with answering(CHUNKED, *chunks, b"0\r\n\r\n") as url:
        assert await read(start(url)) == BODY


async def _to_the_end(pieces: AsyncGenerator[bytes, None]) -> None:
    async for _ in pieces:
        pass


@pytest.mark.parametrize("waiting", [True, False], ids=["while it is waited for", "while nobody waits"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("garbage", [b"x\r\nabc\r\n", b"3\r\nabcdef\r\n", b"fffffffffffffffff\r\n"])
async def test_a_body_that_stops_making_sense_is_an_error_at_once(
    garbage: bytes, certificate: Certificate, *, tls: bool, waiting: bool
) -> None:
    """Though its server neither ends the connection nor reads what is said to that."""
    go_on, sent, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if sent.is_set():
            return  # it is asked for the rest
        writer.write(CHUNKED + b"3\r\nabc\r\n")
        await go_on.wait()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(garbage)
        sent.set()
        await ended.wait()

    async def hear(pieces: AsyncGenerator[bytes, None]) -> None:
        assert await anext(pieces) == b"abc"
        if not waiting:
            go_on.set()
            await sent.wait()
        following = asyncio.ensure_future(_to_the_end(pieces))
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(BytesUnavailable, match="did not deliver"):
            await following

    async with serving(answer, proving(certificate) if tls else None) as url:
        try:
            async with StreamDelivery(tls=False) as delivery, delivery.deliver(start(url, 100)) as delivered:
                async with asyncio.timeout(AT_ONCE_SECONDS):
                    await hear(delivered.stream())
        finally:
            ended.set()


@pytest.mark.parametrize("end", ["closed", "reset"])
@pytest.mark.parametrize("answered", [0, 1], ids=["first request", "connection that was used before"])
async def test_what_is_asked_for_is_asked_for_once(end: str, answered: int) -> None:
    """An address may be good for one reading: nothing may ask a second time behind our back."""
    asked = list[bytes]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            if len(asked) > answered:
                break
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        if end == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with serving(answer) as url, StreamDelivery() as delivery, delivery.deliver(start(url, 1)) as delivered:
        for _ in range(answered):
            assert [piece async for piece in delivered.stream()] == [b"x"]
        with pytest.raises(BytesUnavailable, match="without an answer"):
            await anext(delivered.stream())
    assert len(asked) == answered + 1


async def test_a_server_that_says_nothing_is_given_up() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read()

    impatient = StreamDelivery(stall_limit=timedelta(seconds=0.1))
    async with serving(answer) as url, impatient as delivery, delivery.deliver(start(url)) as delivered:
        with pytest.raises(BytesUnavailable, match="in time"):
            await anext(delivered.stream())


async def test_a_server_has_to_prove_who_it_is_unless_any_will_do(certificate: Certificate) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    async with answering(head, BODY, tls=proving(certificate)) as url:
        for tls in (ssl.create_default_context(cafile=certificate.certificate), False):
            async with StreamDelivery(tls=tls) as delivery, delivery.deliver(start(url)) as delivered:
                assert b"".join([piece async for piece in delivered.stream()]) == BODY
        for wary in (ssl.create_default_context(), True):
            async with StreamDelivery(tls=wary) as delivery, delivery.deliver(start(url)) as delivered:
                with pytest.raises(BytesUnavailable, match=r"CERTIFICATE_VERIFY_FAILED.*DELIVERY_TLS_INSECURE=true"):
                    await anext(delivered.stream())


async def test_a_name_and_password_in_an_address_are_shown_and_change_nothing_else(storage: Storage) -> None:
    target = "/a%2Fb/../%7e?sig=a+b%2b/%3d"
    url = storage.put(target, BODY).replace("//", "//me:p%40ss@", 1)
    assert await read(start(url)) == BODY
    ((path, headers),) = storage.requests
    assert (path, b64decode(headers["authorization"].removeprefix("Basic "))) == (target, b"me:p@ss")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_server_may_say_where_the_bytes_are(storage: Storage, status: int) -> None:
    url = storage.put("/a", status=status, headers={"Location": storage.put("/b", BODY)})
    assert await read(start(url), start=5, stop=9) == BODY[5:9]
    assert [headers["range"] for _, headers in storage.requests] == ["bytes=5-8"] * 2


@pytest.mark.parametrize("status", [204, 300, 304, 305, 416])
async def test_any_other_answer_is_not_the_bytes(storage: Storage, status: int) -> None:
    url = storage.put("/a", status=status, headers={"Location": storage.put("/b", BODY)})
    with pytest.raises(BytesUnavailable, match=f"answered {status}"):
        await read(start(url), start=5)


async def test_a_part_that_nobody_asked_for_is_not_the_file(storage: Storage) -> None:
    part = {"Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}
    with pytest.raises(BytesUnavailable, match="not what it was asked for"):
        await read(start(storage.put("/a", BODY, status=206, headers=part)))


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "deflate", "br", "zstd", "identity, gzip"])
async def test_nothing_is_unpacked(storage: Storage, coding: str) -> None:
    """It was not asked for; and of a bomb the size is known when it has gone off."""
    packed = gzip.compress(BODY)
    url = storage.put("/a", packed, headers={"Content-Encoding": coding})
    for size_bytes in (len(BODY), len(packed)):
        with pytest.raises(BytesUnavailable, match="which nobody asked for"):
            await read(start(url, size_bytes))
    assert await read(start(storage.put("/a.gz", packed), len(packed))) == packed


@pytest.mark.parametrize("coding", ["identity", "aws-chunked", ""])
async def test_what_is_not_coded_may_say_so(storage: Storage, coding: str) -> None:
    assert await read(start(storage.put("/a", BODY, headers={"Content-Encoding": coding}))) == BODY


class Changing(dict[str, Page]):
    """Another page at each request, whatever the address."""

    def __init__(self, *pages: Page) -> None:
        super().__init__()
        self._pages = iter(pages)

    def get(self, key: str, default: Any = None) -> Any:
        del key, default
        return next(self._pages)


def tagged(tag: str, **how: Any) -> Page:
    return Page(body=LARGE, headers={"ETag": tag} if tag else {}, **how)


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
async def test_a_file_is_not_put_together_from_two(storage: Storage, *, ranges: bool) -> None:
    storage.pages = Changing(tagged('"1"', cut_at=1_500_000), tagged('"2"', ranges=ranges))
    with pytest.raises(BytesUnavailable, match="another file now"):
        await read(start(storage.url("/a"), len(LARGE)))


@pytest.mark.parametrize("tags", [('"1"', '"1"', '"1"'), ('"1"', "", '"1"'), ("", "", '"1"')])
async def test_the_same_file_goes_on(storage: Storage, tags: tuple[str, str, str]) -> None:
    first, second, third = tags
    storage.pages = Changing(tagged(first, cut_at=1_500_000), tagged(second, cut_at=1_500_000), tagged(third))
    assert await read(start(storage.url("/a"), len(LARGE))) == LARGE
