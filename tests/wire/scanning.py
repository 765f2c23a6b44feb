"""Holds the conversations of the Go service `antivirus` with ours, over a real NATS server, from outside.

What is said and read here is plain JSON on plain NATS, with no code of the product.
"""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig

from penstock.app.antivirus import AntivirusService
from penstock.settings import load_settings
from penstock.testing import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.aio.client import Client
    from nats.aio.msg import Msg

STREAM = "main-queue"


class Platform:
    """Says start events and hears the answers, as the coordinator would."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.answers: list[dict[str, Any]] = []
        """Every PostprocessingStepFinished: its payload."""
        self.envelopes: list[dict[str, Any]] = []
        """The envelope of each."""
        self.resumed: list[str] = []
        """The upload of every ResumePostprocessing."""

    async def __aenter__(self) -> Self:
        self._client: Client = await nats.connect(self._endpoint)
        self._stream = self._client.jetstream(timeout=60)
        await self._stream.add_stream(StreamConfig(name=STREAM, subjects=[STREAM]))
        await self._client.subscribe(STREAM, cb=self._hear)
        await self._client.flush()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.close()

    async def make_go_consumer(self, *, ack_wait: float = 30) -> None:
        """Leave on the server what a Go service leaves there."""
        await self._stream.add_consumer(
            STREAM,
            ConsumerConfig(
                durable_name="antivirus",
                deliver_group="antivirus",
                deliver_subject=self._client.new_inbox(),
                filter_subject=STREAM,
                deliver_policy=DeliverPolicy.NEW,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ack_wait,
                max_ack_pending=1000,
            ),
        )

    async def consumers(self) -> list[str]:
        return [info.name for info in await self._stream.consumers_info(STREAM)]

    async def unacknowledged(self) -> int:
        """How many events of the group are not done with."""
        found = [info for info in await self._stream.consumers_info(STREAM) if info.name.startswith("antivirus")]
        return sum((info.num_pending or 0) + (info.num_ack_pending or 0) for info in found)

    async def say(self, payload: dict[str, Any], event_type: str = "StartPostprocessingStep") -> None:
        """Publish an event as a Go service does."""
        envelope = {
            "Timestamp": "2026-11-21T00:12:23.733259585Z",
            "Metadata": {
                "eventid": str(uuid.uuid4()),
                "eventtype": f"events.{event_type}",
                "initiatorid": "",
                "traceparent": "",
            },
            "ID": str(uuid.uuid4()),
            "Topic": STREAM,
            "Payload": base64.b64encode(json.dumps(payload).encode()).decode(),
        }
        await self._stream.publish(STREAM, json.dumps(envelope).encode())

    async def scan(self, url: str, size_bytes: int, **more: Any) -> dict[str, Any]:
        """Have one upload scanned; return the answer."""
        upload = str(uuid.uuid4())
        await self.say(start(url, size_bytes, upload, **more))
        return await self.answer_to(upload)

    async def answer_to(self, upload: str, timeout_seconds: float = 60) -> dict[str, Any]:
        def answered() -> bool:
            return any(answer["UploadID"] == upload for answer in self.answers)

        await eventually(answered, timeout_seconds=timeout_seconds)
        return next(answer for answer in self.answers if answer["UploadID"] == upload)

    async def _hear(self, message: Msg) -> None:
        envelope = json.loads(message.data)
        if envelope["Metadata"]["eventtype"] == "events.PostprocessingStepFinished":
            self.envelopes.append(envelope)
            self.answers.append(json.loads(base64.b64decode(envelope["Payload"])))
        elif envelope["Metadata"]["eventtype"] == "events.ResumePostprocessing":
            payload = json.loads(base64.b64decode(envelope["Payload"]))
            assert payload["Step"] == ""  # a step would win, and have everything in it started again
            self.resumed.append(payload["UploadID"])


def start(url: str, size_bytes: int, upload: str, **more: Any) -> dict[str, Any]:
    """Return a start event."""
    return {
        "UploadID": upload,
        "URL": url,
        "ExecutingUser": None,
        "Filename": "report.txt",
        "Filesize": size_bytes,
        "Token": "",
        "ResourceID": None,
        "RevaToken": "",
        "StepToStart": "virusscan",
        "Timestamp": None,
        "ImpersonatingUser": None,
    } | more


@asynccontextmanager
async def scanning(folder: Path, environment: dict[str, str], *, ready: bool = True) -> AsyncIterator[AntivirusService]:
    """Run our service in this process, with an environment as the Go service has it."""
    settings = load_settings(environ=environment, folder=folder, service="antivirus")
    service = AntivirusService(settings)
    working = asyncio.create_task(service.run())

    async def up() -> bool:
        if working.done():
            working.result()
        checks = await service.checks()
        return checks[0].name == "bus" and (not ready or all(check.ok for check in checks))

    try:
        await eventually(up, timeout_seconds=60)
        yield service
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
