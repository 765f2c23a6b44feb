"""An instance of the Go service as its neighbours see it: its consumer, its bucket, its events, its early answers.

Made from the description of the protocol, with no code of the product; so is what it does about each event. Retries and
delays are left out: their timers are in its memory, and what becomes of those is the business of other tests.
"""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from typing import Any, Final, Self

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy, ReplayPolicy, StreamConfig
from nats.js.errors import NotFoundError

from .conversation import BUCKET, STREAM, compact

GROUP: Final = "postprocessing"
FIELDS: Final = (
    "ID",
    "URL",
    "User",
    "ImpersonatingUser",
    "Filename",
    "Filesize",
    "ResourceID",
    "Steps",
    "Status",
    "Failures",
    "InitiatorID",
    "Finished",
)
"""What it decodes of a record, and writes back; anything else is lost."""


class GoMember:
    """Joins the delivery group while it is open."""

    def __init__(self, endpoint: str, *steps: str) -> None:
        self.handled = 0
        """How many events that are its business it has had."""
        self._endpoint = endpoint
        self._steps = steps
        self._work: asyncio.Queue[bytes] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._client: Client = await nats.connect(self._endpoint, name="postprocessing")
        self._jetstream = self._client.jetstream(timeout=60)
        await self._make()
        self._working = asyncio.create_task(self._run())
        self._subscription = await self._jetstream.subscribe(
            STREAM, queue=GROUP, durable=GROUP, manual_ack=True, cb=self._take
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if not self._client.is_closed:
            await self.leave()

    async def leave(self) -> None:
        """Take nothing more, and end what was begun."""
        await self._subscription.drain()  # type: ignore[no-untyped-call]  # nats-py does not say
        await self._work.join()
        await self._client.close()
        self._working.cancel()
        await asyncio.gather(self._working, return_exceptions=True)

    async def idle(self) -> None:
        """Wait until nothing is left of what it has acknowledged."""
        await self._work.join()

    async def consumer(self) -> ConsumerInfo:
        info: ConsumerInfo = await self._jetstream.consumer_info(STREAM, GROUP)
        return info

    async def _make(self) -> None:
        """Stream, consumer and bucket, as it makes them where they are missing."""
        try:
            await self._jetstream.stream_info(STREAM)
        except NotFoundError:
            await self._jetstream.add_stream(StreamConfig(name=STREAM, subjects=[STREAM], duplicate_window=120))
        try:
            await self.consumer()
        except NotFoundError:
            config = ConsumerConfig(
                durable_name=GROUP,
                deliver_group=GROUP,
                deliver_subject=self._client.new_inbox(),
                filter_subject=STREAM,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=30,
                deliver_policy=DeliverPolicy.NEW,
                replay_policy=ReplayPolicy.INSTANT,
                max_deliver=-1,
                max_ack_pending=1000,
            )
            await self._jetstream.add_consumer(STREAM, config)
        try:
            await self._jetstream.stream_info(f"KV_{BUCKET}")
        except NotFoundError:
            await self._jetstream.create_key_value(bucket=BUCKET, history=1)

    async def _take(self, message: Msg) -> None:
        await message.ack()
        self._work.put_nowait(message.data)

    async def _run(self) -> None:
        while True:
            data = await self._work.get()
            try:
                await self._handle(json.loads(data))
            finally:
                self._work.task_done()

    async def _handle(self, envelope: dict[str, Any]) -> None:
        metadata = envelope["Metadata"]
        event = json.loads(base64.b64decode(envelope["Payload"]))
        match metadata["eventtype"]:
            case "events.BytesReceived":
                await self._begin(event, metadata["initiatorid"])
            case "events.PostprocessingStepFinished":
                await self._go_on(event)
            case "events.UploadReady":
                await self._end(event)
            case _:
                return
        self.handled += 1

    async def _begin(self, event: dict[str, Any], initiator: str) -> None:
        record = {
            "ID": event["UploadID"],
            "URL": event["URL"],
            "User": event["ExecutingUser"],
            "ImpersonatingUser": event["ImpersonatingUser"],
            "Filename": event["Filename"],
            "Filesize": event["Filesize"],
            "ResourceID": event["ResourceID"],
            "Steps": list(self._steps),
            "Status": {"CurrentStep": self._steps[0], "Outcome": ""},
            "Failures": 0,
            "InitiatorID": initiator,
            "Finished": False,
        }
        await self._write(record)
        await self._say(record)

    async def _go_on(self, event: dict[str, Any]) -> None:
        record = await self._read(event["UploadID"])
        if record is None:
            return
        steps, outcome = record["Steps"], event["Outcome"]
        following = steps[steps.index(event["FinishedStep"]) + 1 :] if event["FinishedStep"] in steps else []
        if outcome == "continue" and following:
            record["Status"]["CurrentStep"] = following[0]
        else:
            record["Status"] = {"CurrentStep": "finished", "Outcome": outcome}
        await self._write(record)
        await self._say(record)

    async def _end(self, event: dict[str, Any]) -> None:
        if not event["Failed"]:
            await self._jetstream.publish(_subject(event["UploadID"]), headers={"KV-Operation": "DEL"})
            return
        record = await self._read(event["UploadID"])
        if record is not None:
            await self._write(record | {"Finished": True})

    async def _say(self, record: dict[str, Any]) -> None:
        if record["Status"]["CurrentStep"] == "finished":
            kind, payload = "PostprocessingFinished", _finished(record)
        else:
            kind, payload = "StartPostprocessingStep", _start(record)
        metadata = {
            "eventid": str(uuid.uuid4()),
            "eventtype": f"events.{kind}",
            "initiatorid": record["InitiatorID"],
            "traceparent": "",
        }
        envelope = {
            "Timestamp": "2026-11-21T00:00:00.123456789Z",
            "Metadata": metadata,
            "ID": str(uuid.uuid4()),
            "Topic": STREAM,
            "Payload": base64.b64encode(compact(payload).encode()).decode(),
        }
        await self._jetstream.publish(STREAM, compact(envelope).encode())

    async def _read(self, upload_id: str) -> dict[str, Any] | None:
        try:
            message = await self._jetstream.get_last_msg(f"KV_{BUCKET}", _subject(upload_id))
        except NotFoundError:
            return None
        if not message.data:
            return None
        record = json.loads(base64.b64decode(json.loads(message.data)["data"]))
        return {name: record[name] for name in FIELDS}

    async def _write(self, record: dict[str, Any]) -> None:
        """Without a look at what is there."""
        value = {"key": record["ID"], "data": base64.b64encode(compact(record).encode()).decode(), "metadata": None}
        await self._jetstream.publish(_subject(record["ID"]), compact(value).encode())


def _subject(upload_id: str) -> str:
    return f"$KV.{BUCKET}.{base64.b32encode(upload_id.encode()).decode()}"


def _start(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "UploadID": record["ID"],
        "URL": record["URL"],
        "ExecutingUser": record["User"],
        "Filename": record["Filename"],
        "Filesize": record["Filesize"],
        "Token": "",
        "ResourceID": record["ResourceID"],
        "RevaToken": "",
        "StepToStart": record["Status"]["CurrentStep"],
        "Timestamp": None,
        "ImpersonatingUser": record["ImpersonatingUser"],
    }


def _finished(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "UploadID": record["ID"],
        "Filename": record["Filename"],
        "SpaceOwner": None,
        "ExecutingUser": record["User"],
        "Result": None,
        "Outcome": record["Status"]["Outcome"],
        "Timestamp": None,
        "ImpersonatingUser": record["ImpersonatingUser"],
    }
