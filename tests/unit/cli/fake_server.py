"""A small server of the HTTP interface that the commands use, which fails when it is told to.

It is a fake: it runs no steps and keeps bytes in memory. What it is good for is the trouble that a real server makes
once in a while only. The commands meet the real one in tests/e2e.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

NOW = "2026-01-02T03:04:05Z"
ENDED = ("released", "rejected", "deleted", "cancelled", "expired")
PROBLEM = "application/problem+json"


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Any, status: int = 200) -> Self:
        return cls(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    @classmethod
    def problem(cls, status: int, detail: str, **headers: str) -> Self:
        body = json.dumps({"status": status, "title": "", "code": "x", "detail": detail}).encode()
        return cls(status, body, {"Content-Type": PROBLEM, **headers})


@dataclass
class Fault:
    """What happens to the next request of a method whose path begins so."""

    method: str
    path: str
    answer: Answer | None = None
    """Answered instead; the body is read first."""
    cut_after_bytes: int | None = None
    """The connection is cut after so many bytes of the body; those are kept."""
    answer_kept: bool = False
    """With `cut_after_bytes`: nothing is cut, but the rest of the body is thrown away."""
    lose_answer: bool = False
    """The request is carried out, and the connection cut before the answer."""
    cut_answer_after_bytes: int | None = None
    """The connection is cut after so many bytes of the answer's body."""


class Upload:
    def __init__(self, upload_id: str, size: int, metadata: dict[str, str]) -> None:
        self.id = upload_id
        self.size = size
        self.metadata = metadata
        self.data = bytearray()
        self.phase = "processing" if size == 0 else "receiving"
        self.reason = ""
        self.processing: dict[str, Any] | None = None
        self.scan: dict[str, Any] | None = None
        self.releasing: dict[str, Any] | None = None
        self.received_at: str | None = NOW if size == 0 else None

    def view(self) -> dict[str, Any]:
        return {
            "id": self.id, "filename": self.metadata.get("filename", "f"), "space": self.metadata.get("space", ""),
            "size": self.size, "offset": len(self.data), "media_type": "text/plain", "phase": self.phase,
            "processing": self.processing, "releasing": self.releasing, "outcome": "", "reason": self.reason,
            "scan": self.scan, "run": 1,
            "created_at": NOW, "received_at": self.received_at, "ended_at": None, "expires_at": NOW, "expired": False,
            "age_seconds": 65.0, "metadata": self.metadata, "links": {},
        }  # fmt: skip


class FakeServer:
    """Runs in a thread of its own; what tests set and read is safe to set and read between requests."""

    def __init__(self) -> None:
        self.uploads: dict[str, Upload] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.routes: dict[tuple[str, str], Callable[[Request], Answer]] = {}
        self.received: Callable[[Upload], None] = lambda upload: self.end(upload, "released")
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.streams_work = True
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self, method: str, path: str = "") -> list[Request]:
        return [one for one in self.requests if one.method == method and one.path.startswith(path)]

    def end(self, upload: Upload, phase: str, reason: str = "") -> None:
        upload.phase, upload.reason = phase, reason
        self.tell(phase, upload.id)

    def tell(self, kind: str, upload_id: str) -> None:
        self.events.append((kind, {"upload": upload_id, "kind": kind}))
        self._loop.call_soon_threadsafe(self._news.set)

    def start(self) -> Self:
        if not self._thread.is_alive():
            self._thread.start()
        self._call(self._listen())
        return self

    def stop(self) -> None:
        """Refuse connections from now on, and cut those that there are."""
        self._call(self._close())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def _call(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        parts = urlsplit(target)
        request = Request(method, parts.path, dict(parse_qsl(parts.query)), headers)
        self.requests.append(request)
        fault = self._fault(request)
        length = int(headers.get("content-length", "0"))
        if fault is not None and fault.cut_after_bytes is not None:
            request.body = await reader.readexactly(fault.cut_after_bytes)
            if not fault.answer_kept:
                self._answer(request)
                return False
            await reader.readexactly(length - fault.cut_after_bytes)
        else:
            request.body = await reader.readexactly(length)
        if request.path.endswith("/events") and self.streams_work:
            await self._stream(request, writer)
            return False
        answer = fault.answer if fault is not None and fault.answer is not None else self._answer(request)
        if fault is not None and fault.lose_answer:
            return False
        lines = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in answer.headers.items())]
        if answer.status != 204:
            lines.append(f"Content-Length: {len(answer.body)}")
        end = None if fault is None else fault.cut_answer_after_bytes
        writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else answer.body[:end]))
        await writer.drain()
        if end is not None:
            writer.close()
            await writer.wait_closed()
        return end is None

    def _fault(self, request: Request) -> Fault | None:
        for fault in self.faults:
            if fault.method == request.method and request.path.startswith(fault.path):
                self.faults.remove(fault)
                return fault
        return None

    async def _stream(self, request: Request, writer: asyncio.StreamWriter) -> None:
        # Tests tell events from their own thread, at any moment: none may fall between two looks at the list.
        position = int(request.headers.get("last-event-id", len(self.events)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 1000\n\n")
        while True:
            self._news.clear()
            while position < len(self.events):
                kind, data = self.events[position]
                position += 1
                writer.write(f"id: {position}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode())
            await writer.drain()
            await self._news.wait()

    def _answer(self, request: Request) -> Answer:
        route = self.routes.get((request.method, request.path))
        if route is not None:
            return route(request)
        if request.path == "/api/v1/info":
            return Answer.of({"name": "penstock", "version": "0"})
        if request.path.startswith("/uploads/"):
            return self._tus(request)
        if request.path.startswith("/api/v1/uploads/") and request.method == "GET":
            upload = self.uploads.get(request.path.rpartition("/")[2])
            return Answer.problem(404, "there is no such upload") if upload is None else Answer.of(upload.view())
        return Answer.problem(404, f"{request.path}: Not Found")

    def _tus(self, request: Request) -> Answer:
        assert request.headers["tus-resumable"] == "1.0.0"
        if request.method == "POST":
            return self._create(request)
        upload = self.uploads.get(request.path.rpartition("/")[2])
        if upload is None:
            return Answer.problem(404, "there is no such upload")
        if request.method == "DELETE":
            self.end(upload, "cancelled")
            return Answer(204)
        if upload.phase in ENDED and upload.phase != "released":
            return Answer.problem(410, f"upload {upload.id} is {upload.phase}")
        if request.method == "HEAD":
            return Answer(200, b"", {"Upload-Offset": str(len(upload.data))})
        if int(request.headers["upload-offset"]) != len(upload.data):
            return Answer.problem(409, "wrong offset")
        upload.data += request.body
        if len(upload.data) == upload.size:
            upload.phase, upload.received_at = "processing", NOW
            self.received(upload)
        return Answer(204, b"", {"Upload-Offset": str(len(upload.data))})

    def _create(self, request: Request) -> Answer:
        pairs = (pair.split(" ") for pair in request.headers["upload-metadata"].split(","))
        metadata = {key: base64.b64decode(value).decode("utf-8", "surrogateescape") for key, value in pairs}
        upload = Upload(secrets.token_hex(16), int(request.headers["upload-length"]), metadata)
        self.uploads[upload.id] = upload
        if upload.size == 0:
            self.received(upload)
        return Answer(201, b"", {"Location": f"/uploads/{upload.id}", "Upload-Offset": "0"})
