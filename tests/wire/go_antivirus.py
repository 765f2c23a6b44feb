"""A model of the Go service `antivirus`, made from what was seen of it. It has the weaknesses on purpose.

It acknowledges before it works, knows no timeout, takes what came of a download for all of it, and every reply of clamd
without FOUND for a clean file.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import nats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.aio.msg import Msg

_STREAM = "main-queue"


@asynccontextmanager
async def go_scanning(folder: Path, environment: dict[str, str]) -> AsyncIterator[None]:
    """Run the model, with the environment that the service would have."""
    del folder
    client = await nats.connect(environment["OCIS_EVENTS_ENDPOINT"])
    stream = client.jetstream()
    waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=1)

    async def take(message: Msg) -> None:
        envelope = json.loads(message.data)
        if envelope["Metadata"]["eventtype"] == "events.StartPostprocessingStep":
            await waiting.put(json.loads(base64.b64decode(envelope["Payload"])))
        await message.ack()

    async def work() -> None:
        while True:
            event = await waiting.get()
            result, outcome = await _scan(event, environment)
            payload = {
                **{key: event[key] for key in ("UploadID", "ExecutingUser", "Filename")},
                "FinishedStep": "virusscan",
                "Result": {**result, "Scandate": datetime.now(UTC).isoformat(), "ResourceID": event["ResourceID"]},
                "Error": None,
                "Outcome": outcome,
                "Timestamp": None,
            }
            body = {
                "Timestamp": datetime.now(UTC).isoformat(),
                "Metadata": {"eventid": str(uuid.uuid4()), "eventtype": "events.PostprocessingStepFinished"},
                "ID": str(uuid.uuid4()),
                "Topic": _STREAM,
                "Payload": base64.b64encode(json.dumps(payload).encode()).decode(),
            }
            await stream.publish(_STREAM, json.dumps(body).encode())

    def ended(_: asyncio.Task[None]) -> None:
        for worker in workers:  # what ends one of them, ends the process
            worker.cancel()

    workers = [asyncio.create_task(work()) for _ in range(int(environment.get("ANTIVIRUS_WORKERS", "10")))]
    for worker in workers:
        worker.add_done_callback(ended)
    await stream.subscribe(_STREAM, queue="antivirus", durable="antivirus", manual_ack=True, cb=take)
    try:
        yield
    finally:
        while alive := [worker for worker in workers if not worker.done()]:
            for worker in alive:
                worker.cancel()  # more than once: nats-py may swallow a cancellation
            await asyncio.wait(alive, timeout=1)
        await asyncio.gather(*workers, return_exceptions=True)
        await client.close()


async def _scan(event: dict[str, Any], environment: dict[str, str]) -> tuple[dict[str, Any], str]:
    limit = int(environment.get("ANTIVIRUS_MAX_SCAN_SIZE", "0"))
    if event["Filesize"] == 0 or (limit and event["Filesize"] > limit):
        return _result(), "continue"
    try:
        body = await _download(event["URL"])
        reply = await _ask_clamd(environment["ANTIVIRUS_CLAMAV_SOCKET"], body)
    except OSError as error:
        return _result(error=str(error)), "retry"
    found = re.search(rb": (.*) FOUND", reply)
    if found is None:
        return _result(description="Regex had no matches" if b": OK" not in reply else ""), "continue"
    return _result(description=found[1].decode(), infected=True), "delete"


def _result(*, description: str = "", infected: bool = False, error: str = "") -> dict[str, Any]:
    return {"Infected": infected, "Description": description, "ErrorMsg": error, "Timestamp": None}


async def _download(url: str) -> bytes:
    body = b""
    async with httpx.AsyncClient(timeout=3600, trust_env=False) as client, client.stream("GET", url) as answer:
        try:
            async for piece in answer.aiter_bytes():
                body += piece
        except httpx.RemoteProtocolError:  # the end came early: nobody noticed
            pass
    return body


async def _ask_clamd(address: str, body: bytes) -> bytes:
    if address.startswith("tcp://"):
        parts = urlsplit(address)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    else:
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix://"))
    try:
        writer.write(b"nINSTREAM\n")
        for begin in range(0, len(body), 1024):
            piece = body[begin : begin + 1024]
            writer.write(len(piece).to_bytes(4, "big") + piece)
        writer.write(bytes(4))
        await writer.drain()
        reply = await reader.readline()
    finally:
        writer.close()
    if not reply:
        raise ExitStatus2
    return reply


class ExitStatus2(Exception):
    """A nil was dereferenced."""
