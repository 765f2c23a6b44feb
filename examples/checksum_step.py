"""A step service of one's own without Penstock: NATS, and the JSON that the Go services speak.

It answers the step `checksum` for whatever coordinates: the Go service or Penstock. Any number of instances share the
work. Needs nats-py (`pip install nats-py`), and where NATS is: `EVENTS=127.0.0.1:9233 python checksum_step.py`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import urllib.request
import uuid
from datetime import UTC, datetime
from typing import Any

import nats
from nats.errors import TimeoutError as NothingCame
from nats.js.api import ConsumerConfig, DeliverPolicy

STEP, STREAM = "checksum", "main-queue"


async def main() -> None:
    """Take events for ever; those that are not ours are acknowledged and passed over."""
    client = await nats.connect(os.environ.get("EVENTS", "127.0.0.1:9233"), max_reconnect_attempts=-1)
    jetstream = client.jetstream()
    begin = ConsumerConfig(deliver_policy=DeliverPolicy.NEW, ack_wait=30)  # counts when the consumer is made
    events = await jetstream.pull_subscribe(STREAM, durable=f"step-{STEP}", stream=STREAM, config=begin)
    print("ready", flush=True)
    while True:
        try:
            messages = await events.fetch(1, timeout=5)
        except NothingCame:
            continue
        for message in messages:
            await handle(message, jetstream)


async def handle(message: Any, jetstream: Any) -> None:
    """Answer one start event, then acknowledge it: if this process dies before, the event comes to another one."""
    metadata, start = decode(message.data)
    if metadata.get("eventtype") == "events.StartPostprocessingStep" and start.get("StepToStart") == STEP:
        outcome, result = await asyncio.to_thread(work, start["URL"])
        answer_id = str(uuid.uuid5(uuid.NAMESPACE_URL, metadata["eventid"]))  # of a repeat, the same
        answer = {
            "UploadID": start["UploadID"],
            "ExecutingUser": start["ExecutingUser"],
            "Filename": start["Filename"],
            "FinishedStep": STEP,
            "Result": result,
            "Error": None,  # anything else, and the Go services drop the event
            "Outcome": outcome,
            "Timestamp": None,
        }
        told = encode("PostprocessingStepFinished", answer, answer_id, metadata.get("traceparent", ""))
        await jetstream.publish(STREAM, told, headers={"Nats-Msg-Id": answer_id})
    await message.ack()


def work(url: str) -> tuple[str, dict[str, str]]:
    """Read the bytes and return an outcome: continue, retry, abort (keep the bytes) or delete."""
    try:
        with urllib.request.urlopen(url, timeout=60) as file:  # noqa: S310  # whoever may publish is trusted
            return "continue", {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        return "retry", {"error": str(error)}


def decode(data: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the metadata and the payload of an event; nothing of what is none."""
    try:
        envelope = json.loads(data)
        return envelope["Metadata"], json.loads(base64.b64decode(envelope["Payload"]))
    except (ValueError, KeyError, TypeError):
        return {}, {}


def encode(kind: str, payload: dict[str, Any], event_id: str, trace_parent: str) -> bytes:
    """Return an event as the Go services write it: the payload's JSON in base64, in an envelope of JSON."""
    envelope = {
        "Timestamp": datetime.now(UTC).isoformat(),
        "Metadata": {
            "eventid": event_id,
            "eventtype": f"events.{kind}",
            "initiatorid": "",
            "traceparent": trace_parent,
        },
        "ID": str(uuid.uuid4()),
        "Topic": STREAM,
        "Payload": base64.b64encode(json.dumps(payload, separators=(",", ":")).encode()).decode(),
    }
    return json.dumps(envelope, separators=(",", ":")).encode()


if __name__ == "__main__":
    asyncio.run(main())
