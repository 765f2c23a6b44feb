"""Plays storage provider and step services on NATS with as little work as can be, so that the coordinator is measured.

It listens to the subject itself, not to a consumer, and looks only at the two kinds of events that it answers.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Final, Self, cast

SUBJECT: Final = b"main-queue"
_START: Final = b'"events.StartPostprocessingStep"'
_FINISHED: Final = b'"events.PostprocessingFinished"'
_PAYLOAD: Final = b'"Payload":"'
_UPLOAD_ID: Final = b'"UploadID":"'
_USER: Final = {"id": {"idp": "https://idp", "opaque_id": "einstein", "type": 1}, "username": "einstein"}


@dataclass
class Timing:
    """When things happened to one upload, in seconds of `time.perf_counter`."""

    put: float
    started: float = 0.0
    finished: float = 0.0


@dataclass
class Load(asyncio.Protocol):
    """Uploads with one step, at most `window` open at the same time."""

    count: int
    window: int
    uploads: dict[bytes, Timing] = field(default_factory=dict)
    foreign: set[bytes] = field(default_factory=set)
    """Uploads that are none of these, and of which a step was started."""
    done: int = 0
    _buffer: bytearray = field(default_factory=bytearray)

    @classmethod
    async def connect(cls, port: int, *, count: int, window: int) -> Self:
        """Connect and listen."""
        loop = asyncio.get_running_loop()
        _, load = await loop.create_connection(lambda: cls(count, window), "127.0.0.1", port)
        await load.listening
        return load

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        loop = asyncio.get_running_loop()
        self.listening: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        hello = {"verbose": False, "pedantic": False, "lang": "bench", "version": "1", "protocol": 1}
        transport.write(b"CONNECT %s\r\nSUB %s 1\r\nPING\r\n" % (json.dumps(hello).encode(), SUBJECT))

    def begin(self) -> None:
        """Put the first uploads."""
        for _ in range(min(self.window, self.count)):
            self.put()

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        position = 0
        while (end := buffer.find(b"\r\n", position)) >= 0:
            line = bytes(buffer[position:end])
            if line.startswith(b"MSG "):
                size = int(line.rpartition(b" ")[2])
                if len(buffer) < end + 2 + size + 2:
                    break
                self._take(bytes(buffer[end + 2 : end + 2 + size]))
                position = end + 2 + size + 2
                continue
            position = end + 2
            if line == b"PING":
                self._transport.write(b"PONG\r\n")
            elif line == b"PONG" and not self.listening.done():
                self.listening.set_result(None)
            elif line.startswith(b"-ERR"):
                raise ConnectionError(line.decode())
        del buffer[:position]

    def _take(self, body: bytes) -> None:
        if _START in body:
            timing = self.uploads.get(upload_id := _upload_of(body))
            if timing is None:
                self.foreign.add(upload_id)
            elif not timing.started:
                timing.started = time.perf_counter()
                self._say(b"PostprocessingStepFinished", _STEP_FINISHED % (upload_id, upload_id))
        elif _FINISHED in body:
            timing = self.uploads.get(upload_id := _upload_of(body))
            if timing is None or timing.finished:
                return  # said once more: the stream keeps one, who listens to the subject hears both
            timing.finished = time.perf_counter()
            self.done += 1
            self._say(b"UploadReady", _UPLOAD_READY % (upload_id, upload_id))
            if len(self.uploads) < self.count:
                self.put()
            elif self.done == self.count:
                self.ended.set_result(None)

    def put(self, *, answer: bool = True) -> None:
        """Put one upload; without `answer` its step is left alone."""
        upload_id = str(uuid.uuid4()).encode()
        if answer:
            self.uploads[upload_id] = Timing(time.perf_counter())
        self._say(b"BytesReceived", _BYTES_RECEIVED % (upload_id, upload_id, upload_id))

    def _say(self, kind: bytes, payload: bytes) -> None:
        body = _ENVELOPE % (str(uuid.uuid4()).encode(), kind, str(uuid.uuid4()).encode(), base64.b64encode(payload))
        self._transport.write(b"PUB %s %d\r\n%s\r\n" % (SUBJECT, len(body), body))


def _upload_of(body: bytes) -> bytes:
    start = body.index(_PAYLOAD) + len(_PAYLOAD)
    payload = base64.b64decode(body[start : body.index(b'"', start)])
    start = payload.index(_UPLOAD_ID) + len(_UPLOAD_ID)
    return payload[start : payload.index(b'"', start)]


def _template(document: dict[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).replace("%", "%%").replace("@", "%s").encode()


_ENVELOPE: Final = _template(
    {
        "Timestamp": "2026-05-01T12:00:00.123456789Z",
        "Metadata": {"eventid": "@", "eventtype": "events.@", "initiatorid": "client-1", "traceparent": ""},
        "ID": "@",
        "Topic": "main-queue",
        "Payload": "@",
    }
)
_BYTES_RECEIVED: Final = _template(
    {
        "UploadID": "@",
        "SpaceOwner": None,
        "ExecutingUser": _USER,
        "ResourceID": {"storage_id": "s", "opaque_id": "@", "space_id": "space"},
        "Filename": "file.bin",
        "Filesize": 10,
        "URL": "http://127.0.0.1:1/data/@",
        "Timestamp": None,
        "ImpersonatingUser": None,
    }
)
_STEP_FINISHED: Final = _template(
    {
        "UploadID": "@",
        "ExecutingUser": _USER,
        "Filename": "@",
        "FinishedStep": "virusscan",
        "Result": None,
        "Error": None,
        "Outcome": "continue",
        "Timestamp": None,
    }
)
_UPLOAD_READY: Final = _template(
    {
        "UploadID": "@",
        "Filename": "@",
        "SpaceOwner": None,
        "ExecutingUser": _USER,
        "ImpersonatingUser": None,
        "FileRef": {"resource_id": {"storage_id": "s", "opaque_id": "root", "space_id": "space"}, "path": "./f.bin"},
        "Timestamp": {"seconds": 1777636800},
        "Failed": False,
        "IsVersion": False,
    }
)
