from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock.http.asgi import EXCHANGE, Answer, Body, headers_of, send_answer
from penstock.uploads.errors import BadHeader, Disconnected

HTTP1 = {"http_version": "1.1"}


def receiving(*messages: dict[str, Any]) -> Callable[[], Awaitable[dict[str, Any]]]:
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive


def chunk(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


@pytest.mark.parametrize(
    ("version", "headers", "length", "announced"),
    [
        ("1.1", {}, 0, False),
        ("1.0", {}, 0, False),
        ("1.1", {"content-length": "0"}, 0, False),
        ("1.1", {"content-length": "0", "content-type": "a/b"}, 0, False),
        ("1.1", {"content-length": "7"}, 7, True),
        ("1.1", {"transfer-encoding": "chunked"}, None, True),
        ("1.1", {"transfer-encoding": "chunked", "content-length": "7"}, None, True),
        ("2", {}, None, False),
        ("2", {"content-type": "a/b"}, None, True),
        ("2", {"content-length": "7"}, 7, True),
    ],
)
def test_the_length_of_a_body(version: str, headers: dict[str, str], length: int | None, announced: bool) -> None:
    body = Body({"http_version": version}, headers, receiving())
    assert (body.length, body.announced) == (length, announced)


@pytest.mark.parametrize("length", ["-1", "+7", "7, 7", "²"])
def test_a_length_must_be_a_number(length: str) -> None:
    with pytest.raises(BadHeader):
        Body(HTTP1, {"content-length": length}, receiving())


async def test_a_body_is_read_to_its_end() -> None:
    body = Body(
        HTTP1, {"content-length": "5"}, receiving(chunk(b"he"), chunk(b""), chunk(b"llo"), chunk(b"", more=False))
    )
    assert [piece async for piece in body] == [b"he", b"llo"]
    assert [piece async for piece in body] == []


async def test_an_empty_body_is_not_waited_for() -> None:
    assert [piece async for piece in Body(HTTP1, {}, receiving())] == []


async def test_a_body_that_is_cut_off_is_not_taken_for_a_whole_one() -> None:
    body = Body(HTTP1, {"content-length": "5"}, receiving(chunk(b"he"), {"type": "http.disconnect"}))
    reading = aiter(body)
    assert await anext(reading) == b"he"
    with pytest.raises(Disconnected, match="continue"):
        await anext(reading)


class Direct:
    """A server that puts pieces of a body where they are wanted; then it has to be asked for what comes."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def receive_into(self, room: memoryview) -> int:
        if not self._pieces:
            return 0
        piece = self._pieces.pop(0)
        room[: len(piece)] = piece
        return len(piece)


async def test_a_body_is_put_where_it_is_wanted_as_long_as_the_server_does_that() -> None:
    scope = {**HTTP1, "extensions": {EXCHANGE: Direct(b"he", b"l")}}
    body, room = Body(scope, {"content-length": "5"}, receiving(chunk(b"lo"))), bytearray(10)
    assert body.left_bytes == 5
    assert (await body.read_into(memoryview(room)), bytes(room[:2]), body.left_bytes) == (2, b"he", 3)
    assert (await body.read_into(memoryview(room)), bytes(room[:1]), body.left_bytes) == (1, b"l", 2)
    assert await body.read_into(memoryview(room)) == 0
    assert (await body.read(), body.left_bytes) == (b"lo", 0)
    assert await body.read_into(memoryview(room)) == 0


async def test_a_body_that_was_put_where_it_is_wanted_to_its_end_has_ended() -> None:
    scope = {**HTTP1, "extensions": {EXCHANGE: Direct(b"hello")}}
    body = Body(scope, {"content-length": "5"}, receiving())
    assert await body.read_into(memoryview(bytearray(10))) == 5
    assert await body.read() == b""


async def test_other_servers_put_nothing_anywhere() -> None:
    body = Body(HTTP1, {"transfer-encoding": "chunked"}, receiving(chunk(b"he", more=False)))
    assert body.left_bytes == 0
    assert await body.read_into(memoryview(bytearray(10))) == 0
    assert await body.read() == b"he"


def test_repeated_headers_are_joined() -> None:
    scope = {"headers": [(b"Upload-Offset", b"1"), (b"a", b"x"), (b"upload-offset", b"2")]}
    assert headers_of(scope) == {"upload-offset": "1, 2", "a": "x"}


async def sent_by(answer: Answer, *, head: bool = False) -> tuple[dict[bytes, bytes], bytes]:
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    await send_answer(send, answer, head=head)
    return dict(messages[0]["headers"]), b"".join(message["body"] for message in messages[1:])


async def test_an_answer_has_a_length() -> None:
    assert await sent_by(Answer(200, {"A": "b"}, b"body")) == ({b"a": b"b", b"content-length": b"4"}, b"body")


@pytest.mark.parametrize(("status", "head"), [(204, False), (304, False), (200, True)])
async def test_an_answer_without_a_body_promises_none(status: int, head: bool) -> None:
    headers, body = await sent_by(Answer(status, {}, b"body" if head else b""), head=head)
    assert b"content-length" not in headers
    assert body == b""
