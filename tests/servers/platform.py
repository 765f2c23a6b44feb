"""Plays everything around the coordinator on a real NATS server: the storage provider and the step services.

It speaks the protocol of the Go services from outside, with no code of the product that knows of it, so that it would
notice if both ends of the product were wrong in the same way. What it says has no message ID for the server to know a
repeat by, as with the Go services; a repeat is the same event, byte for byte.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
import uuid
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig
from nats.js.errors import Error as JetStreamError

from penstock.testing import eventually

STREAM = "main-queue"
_CONFIRM_SECONDS = 2.0
_LONGEST_SECONDS = 60.0
_BATCH = 256
_USER = {"id": {"idp": "https://idp", "opaque_id": "einstein", "type": 1}, "username": "einstein"}


@dataclass
class Upload:
    """What is planned for one upload, and what was seen of it."""

    id: str
    plan: dict[str, list[str]]
    """The outcomes that each step answers with, one after the other; then, and without any, `continue`."""
    expected: str = "continue"
    starts: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """By step: the outcome that each start event, by its ID, was answered with."""
    finished: list[tuple[int, str, str]] = field(default_factory=list)
    """Every decision seen: number in the stream, event ID, outcome."""


class Platform:
    """Publishes uploads, answers the steps, takes the decisions, and keeps count."""

    def __init__(
        self,
        endpoint: str,
        *,
        name: str = "platform",
        twice: bool = False,
        spread_seconds: float = 0.0,
        seed: int = 1,
    ) -> None:
        """Build it.

        Args:
            endpoint: where NATS is.
            name: the durable consumer that it reads with.
            twice: whether everything is said twice.
            spread_seconds: how long each thing may be held back, at random, so that the order changes.
            seed: of the chance.
        """
        self.uploads: dict[str, Upload] = {}
        self.seen: Counter[str] = Counter()
        self._counted: set[tuple[str, int]] = set()
        self.done = 0
        """How many uploads have a decision."""
        self.last_decision_at = 0.0
        self.listens = True
        """Whether it takes events now."""
        self._endpoint = endpoint
        self._name = name
        self._twice = twice
        self._spread = spread_seconds
        self._chance = random.Random(seed)
        self._client: Client | None = None
        self._unconfirmed: dict[str, asyncio.Future[bytes]] = {}
        self._number = 0
        self._sending: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._client = await nats.connect(
            self._endpoint, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=_quiet, pending_size=2**26
        )
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(f"{self._inbox}.*", cb=self._confirmed)
        await self._make()
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        tasks = {*self._sending, *([self._reading] if self._reading else [])}
        while tasks := {task for task in tasks if not task.done()}:
            for task in tasks:  # nats-py may swallow a cancellation that comes together with what it waits for
                task.cancel()
            await asyncio.wait(tasks, timeout=0.5)
        if self._client is not None:
            await self._client.close()

    async def said(self) -> int:
        """Return how many events there are on the stream, by whomever."""
        return int((await self._jetstream(timeout=60).stream_info(STREAM)).state.messages)

    @property
    def open(self) -> int:
        """How many uploads have no decision yet."""
        return len(self.uploads) - self.done

    async def put(self, count: int, *, window: int = 1_000_000, plan: Any = None) -> None:
        """Begin `count` uploads, at most `window` of them open at the same time.

        Args:
            count: how many.
            window: how many may be open.
            plan: takes a number and returns the outcomes by step and the decision that follows; None: all pass.
        """
        for number in range(count):
            while self.open >= window:
                self._moved.clear()
                await self._moved.wait()
            steps, expected = plan(number) if plan else ({}, "continue")
            upload = Upload(str(uuid.UUID(int=self._chance.getrandbits(128), version=4)), steps, expected)
            self.uploads[upload.id] = upload
            self._say("BytesReceived", _bytes_received(upload.id), initiator="client-1")
            if number % 64 == 0:
                await asyncio.sleep(0)

    async def sent(self) -> None:
        """Wait until the server has confirmed everything that was said."""
        await eventually(lambda: not self._sending)

    async def settled(self, timeout_seconds: float) -> None:
        """Wait until every upload has a decision, and everything was said; or until the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self.open or self._sending:
                    self._moved.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._moved.wait(), 0.2)

    def wrong(self) -> list[str]:
        """Tell what is not as it should be: lost uploads, decisions that came twice, wrong ones."""
        told = []
        for upload in self.uploads.values():
            outcomes = [outcome for _, _, outcome in upload.finished]
            if outcomes != [upload.expected]:
                told.append(f"{upload.id}: expected {upload.expected!r}, saw {upload.finished}; starts {upload.starts}")
        return told

    async def _make(self) -> None:
        """Make the stream as a Go service makes it, and a durable of our own that begins at its beginning."""
        jetstream = self._jetstream()
        try:
            await jetstream.stream_info(STREAM)
        except JetStreamError:
            await jetstream.add_stream(StreamConfig(name=STREAM, subjects=[STREAM]))
        with suppress(JetStreamError):
            await jetstream.add_consumer(
                STREAM,
                ConsumerConfig(
                    durable_name=self._name,
                    deliver_policy=DeliverPolicy.ALL,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=10,
                    max_ack_pending=20_000,
                ),
            )

    async def _read(self) -> None:
        """Take events in batches, for ever."""
        while True:
            try:
                feed = await self._jetstream().pull_subscribe_bind(self._name, stream=STREAM)
                while True:
                    await (self._take(feed) if self.listens else asyncio.sleep(0.05))
            except (NatsError, JetStreamError, OSError):
                await asyncio.sleep(0.1)
                with suppress(NatsError, JetStreamError, OSError):
                    await self._make()

    async def _take(self, feed: Any) -> None:
        try:
            messages = await feed.fetch(_BATCH, timeout=1)
        except TimeoutError:
            await self._jetstream().consumer_info(STREAM, self._name)  # raises if a server has lost it
            return
        for message in messages:
            self._handle(message)
        for message in messages:
            await message.ack()

    def _handle(self, message: Msg) -> None:
        body = json.loads(message.data)
        kind = body["Metadata"]["eventtype"].removeprefix("events.")
        event_id = body["Metadata"]["eventid"]
        event = json.loads(base64.b64decode(body["Payload"]))
        delivered = (event_id, message.metadata.sequence.stream)
        if delivered not in self._counted:  # it comes again where our acknowledgement was late, or was lost
            self._counted.add(delivered)
            self.seen[kind] += 1
        upload = self.uploads.get(event.get("UploadID", ""))
        if upload is None:
            return
        if kind == "StartPostprocessingStep" and event["StepToStart"] != "delay":
            self._answer(upload, event["StepToStart"], event_id)
        elif kind == "PostprocessingFinished":
            self._decided(upload, message.metadata.sequence.stream, event_id, event["Outcome"])

    def _answer(self, upload: Upload, step: str, event_id: str) -> None:
        answered = upload.starts[step]
        if event_id not in answered:
            outcomes = upload.plan.get(step, [])
            answered[event_id] = outcomes[len(answered)] if len(answered) < len(outcomes) else "continue"
        self._say("PostprocessingStepFinished", _step_finished(upload.id, step, answered[event_id]))

    def _decided(self, upload: Upload, sequence: int, event_id: str, outcome: str) -> None:
        if any(known == sequence for known, _, _ in upload.finished):
            return
        first = not upload.finished
        upload.finished.append((sequence, event_id, outcome))
        if first:
            self.done += 1
            self.last_decision_at = time.monotonic()
            self._moved.set()
        self._say("UploadReady", _upload_ready(upload.id, failed=outcome != "continue"))

    def _say(self, kind: str, payload: dict[str, Any], *, initiator: str = "") -> None:
        data = _envelope(kind, payload, initiator)
        for _ in range(2 if self._twice else 1):
            task = asyncio.create_task(self._send(data, self._chance.uniform(0, self._spread) if self._spread else 0.0))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, data: bytes, pause_seconds: float) -> None:
        """Publish until it is confirmed."""
        assert self._client is not None
        if pause_seconds:
            await asyncio.sleep(pause_seconds)
        loop = asyncio.get_running_loop()
        while True:
            self._number += 1
            token = str(self._number)
            confirmed = self._unconfirmed[token] = loop.create_future()
            try:
                await self._client.publish(STREAM, data, reply=f"{self._inbox}.{token}")
                if "seq" in json.loads(await self._confirmation(confirmed)):
                    return
            except (TimeoutError, NatsError, OSError, ValueError):
                await asyncio.sleep(0.1)
            finally:
                del self._unconfirmed[token]

    async def _confirmation(self, confirmed: asyncio.Future[bytes]) -> bytes:
        """Wait for one; a server that is slow is not told again what it knows, unless a connection was lost."""
        assert self._client is not None
        connections = self._client.stats["reconnects"]
        ends_at = time.monotonic() + _LONGEST_SECONDS
        while True:
            try:
                return await asyncio.wait_for(asyncio.shield(confirmed), _CONFIRM_SECONDS)
            except TimeoutError:
                lost = not self._client.is_connected or self._client.stats["reconnects"] != connections
                if lost or time.monotonic() > ends_at:
                    raise

    async def _confirmed(self, message: Msg) -> None:
        waiting = self._unconfirmed.get(message.subject.rpartition(".")[2])
        if waiting is not None and not waiting.done():
            waiting.set_result(message.data)

    def _jetstream(self, timeout: float = 5) -> Any:
        assert self._client is not None
        return self._client.jetstream(timeout=timeout)


async def _quiet(error: Exception) -> None:
    del error


def _envelope(kind: str, payload: dict[str, Any], initiator: str) -> bytes:
    metadata = {
        "eventid": str(uuid.uuid4()),
        "eventtype": f"events.{kind}",
        "initiatorid": initiator,
        "traceparent": "",
    }
    body = {
        "Timestamp": "2026-05-01T12:00:00.123456789Z",
        "Metadata": metadata,
        "ID": str(uuid.uuid4()),
        "Topic": STREAM,
        "Payload": base64.b64encode(json.dumps(payload, separators=(",", ":")).encode()).decode(),
    }
    return json.dumps(body, separators=(",", ":")).encode()


def _bytes_received(upload_id: str) -> dict[str, Any]:
    return {
        "UploadID": upload_id,
        "SpaceOwner": None,
        "ExecutingUser": _USER,
        "ResourceID": {"storage_id": "s", "opaque_id": upload_id, "space_id": "space"},
        "Filename": f"{upload_id}.bin",
        "Filesize": 10,
        "URL": f"http://127.0.0.1:1/data/{upload_id}",
        "Timestamp": None,
        "ImpersonatingUser": None,
    }


def _step_finished(upload_id: str, step: str, outcome: str) -> dict[str, Any]:
    return {
        "UploadID": upload_id,
        "ExecutingUser": _USER,
        "Filename": f"{upload_id}.bin",
        "FinishedStep": step,
        "Result": None,
        "Error": None,
        "Outcome": outcome,
        "Timestamp": None,
    }


def _upload_ready(upload_id: str, *, failed: bool) -> dict[str, Any]:
    return {
        "UploadID": upload_id,
        "Filename": f"{upload_id}.bin",
        "SpaceOwner": None,
        "ExecutingUser": _USER,
        "ImpersonatingUser": None,
        "FileRef": {"resource_id": {"storage_id": "s", "opaque_id": "root", "space_id": "space"}, "path": "./f.bin"},
        "Timestamp": {"seconds": 1777636800},
        "Failed": failed,
        "IsVersion": False,
    }
