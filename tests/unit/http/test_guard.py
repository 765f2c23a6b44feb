"""Bodies of the API, and where they come from."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from penstock.http import guard as module
from penstock.http.address import PublicAddress
from penstock.http.asgi import Receive, Scope, Send
from penstock.http.guard import only_as, only_small
from penstock.http.hosts import Hosts

Message = MutableMapping[str, Any]


class Seen:
    """An application that notes the bodies that it is given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.after = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.bodies.append((await receive())["body"])
        self.after = (await receive())["type"]
        await send({"type": "http.response.start", "status": 204, "headers": []})


async def ask(app: Seen, method: str, chunks: list[bytes], hosts: Hosts | None = None, **headers: str) -> int:
    """The status of the answer; a request whose chunks have run out never ends."""
    messages: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if messages and not messages[-1]["body"]:
        messages[-1]["more_body"] = False
        messages.append({"type": "http.disconnect"})
    sent: list[Message] = []

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    pairs = {
        "host": "127.0.0.1",
        "transfer-encoding": "chunked",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": "/api/v1/uploads/actions",
        "http_version": "1.1",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "headers": [(name.encode(), value.encode()) for name, value in pairs.items()],
    }
    guarded = only_small(PublicAddress(None), app)
    await (guarded if hosts is None else only_as(hosts, guarded))(scope, receive, send)
    status: int = sent[0]["status"]
    return status


async def test_a_small_body_comes_in_one_piece_and_then_the_end_of_the_connection() -> None:
    app = Seen()
    assert await ask(app, "POST", [b'{"a', b'":1}', b""]) == 204
    assert (app.bodies, app.after) == ([b'{"a":1}'], "http.disconnect")


@pytest.mark.parametrize("body", [b"{", b"\xff", b'"\\ud800"', b"[" * 100_000, b"{} {}"])
async def test_what_is_no_json_is_refused(body: bytes) -> None:
    app = Seen()
    assert await ask(app, "POST", [body, b""]) == 400
    assert app.bodies == []


async def test_a_large_one_is_refused() -> None:
    app = Seen()
    assert await ask(app, "POST", [bytes(600_000)] * 2) == 413
    assert app.bodies == []


async def test_one_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.05)
    app = Seen()
    assert await ask(app, "POST", [b"{"]) == 408
    assert app.bodies == []


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:81", "http://["])
async def test_foreign_pages_change_nothing(origin: str) -> None:
    app = Seen()
    assert await ask(app, "POST", [b"{}", b""], origin=origin) == 403
    assert app.bodies == []
    assert await ask(app, "GET", [b""], origin=origin) == 204
    assert await ask(app, "DELETE", [b""]) == 204, "no body is none that is wrong"


async def test_our_own_page_does() -> None:
    assert await ask(Seen(), "POST", [b"{}", b""], origin="http://127.0.0.1") == 204


async def test_strange_names_are_not_answered() -> None:
    app = Seen()
    assert await ask(app, "GET", [b""], Hosts("127.0.0.1"), host="evil.example") == 421
    assert app.bodies == []
    assert await ask(app, "GET", [b""], Hosts("127.0.0.1")) == 204
