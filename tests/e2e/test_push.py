"""Files that are pushed to a worker before its step is started: real server, NATS and receiver, and a real death."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from penstock.delivery.base import BytesGone
from penstock.delivery.inbox import InboxDelivery
from penstock.delivery.schemes import ByScheme
from penstock.events.types import StartPostprocessingStep
from penstock.testing import eventually
from tests.e2e.test_delivery import BODY, ask, is_released, put, serving, start_of
from tests.servers.cutting import cutting
from tests.servers.nats import NatsServer
from tests.servers.penstock import PenstockServer
from tests.servers.ports import free_port
from tests.servers.receiver import Receiver, running_receiver
from tests.wire.conversation import Listener
from tests.wire.strangers import answered

LARGE = random.Random(8).randbytes(48 * 1024 * 1024)
ALLOWED = {"PENSTOCK_DELIVERY_PUSH_ALLOW": "127.0.0.1"}


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with running_receiver(tmp_path / "inbox", secret="s3cret") as receiver:
        yield receiver


async def test_the_file_is_there_before_the_step_is_started(
    nats_server: NatsServer, tmp_path: Path, receiver: Receiver
) -> None:
    settings = {"PENSTOCK_DELIVERY": f"one=push:{receiver.url}", "PENSTOCK_DELIVERY_PUSH_SECRET": "s3cret"}
    with serving(tmp_path, nats_server, "one", **(ALLOWED | settings)) as server:
        async with Listener(nats_server.endpoint) as listener:
            upload_id = await asyncio.to_thread(put, server)
            start = await start_of(listener, upload_id, "one")
            start_id = start.metadata["eventid"]
            assert start.payload["URL"] == f"{receiver.url}/{start_id}"
            assert (receiver.folder / start_id).read_bytes() == BODY
            await listener.say(answered(upload_id, step="one"))
            await eventually(lambda: asyncio.to_thread(is_released, server, upload_id), timeout_seconds=60)
        assert "s3cret" not in server.log_path.read_text()


async def test_a_worker_that_is_away_is_the_reason_of_the_failure(nats_server: NatsServer, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/files"
    settings = {"PENSTOCK_DELIVERY": f"one=push:{url}", "PENSTOCK_DELIVERY_PUSH_TRIES": "2"}
    with serving(tmp_path, nats_server, "one", **(ALLOWED | settings)) as server:
        async with Listener(nats_server.endpoint) as listener:
            upload_id = await asyncio.to_thread(put, server)

            def failures() -> list[str]:
                said = [one for one in listener.said if one.upload == upload_id]
                kinds = {one.kind for one in said}
                assert "StartPostprocessingStep" not in kinds
                return [one.payload["Result"]["error"] for one in said if one.kind == "PostprocessingStepFinished"]

            # It fails as any attempt of a step does: it is tried again.
            await eventually(lambda: len(failures()) >= 2, timeout_seconds=60)
            assert failures()[0].startswith("the file could not reach the worker: tried 2 times in ")
            shown = (await ask("GET", f"{server.url}/api/v1/uploads/{upload_id}")).text
            assert "could not reach the worker" in shown
            # Where it was sent to is for the operator.
            where = url.removeprefix("http://").partition("/")[0]
            assert not any(where in text for text in (shown, *failures()))
        assert f"the file could not reach the worker at {where}: tried 2 times" in server.log_path.read_text()


class Narrow:
    """Stands in between, and lets no more than some bytes through to the receiver until `opened`."""

    def __init__(self, receiver: Receiver, limit_bytes: int) -> None:
        self._port = int(receiver.url.rpartition(":")[2].partition("/")[0])
        self._limit_bytes = limit_bytes
        self.passed_bytes = 0
        self.full = asyncio.Event()
        self.opened = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/files"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        with suppress(OSError):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass(reader, back, limited=True))
                tasks.create_task(self._pass(there, writer, limited=False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, limited: bool) -> None:
        try:
            while piece := await reader.read(65536):
                if limited:
                    self.passed_bytes += len(piece)
                    if self.passed_bytes > self._limit_bytes and not self.opened.is_set():
                        self.full.set()
                        await self.opened.wait()
                writer.write(piece)
                await writer.drain()
        finally:
            writer.close()


async def test_a_death_in_the_middle_of_a_push_loses_and_doubles_nothing(
    nats_server: NatsServer, tmp_path: Path, receiver: Receiver
) -> None:
    async with Narrow(receiver, 16 * 1024 * 1024) as narrow, Listener(nats_server.endpoint) as listener:
        settings = {"PENSTOCK_DELIVERY": f"one=push:{narrow.url}", "PENSTOCK_DELIVERY_PUSH_SECRET": "s3cret"}
        with serving(tmp_path, nats_server, "one", **(ALLOWED | settings)) as server:
            upload_id = await asyncio.to_thread(put, server, "large.bin", LARGE)
            await asyncio.wait_for(narrow.full.wait(), 60)
            server.kill()
            narrow.opened.set()
            assert not any(one.kind == "StartPostprocessingStep" and one.upload == upload_id for one in listener.said)
            await eventually(lambda: any(path.name.endswith(".part") for path in receiver.folder.iterdir()))
            await asyncio.to_thread(server.start)
            start = await start_of(listener, upload_id, "one")
            assert [path.name for path in receiver.files] == [start.metadata["eventid"]]
            assert receiver.files[0].read_bytes() == LARGE
            assert narrow.passed_bytes < 1.2 * len(LARGE)  # it went on from where it was
            await listener.say(answered(upload_id, step="one"))
            await eventually(lambda: asyncio.to_thread(is_released, server, upload_id), timeout_seconds=60)
            starts = {one.metadata["eventid"] for one in listener.said if one.kind == "StartPostprocessingStep"}
            assert starts == {start.metadata["eventid"]}


async def test_a_worker_that_speaks_tus_gets_the_rest_and_not_all_again(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """The worker's receiver is a Penstock of its own; the line to it is cut at 60 % of the file, and once more."""
    (tmp_path / "worker").mkdir()
    worker = PenstockServer(tmp_path / "worker")
    worker.environment = {"POSTPROCESSING_STEPS": ""}
    with worker, cutting(worker.port, len(LARGE) * 6 // 10) as line:
        url = f"{line.url}/uploads/"
        settings = {"PENSTOCK_DELIVERY": f"one=push:tus+{url}", **ALLOWED}
        with serving(tmp_path, nats_server, "one", **settings) as server:
            async with Listener(nats_server.endpoint) as listener:
                upload_id = await asyncio.to_thread(put, server, "large.bin", LARGE)
                start = await start_of(listener, upload_id, "one")
                assert start.payload["URL"].startswith(url)
                there = start.payload["URL"].rpartition("/")[2]
                assert line.cuts == 1
                assert line.passed_bytes < 1.4 * len(LARGE)  # from zero: 1.6; a reset loses what is under way
                await eventually(lambda: asyncio.to_thread(is_released, worker, there), timeout_seconds=60)
                content = (await ask("GET", f"{worker.url}/api/v1/files/{there}/content")).content
                assert content == LARGE
                assert (await ask("GET", f"{worker.url}/api/v1/uploads/{there}")).json()["filename"] == "large.bin"


async def test_a_file_that_is_pushed_only_when_the_worker_asks(
    nats_server: NatsServer, tmp_path: Path, receiver: Receiver
) -> None:
    settings = {"PENSTOCK_DELIVERY": f"one=push-on-request:{receiver.url}", "PENSTOCK_DELIVERY_PUSH_SECRET": "s3cret"}
    with serving(tmp_path, nats_server, "one", **(ALLOWED | settings)) as server:
        inbox = InboxDelivery(receiver.folder, ByScheme({}))
        async with inbox, Listener(nats_server.endpoint) as listener:
            upload_id = await asyncio.to_thread(put, server)
            start = await start_of(listener, upload_id, "one")
            url = start.payload["URL"]
            assert receiver.files == []
            assert (await ask("GET", url)).status_code == 405
            assert (await ask("POST", url.replace("/push/", "/"))).status_code == 403
            assert (await ask("POST", url.replace("token=", "token=x"))).status_code == 403
            assert receiver.files == []

            event = StartPostprocessingStep(upload_id=upload_id, url=url, filesize=len(BODY), step_to_start="one")
            async with inbox.deliver(event) as delivered:
                assert delivered.path.read_bytes() == BODY
            assert receiver.files == []  # it is done with

            await listener.say(answered(upload_id, step="one"))
            await eventually(lambda: asyncio.to_thread(is_released, server, upload_id), timeout_seconds=60)
            assert (await ask("POST", url)).status_code == 410
            with pytest.raises(BytesGone):
                async with inbox.deliver(event):
                    pass


async def test_a_push_on_request_that_fails_is_the_step_s_failure(nats_server: NatsServer, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/files"
    settings = {"PENSTOCK_DELIVERY": f"one=push-on-request:{url}", "PENSTOCK_DELIVERY_PUSH_TRIES": "1"}
    with serving(tmp_path, nats_server, "one", **(ALLOWED | settings)) as server:
        async with Listener(nats_server.endpoint) as listener:
            upload_id = await asyncio.to_thread(put, server)
            first = await start_of(listener, upload_id, "one")
            assert (await ask("POST", first.payload["URL"])).status_code == 202
            second = await start_of(listener, upload_id, "one", attempt=2)
            assert second.payload["URL"] != first.payload["URL"]
            answers = [one for one in listener.said if one.kind == "PostprocessingStepFinished"]
            errors = [one.payload["Result"]["error"] for one in answers if one.upload == upload_id]
            assert errors[0].startswith("the file could not reach the worker: tried once")


def test_a_target_inside_is_refused_at_the_start(tmp_path: Path) -> None:
    server = PenstockServer(tmp_path)
    server.environment = {"PENSTOCK_DELIVERY": "virusscan=push:http://169.254.169.254/latest"}
    assert server.launch().wait(timeout=120) == 2
    assert "169.254.169.254 is not out in the world" in server.last_words()
