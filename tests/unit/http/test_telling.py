from __future__ import annotations

import pytest

from penstock.http import telling
from penstock.http.asgi import EXCHANGE, Body
from penstock.http.telling import Telling
from tests.unit.http.test_asgi import HTTP1, Direct, chunk, receiving


async def test_a_client_is_told_between_the_pieces_of_its_body(monkeypatch: pytest.MonkeyPatch) -> None:
    scope = {**HTTP1, "extensions": {EXCHANGE: Direct(b"l", b"l")}}
    body = Body(scope, {"content-length": "6"}, receiving(chunk(b"he"), chunk(b"o"), chunk(b"!")))
    told: list[int] = []
    monkeypatch.setattr(telling, "TELLING_SECONDS", 0.0)
    reading = Telling(body, lambda: told.append(body.left_bytes))
    pieces, room = aiter(reading), bytearray(10)
    assert (await anext(pieces), told) == (b"he", [])
    assert (await reading.read_into(memoryview(room)), told) == (1, [4])
    assert (await reading.read_into(memoryview(room)), told) == (1, [4, 3])
    assert (reading.left_bytes, await reading.read_into(memoryview(room))) == (2, 0)
    assert [piece async for piece in pieces] == [b"o", b"!"]
    assert told == [4, 3, 2, 2, 1, 0]


async def test_a_client_is_not_told_all_the_time() -> None:
    body = Body(HTTP1, {"content-length": "3"}, receiving(chunk(b"he"), chunk(b"y")))
    told: list[int] = []
    assert [piece async for piece in Telling(body, lambda: told.append(1))] == [b"he", b"y"]
    assert not told
