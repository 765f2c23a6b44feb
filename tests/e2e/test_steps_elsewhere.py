"""Steps in processes of their own, between a coordinator and its bus: in plain JSON, and with the kit."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.js.api import StreamConfig
from PIL import Image

from penstock.app.postprocessing import PostprocessingService
from penstock.settings import load_settings
from penstock.testing import eventually
from tests.servers.bytes_server import BytesServer, serving_bytes
from tests.servers.nats import NatsServer
from tests.servers.single import running_services
from tests.wire.conversation import STREAM, Listener, comparable, running
from tests.wire.strangers import envelope, upload

EXAMPLES = Path(__file__).parents[2] / "examples"
SLOW = """
import os
import time
from pathlib import Path

from penstock import Outcome, StepUpload, step

FOLDER = Path(os.environ["MARKS"])


@step("slow", workers=2)
def slow(upload: StepUpload) -> Outcome:
    (FOLDER / f"{upload.id}.{os.getpid()}").touch()
    while not (FOLDER / "go on").exists() and not upload.cancelled:
        time.sleep(0.02)
    return Outcome.CONTINUE
"""


@pytest.fixture
def files() -> Iterator[BytesServer]:
    with serving_bytes() as server:
        yield server


def begun(upload_id: str, url: str, content: bytes) -> str:
    return envelope("BytesReceived", upload(upload_id) | {"URL": url, "Filesize": len(content)})


def started(upload_id: str, step: str, url: str, content: bytes) -> str:
    more = {"URL": url, "Filesize": len(content), "StepToStart": step, "Token": "", "RevaToken": ""}
    return envelope("StartPostprocessingStep", upload(upload_id) | more)


async def test_the_example_in_plain_json(nats: NatsServer, files: BytesServer) -> None:
    settings = load_settings(
        environ={
            "OCIS_EVENTS_ENDPOINT": nats.endpoint,
            "OCIS_PERSISTENT_STORE_NODES": nats.endpoint,
            "POSTPROCESSING_STEPS": "checksum",
            "POSTPROCESSING_RETRY_BACKOFF_DURATION": "100ms",
        },
        service="postprocessing",
    )
    content = os.urandom(100_000)
    async with Listener(nats.endpoint) as listener, running(PostprocessingService(settings)):
        example = await asyncio.create_subprocess_exec(
            sys.executable,
            str(EXAMPLES / "checksum_step.py"),
            env={**os.environ, "EVENTS": nats.endpoint},
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert example.stdout is not None
            assert await example.stdout.readline() == b"ready\n"
            await listener.say("no event at all")
            await listener.say(begun("u1", files.put("u1", content), content))
            await listener.say(begun("u2", f"{files.url}/u2", content))
            await eventually(lambda: "retry 1" in said_about(listener, "u2"), timeout_seconds=60)
            files.put("u2", content)
            await eventually(lambda: "finish continue" in said_about(listener, "u2"), timeout_seconds=60)
            await eventually(lambda: "finish continue" in said_about(listener, "u1"), timeout_seconds=60)
        finally:
            example.kill()
            await example.communicate()
    assert said_about(listener, "u1") == ["start checksum", "PostprocessingStepFinished", "finish continue"]
    start, answer, _ = [message for message in listener.said if message.upload == "u1"]
    assert answer.payload["Result"] == {"sha256": hashlib.sha256(content).hexdigest()}
    assert answer.metadata["traceparent"] == start.metadata["traceparent"]


def said_about(listener: Listener, upload_id: str) -> list[str]:
    return [message.summary for message in listener.said if message.upload == upload_id]


@pytest.mark.parametrize("kind", ["PostprocessingStepFinished", "PostprocessingFinished"])
async def test_an_answer_may_have_either_name(nats: NatsServer, kind: str) -> None:
    """The manuals of oCIS say `PostprocessingFinished` with a `FinishedStep`; its code has the other name."""
    settings = load_settings(
        environ={
            "OCIS_EVENTS_ENDPOINT": nats.endpoint,
            "OCIS_PERSISTENT_STORE_NODES": nats.endpoint,
            "POSTPROCESSING_STEPS": "one,two",
        },
        service="postprocessing",
    )
    async with Listener(nats.endpoint) as listener, running(PostprocessingService(settings)):
        await listener.say(begun("u1", "http://127.0.0.1:1/", b""))
        await listener.settled()
        for step in ("one", "two"):
            await listener.say(envelope(kind, {"UploadID": "u1", "FinishedStep": step, "Outcome": "continue"}))
            await listener.settled()
        # Its own decision, which it hears as well, is no answer of a step.
        await listener.say(envelope("PostprocessingFinished", {"UploadID": "u1", "Outcome": "continue"}))
        await listener.settled()
    assert said_about(listener, "u1") == ["start one", "start two", "finish continue"]


async def test_two_processes_with_the_kit_share_the_work(nats: NatsServer, files: BytesServer, tmp_path: Path) -> None:
    marks, pictures = tmp_path / "marks", tmp_path / "thumbnails"
    marks.mkdir()
    slow = tmp_path / "slow.py"
    slow.write_text(SLOW)
    steps = ("step", "run", str(EXAMPLES / "thumbnails.py"), str(slow))
    settings = {
        "OCIS_EVENTS_ENDPOINT": nats.endpoint,
        "PENSTOCK_EVENTS_ACK_WAIT": "2s",
        "THUMBNAILS": str(pictures),
        "MARKS": str(marks),
    }
    content = picture()
    async with Listener(nats.endpoint) as listener:
        await listener.jetstream.add_stream(StreamConfig(name=STREAM, subjects=[STREAM]))
        with running_services(tmp_path, 2, *steps, **settings) as (one, other):
            for number in range(40):
                url = files.put(f"p{number}", content)
                await listener.say(started(f"p{number}", "thumbnail", url, content))
            uploads = {f"p{number}": 1 for number in range(40)}
            await eventually(lambda: answers(listener) == uploads, timeout_seconds=60)
            assert {path.name for path in pictures.iterdir()} == {f"{upload}.png" for upload in uploads}

            for number in range(4):
                url = files.put(f"s{number}", content)
                await listener.say(started(f"s{number}", "slow", url, content))
            await eventually(lambda: workers(marks) == {one.process.pid, other.process.pid}, timeout_seconds=60)
            await eventually(lambda: len(list(marks.iterdir())) == 4, timeout_seconds=60)
            await asyncio.to_thread(one.kill)
            (marks / "go on").touch()
            uploads |= {f"s{number}": 1 for number in range(4)}
            await eventually(lambda: answers(listener) == uploads, timeout_seconds=60)
            done_again = {path.name for path in marks.glob(f"*.{other.process.pid}")}
            assert len(done_again) == 4
    done = [message for message in listener.said if message.kind == "PostprocessingStepFinished"]
    assert {message.payload["Outcome"] for message in done} == {"continue"}
    assert all(comparable(message) for message in done)
    assert all(result_of(message.payload) for message in done if message.upload.startswith("p"))


def result_of(payload: dict[str, Any]) -> bool:
    return bool(payload["Result"] == {"thumbnail": f"{payload['UploadID']}.png"} and payload["Error"] is None)


def answers(listener: Listener) -> Counter[str]:
    """How often each upload was answered; signs of life left out."""
    return Counter(message.upload for message in listener.said if message.kind == "PostprocessingStepFinished")


def workers(marks: Path) -> set[int]:
    return {int(path.suffix[1:]) for path in marks.iterdir() if path.suffix}


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (640, 480), "teal").save(file, "PNG")
    return file.getvalue()
