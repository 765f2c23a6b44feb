"""How steps on other machines get the bytes: a real server and NATS, with workers that are played by the test."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.delivery.pull import PullDelivery
from penstock.delivery.stream import StreamDelivery
from penstock.delivery.volume import VolumeDelivery
from penstock.events.types import StartPostprocessingStep
from penstock.testing import eventually
from tests.e2e.test_object_storage import settings_of as s3_settings
from tests.servers.azurite import ACCOUNT, AzuriteServer
from tests.servers.azurite import KEY as ACCOUNT_KEY
from tests.servers.nats import NatsServer
from tests.servers.penstock import PenstockServer
from tests.servers.s3 import S3Server
from tests.wire.conversation import Listener, Message
from tests.wire.strangers import answered

BODY = random.Random(7).randbytes(3 * 1024 * 1024 + 5)
SPOILT = BODY[::-1]


@contextmanager
def serving(folder: Path, nats: NatsServer, steps: str, **environment: str) -> Iterator[PenstockServer]:
    server = PenstockServer(folder)
    server.environment = {
        "PENSTOCK_BUS": "nats",
        "OCIS_EVENTS_ENDPOINT": nats.endpoint,
        "POSTPROCESSING_STEPS": steps,
        "POSTPROCESSING_RETRY_BACKOFF_DURATION": "50ms",
        "PENSTOCK_DELIVERY_URL": server.url,
        **environment,
    }
    with server:
        yield server


@pytest.fixture
def nats(nats_server: NatsServer) -> NatsServer:
    return nats_server


def put(server: PenstockServer, name: str = "a.bin", body: bytes = BODY) -> str:
    answer = httpx.put(f"{server.url}/files/{name}", content=body)
    assert answer.status_code < 300, answer.text
    return str(answer.json()["id"])


async def start_of(listener: Listener, upload_id: str, step: str, attempt: int = 1) -> Message:
    def starts() -> list[Message]:
        said = [one for one in listener.said if one.kind == "StartPostprocessingStep" and one.upload == upload_id]
        distinct = {one.metadata["eventid"]: one for one in said if one.payload["StepToStart"] == step}
        return list(distinct.values())

    await eventually(lambda: len(starts()) >= attempt, timeout_seconds=60)
    return starts()[attempt - 1]


def phase(server: PenstockServer, upload_id: str) -> str:
    return str(httpx.get(f"{server.url}/api/v1/uploads/{upload_id}").json()["phase"])


async def ask(method: str, url: str, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.request(method, url, timeout=120, **more)


async def is_over(url: str) -> bool:
    return (await ask("GET", url)).status_code == 410


def is_released(server: PenstockServer, upload_id: str) -> bool:
    return phase(server, upload_id) == "released"


async def test_pull_lives_and_dies_with_its_step(nats: NatsServer, tmp_path: Path) -> None:
    with serving(tmp_path, nats, "one,two", PENSTOCK_DELIVERY="one=pull,two=pull") as server:
        async with Listener(nats.endpoint) as listener:
            upload_id = await asyncio.to_thread(put, server)
            start = await start_of(listener, upload_id, "one")
            url = start.payload["URL"]
            assert url.startswith(f"{server.url}/delivery/{upload_id}/{start.metadata['eventid']}?token=")
            # What is held back is still closed to everybody else.
            assert (await ask("GET", f"{server.url}/api/v1/files/{upload_id}/content")).status_code == 425

            whole = await ask("GET", url)
            assert (whole.status_code, whole.content) == (200, BODY)
            assert whole.headers["cache-control"] == "no-store"
            part = await ask("GET", url, headers={"Range": "bytes=1000000-", "If-Range": whole.headers["etag"]})
            assert (part.status_code, part.content) == (206, BODY[1_000_000:])
            head = await ask("HEAD", url)
            assert (head.status_code, head.headers["content-length"]) == (200, str(len(BODY)))
            assert (await ask("GET", url, headers={"Range": f"bytes={len(BODY)}-"})).status_code == 416
            assert (await ask("DELETE", url)).status_code == 405

            base, _, token = url.partition("?token=")
            for wrong in (base, f"{base}?token=", f"{base}?token=x{token[1:]}", url.replace(upload_id, "0" * 32)):
                assert (await ask("GET", wrong)).status_code == 403, wrong
            assert (await ask("GET", f"{server.url}/delivery/x")).status_code == 404

            await listener.say(answered(upload_id, step="one", outcome="retry"))
            second = await start_of(listener, upload_id, "one", attempt=2)
            assert (await ask("GET", url)).status_code == 410
            assert (await ask("GET", second.payload["URL"])).content == BODY

            await listener.say(answered(upload_id, step="one"))
            third = await start_of(listener, upload_id, "two")
            assert (await ask("GET", second.payload["URL"])).status_code == 410
            assert (await ask("GET", third.payload["URL"])).content == BODY
            # A restart of the server ends no step, so it ends no address either.
            server.kill()
            await asyncio.to_thread(server.start)
            assert (await ask("GET", third.payload["URL"])).content == BODY

            assert (
                await ask("DELETE", f"{server.url}/uploads/{upload_id}", headers={"Tus-Resumable": "1.0.0"})
            ).is_success
            await eventually(partial(is_over, third.payload["URL"]))
        assert token not in server.log_path.read_text()


async def test_pull_dies_with_whatever_ends_the_step(nats: NatsServer, tmp_path: Path) -> None:
    with serving(tmp_path, nats, "one", PENSTOCK_DELIVERY="one=pull") as server:
        async with Listener(nats.endpoint) as listener:
            for outcome in ("abort", "delete"):
                upload_id = await asyncio.to_thread(put, server, f"{outcome}.bin")
                url = (await start_of(listener, upload_id, "one")).payload["URL"]
                assert (await ask("HEAD", url)).status_code == 200
                await listener.say(answered(upload_id, step="one", outcome=outcome))
                await eventually(partial(is_over, url))
            # Also a transfer that runs, so that nobody takes a part for the whole.
            large = bytes(48 * 1024 * 1024)
            upload_id = await asyncio.to_thread(put, server, "large.bin", large)
            url = (await start_of(listener, upload_id, "one")).payload["URL"]
            async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url, timeout=120) as answer:
                pieces = answer.aiter_raw()
                await anext(pieces)
                await listener.say(answered(upload_id, step="one"))
                await eventually(partial(is_over, url))
                with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
                    await slowly(pieces)


async def slowly(pieces: AsyncIterator[bytes]) -> None:
    """Read so slowly that the server notices the end of the step meanwhile."""
    async for _ in pieces:
        await asyncio.sleep(0.05)


async def test_an_address_that_is_good_for_one_reading(nats: NatsServer, tmp_path: Path) -> None:
    with serving(tmp_path, nats, "one", PENSTOCK_DELIVERY="one=pull:one-time") as server:
        async with Listener(nats.endpoint) as listener:
            upload_id = await asyncio.to_thread(put, server)
            url = (await start_of(listener, upload_id, "one")).payload["URL"]
            assert (await ask("HEAD", url)).status_code == 200
            # What broke off goes on with a range; only when all was read is it over.
            for span in ("0-1999999", "0-999999", "2000000-"):
                part = await ask("GET", url, headers={"Range": f"bytes={span}"})
                assert part.status_code == 206, span
            for method in ("GET", "HEAD"):
                assert (await ask(method, url)).status_code == 410
            assert (await ask("GET", url)).json()["code"] == "token-used"
            server.kill()
            await asyncio.to_thread(server.start)
            assert (await ask("GET", url)).status_code == 410
            # Another attempt has an address of its own.
            await listener.say(answered(upload_id, step="one", outcome="retry"))
            second = (await start_of(listener, upload_id, "one", attempt=2)).payload["URL"]
            event = StartPostprocessingStep(upload_id=upload_id, url=second, filesize=len(BODY), step_to_start="one")
            async with PullDelivery(tmp_path) as delivery, delivery.deliver(event) as delivered:
                assert delivered.path.read_bytes() == BODY
            assert (await ask("GET", second)).status_code == 410
            await listener.say(answered(upload_id, step="one"))
            await eventually(lambda: asyncio.to_thread(is_released, server, upload_id), timeout_seconds=60)
            # What a connection that broke has swallowed was not read.
            large = bytes(48 * 1024 * 1024)
            upload_id = await asyncio.to_thread(put, server, "large.bin", large)
            url = (await start_of(listener, upload_id, "one")).payload["URL"]
            async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url, timeout=120) as answer:
                await anext(answer.aiter_raw())
            assert (await ask("GET", url)).content == large
            assert (await ask("GET", url)).status_code == 410


async def test_pull_dies_with_the_timeout(nats: NatsServer, tmp_path: Path) -> None:
    settings = {"PENSTOCK_DELIVERY": "one=pull", "POSTPROCESSING_STEP_TIMEOUT": "one=500ms"}
    with serving(tmp_path, nats, "one", POSTPROCESSING_RETRY_BACKOFF_DURATION="1h", **settings) as server:
        async with Listener(nats.endpoint) as listener:
            url = (await start_of(listener, await asyncio.to_thread(put, server), "one")).payload["URL"]
            await eventually(partial(is_over, url))


async def test_path_names_a_file_on_a_volume(nats: NatsServer, tmp_path: Path) -> None:
    with serving(tmp_path, nats, "one", PENSTOCK_DELIVERY="one=path:lab") as server:
        async with Listener(nats.endpoint) as listener:
            upload_id = await asyncio.to_thread(put, server)
            start = await start_of(listener, upload_id, "one")
            assert f"sha256={hashlib.sha256(BODY).hexdigest()}" in start.payload["URL"]
            event = StartPostprocessingStep(
                upload_id=upload_id, url=start.payload["URL"], filesize=len(BODY), step_to_start="one"
            )
            # The same volume, mounted elsewhere.
            elsewhere = tmp_path / "elsewhere"
            (server.data_dir / "blobs").rename(elsewhere)
            async with VolumeDelivery({"lab": elsewhere}).deliver(event) as delivered:
                assert delivered.path.read_bytes() == BODY
            elsewhere.rename(server.data_dir / "blobs")
            await listener.say(answered(upload_id, step="one"))
            await eventually(lambda: asyncio.to_thread(is_released, server, upload_id))


STEPS = """
from pathlib import Path
from penstock import Outcome, StepUpload, step

@step("one")
def one(upload: StepUpload) -> Outcome:
    return Outcome.CONTINUE if upload.path.read_bytes() == Path({body!r}).read_bytes() else Outcome.ABORT

@step("two")
def two(upload: StepUpload) -> Outcome:
    return one(upload)
"""


async def test_the_server_runs_such_steps_itself(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(BODY)
    (tmp_path / "steps.py").write_text(STEPS.format(body=str(tmp_path / "body")))
    server = PenstockServer(tmp_path, "--steps", str(tmp_path / "steps.py"))
    server.environment = {
        "POSTPROCESSING_STEPS": "one,two",
        "PENSTOCK_DELIVERY": "one=pull,two=path",
        "PENSTOCK_PUBLIC_URL": server.url,
    }
    with server:
        upload_id = await asyncio.to_thread(put, server)
        await eventually(lambda: asyncio.to_thread(is_released, server, upload_id), timeout_seconds=60)


def test_pull_without_an_address_is_refused_at_the_start(tmp_path: Path) -> None:
    server = PenstockServer(tmp_path)
    server.environment = {"PENSTOCK_DELIVERY": "virusscan=pull"}
    assert server.launch().wait(timeout=120) == 2
    assert "set delivery_url" in server.last_words()


@pytest.mark.parametrize("service", ["s3", "azure"])
async def test_presigned_is_signed_when_it_is_asked_for(
    nats: NatsServer, tmp_path: Path, request: pytest.FixtureRequest, service: str
) -> None:
    """The signed address lives for a second; the step's own, until it answers."""
    store = store_settings(service, request)
    settings = {"PENSTOCK_DELIVERY": "one=presigned", "PENSTOCK_DELIVERY_SIGNED_URL_LIFE": "1s", **store}
    with serving(tmp_path, nats, "one", **settings) as server:
        async with Listener(nats.endpoint) as listener:
            upload_id = await asyncio.to_thread(put, server)
            url = (await start_of(listener, upload_id, "one")).payload["URL"]
            assert url.startswith(server.url)
            sent_on = await ask("GET", url)
            assert sent_on.status_code == 307
            signed = sent_on.headers["location"]
            assert signed.startswith(store["PENSTOCK_STORAGE_ENDPOINT"])
            assert (await ask("GET", signed)).content == BODY
            assert (await ask("HEAD", url)).headers["content-length"] == str(len(BODY))
            # A copy that somebody changes is not lent again, even if it is as long as it was.
            await spoil(service, request, store["PENSTOCK_STORAGE_BUCKET"], upload_id)
            signed = (await ask("GET", url)).headers["location"]
            assert (await ask("GET", signed)).content == BODY
            if service == "azure":  # moto does not look at the time
                await eventually(partial(is_refused, signed), timeout_seconds=60)
            # Long after the first one is too old, the step still reads.
            event = StartPostprocessingStep(upload_id=upload_id, url=url, filesize=len(BODY), step_to_start="one")
            async with PullDelivery(tmp_path) as delivery, delivery.deliver(event) as delivered:
                assert delivered.path.read_bytes() == BODY
            async with StreamDelivery() as streaming, streaming.deliver(event) as delivered:
                assert b"".join([piece async for piece in delivered.stream(start=1_000_000)]) == BODY[1_000_000:]
            await listener.say(answered(upload_id, step="one"))
            await eventually(partial(is_over, url))
            await eventually(lambda: asyncio.to_thread(is_released, server, upload_id), timeout_seconds=60)
        assert "Signature" not in server.log_path.read_text()
        assert "sig=" not in server.log_path.read_text()


async def spoil(service: str, request: pytest.FixtureRequest, bucket: str, upload_id: str) -> None:
    """Put other bytes in the place of a copy, behind the server's back."""
    if service == "s3":
        s3: S3Server = request.getfixturevalue("s3")
        key = f"files/delivery/{upload_id}"
        await asyncio.to_thread(s3.client.put_object, Bucket=bucket, Key=key, Body=SPOILT)
        return

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield SPOILT

    azurite: AzuriteServer = request.getfixturevalue("azurite")
    await azurite.place(bucket).lending().put(upload_id, pieces(), size_bytes=len(SPOILT), sha256="")


async def is_refused(url: str) -> bool:
    return (await ask("GET", url)).status_code == 403


def store_settings(service: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the settings with which files are released into a bucket of its own."""
    if service == "s3":
        s3: S3Server = request.getfixturevalue("s3")
        return {**s3_settings(s3, s3.new_bucket()), "PENSTOCK_STORAGE_PREFIX": "files"}
    azurite: AzuriteServer = request.getfixturevalue("azurite")
    return {
        "PENSTOCK_STORAGE": "azure",
        "PENSTOCK_STORAGE_BUCKET": azurite.new_container(),
        "PENSTOCK_STORAGE_ENDPOINT": azurite.endpoint,
        "PENSTOCK_STORAGE_ACCESS_KEY": ACCOUNT,
        "PENSTOCK_STORAGE_SECRET_KEY": ACCOUNT_KEY,
    }
