"""Holds a recorded conversation again, with our coordinator on a real NATS server in the place of the Go service.

Whatever somebody else said is published as it was recorded, byte for byte, once ours has said what the recording has
before it. What ours publishes and stores is taken down as it passes by, by a client that has no code of the product.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from penstock.app.postprocessing import PostprocessingService
from penstock.testing import eventually

STREAM, DURABLE, BUCKET = "main-queue", "postprocessing-pull", "postprocessing"
US = "postprocessing"
_TIMERS = ("POSTPROCESSING_DELAY", "POSTPROCESSING_RETRY_BACKOFF_DURATION")
_GHOSTS_SECONDS = 0.25
"""How long after the end of a recording something may still come that should not."""


@dataclass(frozen=True)
class Message:
    """A message as it was on the wire."""

    raw: str

    @property
    def envelope(self) -> dict[str, Any]:
        envelope: dict[str, Any] = json.loads(self.raw)
        return envelope

    @property
    def metadata(self) -> dict[str, str]:
        metadata: dict[str, str] = self.envelope["Metadata"]
        return metadata

    @property
    def kind(self) -> str:
        return self.metadata["eventtype"].removeprefix("events.")

    @property
    def payload_raw(self) -> str:
        return base64.b64decode(self.envelope["Payload"]).decode()

    @property
    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = json.loads(self.payload_raw)
        return payload

    @property
    def upload(self) -> str:
        return str(self.payload["UploadID"])

    @property
    def summary(self) -> str:
        payload = self.payload
        match self.kind:
            case "StartPostprocessingStep":
                return f"start {payload['StepToStart']}"
            case "PostprocessingFinished":
                return f"finish {payload['Outcome']}"
            case "PostprocessingRetry":
                return f"retry {payload['Failures']}"
            case kind:
                return kind


def comparable(message: Message) -> str:
    """The message with its payload as text, and without what is another one each time: IDs, times, span IDs."""
    envelope = message.envelope
    envelope["Timestamp"] = _mask(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z", envelope["Timestamp"], "time")
    envelope["ID"] = _mask(_UUID, envelope["ID"], "id")
    metadata = envelope["Metadata"]
    metadata["eventid"] = _mask(_UUID, metadata["eventid"], "id")
    metadata["initiatorid"] = "client"  # compared by itself
    if metadata["traceparent"]:
        metadata["traceparent"] = _mask("00-[0-9a-f]{32}-[0-9a-f]{16}-00", metadata["traceparent"], "span")
    envelope["Payload"] = message.payload_raw
    if message.kind in ("RestartPostprocessing", "ResumePostprocessing"):  # these say when they were sent
        envelope["Payload"] = re.sub(
            r'"Timestamp":\{"seconds":\d+(,"nanos":\d+)?\}', '"Timestamp":time', envelope["Payload"]
        )
    text = json.dumps(envelope, separators=(",", ":"), ensure_ascii=False)
    assert message.raw == compact(message.envelope), "written in another form than Go's"
    return text


_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def compact(value: object) -> str:
    """JSON as Go writes it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _mask(form: str, value: str, name: str) -> str:
    assert re.fullmatch(form, value), f"{name}: {value!r}"
    return name


@dataclass
class Listener:
    """Takes down what passes by on the server: events that nobody here has sent, and records."""

    endpoint: str
    durable: str = DURABLE
    """The consumer of the coordinator."""
    said: list[Message] = field(default_factory=list)
    written: dict[str, list[str]] = field(default_factory=dict)
    """By subject in the bucket, the values that were stored there; an empty one is a removal."""
    _sent: Counter[bytes] = field(default_factory=Counter)
    _stored: set[str] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self.client: Client = await nats.connect(self.endpoint)
        self.jetstream = self.client.jetstream(timeout=60)
        await self.client.subscribe(STREAM, cb=self._on_event)
        await self.client.subscribe(f"$KV.{BUCKET}.>", cb=self._on_record)
        await self.client.flush()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.client.close()

    async def say(self, raw: str) -> None:
        data = raw.encode()
        self._sent[data] += 1
        await self.jetstream.publish(STREAM, data)

    async def settled(self, *, but_for: int = 0) -> None:
        """Wait until everything that is on the stream was acknowledged, and has come here as well.

        `but_for` says of how many messages it never will be.
        """
        await eventually(lambda: self._is_settled(but_for), timeout_seconds=60)
        await self.client.flush()

    async def _is_settled(self, but_for: int) -> bool:
        try:
            info = await self.jetstream.consumer_info(STREAM, self.durable)
        except NotFoundError:
            return False
        return info.num_ack_pending == but_for and not info.num_pending

    async def _on_event(self, message: Msg) -> None:
        if self._sent[message.data]:
            self._sent[message.data] -= 1
            return
        name = (message.headers or {}).get("Nats-Msg-Id", "")
        if not name or name not in self._stored:  # a repeat is not stored, and comes to nobody
            self._stored.add(name)
            self.said.append(Message(message.data.decode()))

    async def _on_record(self, message: Msg) -> None:
        self.written.setdefault(message.subject, []).append(message.data.decode())


async def hold(listener: Listener, recording: dict[str, Any], expected: Sequence[str] | None) -> None:
    """Say what the others said; return when ours has had the time to say everything, and what it should not.

    Args:
        listener: it says it, and hears the answers.
        recording: the conversation.
        expected: summaries of what ours says where that differs; None: what Go said.
    """
    messages = recording["messages"]
    ours_in_all = Counter(_gos(messages) if expected is None else expected)
    timers = any(name in recording["config"] for name in _TIMERS)
    begun_at = time.monotonic()
    for number, message in enumerate(messages):
        if message["from"] == US:
            continue
        await eventually(_has_said(listener, Counter(_gos(messages[:number])) & ours_in_all), timeout_seconds=60)
        if timers:
            await _until(begun_at + message["at_ms"] / 1000)
        await listener.say(message["raw"])
        await listener.settled()
    await eventually(_has_said(listener, ours_in_all), timeout_seconds=60)
    if timers:
        await _until(begun_at + messages[-1]["at_ms"] / 1000 + _GHOSTS_SECONDS)
    await listener.settled()


def _gos(messages: Sequence[dict[str, Any]]) -> list[str]:
    return [Message(message["raw"]).summary for message in messages if message["from"] == US]


def _has_said(listener: Listener, wanted: Counter[str]) -> Callable[[], bool]:
    return lambda: wanted <= Counter(message.summary for message in listener.said)


async def _until(at: float) -> None:
    """Wait for a moment of the recording: what must not come cannot be waited for in another way."""
    await asyncio.sleep(max(0.0, at - time.monotonic()))


@asynccontextmanager
async def running(service: PostprocessingService) -> AsyncIterator[None]:
    """Run the service in this process; it is ready."""
    task = asyncio.create_task(service.run())

    async def is_ready() -> bool:
        if task.done():
            await task
        return all(check.ok or not check.gates for check in await service.checks())

    try:
        await eventually(is_ready, timeout_seconds=60)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
