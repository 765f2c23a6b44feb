"""An endpoint for workers: takes the files that the gateway pushes (`push`), and has steps find them (`inbox`).

It is an ASGI application, to be mounted in a server of yours, or run by itself: `penstock step receive`. Without a
secret that the gateway has to show, only this machine is served. `delivery.pushed` has the protocol; forms are taken as
well (`form`).
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing
from datetime import timedelta
from ipaddress import IPv6Address, ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import msgspec
import structlog

from ..clock import Clock, SystemClock
from ..delivery.pushed import ID, number, read_digest, written_digest
from ..errors import PenstockError
from ..threads import to_its_end
from .form import BadForm, Field, form_parts
from .hashed import Hashes, MayGoOn
from .inbox import Arriving, Busy, NoRoom, WrongBytes, arrived, arrived_so_far, collect

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

KEEP: Final = timedelta(days=1)
"""How long a file waits for its step."""
_COLLECT_EVERY: Final = timedelta(minutes=10)
_STALL_SECONDS: Final = 60.0
_PATIENCE_SECONDS: Final = 10.0
"""How long a sender waits for what an earlier process has written to be hashed: of what was not, it sends again."""
_STATUS: Final = {Busy: 423, NoRoom: 507, WrongBytes: 460}


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str] = MappingProxyType({})
    detail: str = ""


class _Wrong(Exception):
    """The request is answered with what this carries."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.answer = _Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, detail)


class Receiving:
    """The application.

    Args:
        folder: where files arrive. It is made when it is missing.
        secret: what the gateway has to show as a bearer token; empty: whoever is on this machine may push.
        keep: how long a file waits for its step.
        clock: tells the time.
    """

    def __init__(self, folder: Path, *, secret: str = "", keep: timedelta = KEEP, clock: Clock | None = None) -> None:
        self._folder = folder
        self._expected = f"Bearer {secret}".encode() if secret else None
        self._keep = keep
        self._clock = SystemClock() if clock is None else clock
        self._hashes = Hashes()
        self._collected_at: float | None = None
        folder.mkdir(parents=True, exist_ok=True)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; a server's start and end are taken note of."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            raise TypeError(f"not for {scope['type']}")
        await self._collect()
        try:
            answer = await self._answer(scope, receive)
        except _Wrong as wrong:
            answer = wrong.answer
        except PenstockError as error:
            answer = _Answer(_STATUS.get(type(error), 500), detail=str(error))
        except OSError as error:
            log.exception("receiving_failed")
            answer = _Answer(503, detail=error.strerror or type(error).__name__)
        await _send(send, answer)

    async def _answer(self, scope: Message, receive: Receive) -> _Answer:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self._check_caller(scope, headers)
        if scope["method"] == "POST":
            return await self._take_form(headers, receive)
        name = scope["path"].rpartition("/")[2]
        if not ID.fullmatch(name):
            raise _Wrong(404, "a file is named by the ID of a start event")
        match scope["method"]:
            case "HEAD":
                return await asyncio.to_thread(self._head, name)
            case "PUT" | "PATCH" as method:
                return await self._take(name, headers, receive, anew=method == "PUT")
            case method:
                raise _Wrong(405, f"{method} is not for this address", Allow="HEAD, PUT, PATCH, POST")

    def _check_caller(self, scope: Message, headers: dict[str, str]) -> None:
        if self._expected is None:
            client = scope.get("client")
            if client is not None and not is_loopback(client[0]):
                raise _Wrong(403, "this endpoint has no secret, so it serves its own machine only: set one")
            if "origin" in headers:  # browsers send forms of any page to this machine, and say whose they are
                raise _Wrong(403, "this endpoint has no secret, so it serves no browsers: set one")
            return
        shown = headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(shown, self._expected):
            raise _Wrong(401, "show the secret as a bearer token", WWW_Authenticate="Bearer")

    def _head(self, name: str) -> _Answer:
        may_go_on = self._patience()
        whole = arrived(self._folder, name, self._hashes, may_go_on)
        if whole is not None:
            size, sha256 = whole
            more = {"Retry-After": "1"} if sha256 is None else {"Repr-Digest": written_digest(sha256)}
            return _Answer(204, {"Upload-Offset": str(size), "Upload-Complete": "?1", **more})
        so_far = arrived_so_far(self._folder, name, self._hashes, may_go_on)
        if so_far is None:
            raise _Wrong(404, "nothing of it is here")
        return _Answer(204, {"Upload-Offset": str(so_far), "Upload-Complete": "?0"})

    def _patience(self) -> MayGoOn:
        ends_at = self._clock.monotonic() + _PATIENCE_SECONDS
        return lambda: self._clock.monotonic() < ends_at

    async def _take(self, name: str, headers: dict[str, str], receive: Receive, *, anew: bool) -> _Answer:
        sha256, length = read_digest(headers.get("repr-digest", "")), number(headers.get("content-length"))
        if sha256 is None or length is None:
            raise _Wrong(400, "say Content-Length, and Repr-Digest with sha-256")
        file = await _begun(self._folder, name, self._hashes, anew=anew)
        try:
            if not anew:
                asked = number(headers.get("upload-offset"))
                await to_its_end(file.catch_up, asked, self._patience())
                if asked != file.offset:
                    raise _Wrong(409, "it goes on from another byte", Upload_Offset=str(file.offset))
                await to_its_end(file.drop_the_rest)
            size = file.offset + length
            async for piece in _body(receive):
                if file.offset + len(piece) > size:
                    raise _Wrong(400, "there is more than Content-Length says")
                await to_its_end(file.write, piece)
            if file.offset != size:
                raise _Wrong(400, "it broke off", Upload_Offset=str(file.offset), Upload_Complete="?0")
            await to_its_end(file.finish, sha256)
        finally:
            file.close()
        log.info("file_received", id=name, upload=headers.get("penstock-upload", "")[:64], size_bytes=size)
        return _Answer(201, {"Upload-Offset": str(size), "Upload-Complete": "?1"})

    async def _take_form(self, headers: dict[str, str], receive: Receive) -> _Answer:
        """Take the file of a form; the fields before it say what it is."""
        fields: dict[str, str] = {}
        file: Arriving | None = None
        try:
            async with aclosing(form_parts(headers.get("content-type", ""), _body(receive))) as parts:
                async for part in parts:
                    if isinstance(part, Field):
                        fields[part.name] = part.value
                        continue
                    if file is None:
                        file = await _begun(self._folder, _named_by(fields), self._hashes, anew=True)
                    await to_its_end(file.write, part)
            if file is None:
                file = await _begun(self._folder, _named_by(fields), self._hashes, anew=True)
            await to_its_end(file.finish, fields.get("sha256", ""))
        except BadForm as error:
            raise _Wrong(400, str(error)) from error
        finally:
            if file is not None:
                file.close()
        log.info("file_received", id=fields["start"], upload=fields.get("upload", "")[:64], size_bytes=file.offset)
        return _Answer(201)

    async def _collect(self) -> None:
        """Now and then, remove what no step came for."""
        now = self._clock.monotonic()
        if self._collected_at is None or now - self._collected_at > _COLLECT_EVERY.total_seconds():
            self._collected_at = now
            removed = await asyncio.to_thread(collect, self._folder, self._clock.now(), self._keep)
            if removed:
                log.warning("files_without_a_step_removed", files=len(removed))


async def _begun(folder: Path, name: str, hashes: Hashes, *, anew: bool) -> Arriving:
    """Open a file that arrives; who is cancelled meanwhile leaves it neither open nor locked."""
    opening = asyncio.ensure_future(asyncio.to_thread(Arriving, folder, name, anew=anew, hashes=hashes))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait({opening})
        if opening.exception() is None:
            opening.result().close()
        raise


def _named_by(fields: Mapping[str, str]) -> str:
    if not ID.fullmatch(fields.get("start", "")) or not fields.get("sha256"):
        raise _Wrong(400, "say in fields before the file: start, the ID of a start event, and sha256, in hex")
    return fields["start"]


def is_loopback(host: str) -> bool:
    """Tell whether an address is one that only this machine can reach."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


async def _body(receive: Receive) -> AsyncGenerator[bytes, None]:
    """Yield the body as it comes; it ends early when the connection does, or stands still."""
    while True:
        try:
            async with asyncio.timeout(_STALL_SECONDS):
                message = await receive()
        except TimeoutError:
            return
        if message["type"] != "http.request":
            return
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body", False):
            return


async def _send(send: Send, answer: _Answer) -> None:
    body = msgspec.json.encode({"detail": answer.detail}) if answer.detail else b""
    headers = {**answer.headers, "Content-Type": "application/json"}
    if answer.status != 204:
        headers["Content-Length"] = str(len(body))
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
