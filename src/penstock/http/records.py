"""`/records` at the debug address: what the service works on, for `list` and its like where no store can be asked.

A line for each record: its JSON, as stores keep it (docs/reference/stores.md). The names of files are among it, so
without a token it is for this machine alone.
"""

from __future__ import annotations

from contextlib import aclosing
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable
from urllib.parse import parse_qs

from ..errors import Unavailable
from ..store import layout
from .asgi import Answer, send_answer, start
from .hosts import Hosts
from .probes import TEXT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..core.progress import Progress
    from .asgi import Scope, Send

PATH: Final = "/records"
_PIECE_BYTES: Final = 64 * 1024
_NOT_FROM_AFAR: Final = Answer(
    HTTPStatus.FORBIDDEN, TEXT, b"Without a debug token, this is only told to who asks from the same machine.\n"
)


_NAMES: Final = Hosts("localhost")
"""A page in a browser of this machine may have its own name point here; then the request is from this machine too."""


@runtime_checkable
class Recorded(Protocol):
    """A service that tells what it works on."""

    def records(self, upload_id: str | None, step: str | None) -> AsyncGenerator[Progress, None]:
        """Yield the record of one upload, those of one step, or all.

        Raises:
            Unavailable: not now.
        """
        ...


async def send_records(recorded: Recorded, scope: Scope, send: Send, *, is_known: bool) -> None:
    """Answer a GET or HEAD; `is_known` says whether whoever asks has sent the token."""
    if not is_known and not (_is_near(scope.get("client")) and _NAMES.answers(_host(scope), None)):
        await send_answer(send, _NOT_FROM_AFAR)
        return
    asked = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    one, step = asked.get("id", [None])[0], asked.get("step", [None])[0]
    async with aclosing(_pieces(recorded.records(one, step))) as pieces:
        try:
            piece = await anext(pieces, b"")
        except Unavailable as error:
            await send_answer(send, Answer(HTTPStatus.SERVICE_UNAVAILABLE, TEXT, f"{error}\n".encode()))
            return
        await start(send, HTTPStatus.OK, {"Content-Type": "application/x-ndjson"})
        while piece and scope["method"] != "HEAD":
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await anext(pieces, b"")
    await send({"type": "http.response.body", "body": b""})


async def _pieces(records: AsyncGenerator[Progress, None]) -> AsyncGenerator[bytes, None]:
    piece = bytearray()
    async with aclosing(records):
        async for record in records:
            piece += layout.encode(record) + b"\n"
            if len(piece) >= _PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
    if piece:
        yield bytes(piece)


def _host(scope: Scope) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")


def _is_near(client: Any) -> bool:
    try:
        return bool(client) and ip_address(client[0]).is_loopback
    except ValueError:
        return False
