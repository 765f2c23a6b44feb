"""In the place of the Go service: a process that has only the environment of that one, and the commands beside it.

Rows are those of section 11 of the description of the wire protocol.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.js.api import StreamConfig

from penstock.testing import eventually
from tests.servers import copies
from tests.servers.nats import NatsServer, running_nats
from tests.servers.single import SingleService
from tests.wire.captures import capture
from tests.wire.conversation import DURABLE, STREAM, Listener, Message, compact, comparable
from tests.wire.strangers import answered, begun, ready

CLI = capture("cli-events")
ASKED = dict(
    zip(
        CLI["config"]["cli"],
        [Message(message["raw"]) for message in CLI["messages"] if message["from"] == "postprocessing CLI"],
        strict=True,
    )
)
"""What each command of the Go service published."""
ID = Message(CLI["messages"][0]["raw"]).upload
TOKEN = "a-debug-token"
in_ocis = pytest.mark.parametrize("drop_in", ["OCIS_"], indirect=True)
in_opencloud = pytest.mark.parametrize("drop_in", ["OC_"], indirect=True)


@dataclass
class DropIn:
    """A service of ours where a Go service would be."""

    nats: NatsServer
    folder: Path
    environment: dict[str, str]
    service: SingleService
    before: list[Message]
    """What was said about the uploads that began before the first start."""

    @property
    def is_ocis(self) -> bool:
        return "OCIS_EVENTS_ENDPOINT" in self.environment

    @property
    def steps(self) -> list[str]:
        return ["virusscan", "customstep"] if self.is_ocis else ["customstep", "virusscan"]

    @property
    def commands(self) -> list[str]:
        """All of them where there is time for it; of the others, the plainest and the strangest."""
        return list(ASKED) if self.is_ocis else ["resume", "restart -r -u ID"]

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run `penstock postprocessing …` with the environment of the service; return its status and output."""
        return await self.penstock("postprocessing", *arguments)

    async def penstock(self, *arguments: str, **changed: str) -> tuple[int, str]:
        """Run any command of ours with that environment, but for what is `changed`."""
        ended = await asyncio.to_thread(
            copies.run,
            arguments,
            environment={**copies.without_settings(), **self.environment, **changed},
            folder=self.folder,
        )
        return ended.returncode, ended.stdout + ended.stderr


def environment(prefix: str, nats: NatsServer) -> dict[str, str]:
    """What the manuals of the Go services have their operators set, oCIS's or OpenCloud's."""
    common = {
        f"{prefix}ASYNC_UPLOADS": "true",
        f"{prefix}EVENTS_ENDPOINT": nats.endpoint,
        f"{prefix}EVENTS_CLUSTER": "ocis-cluster",
        f"{prefix}EVENTS_ENABLE_TLS": "false",
        f"{prefix}INSECURE": "true",
        f"{prefix}LOG_LEVEL": "info",
        "POSTPROCESSING_STEPS": "virusscan,customstep",
        "POSTPROCESSING_RETRY_BACKOFF_DURATION": "5s",
        "POSTPROCESSING_MAX_RETRIES": "14",
        "POSTPROCESSING_WORKERS": "3",
        "POSTPROCESSING_DEBUG_TOKEN": TOKEN,
    }
    if prefix == "OCIS_":
        return common | {
            "POSTPROCESSING_STORE": "nats-js-kv",
            "OCIS_CACHE_STORE_NODES": nats.endpoint,
            "OCIS_CACHE_DISABLE_PERSISTENCE": "true",
            "STORAGE_USERS_OCIS_ASYNC_UPLOADS": "true",
        }
    return common | {
        "POSTPROCESSING_STEPS": "customstep",
        "POSTPROCESSING_VIRUSSCAN": "true",
        "POSTPROCESSING_DELAY": "0s",
        "OC_PERSISTENT_STORE": "nats-js-kv",
        "OC_PERSISTENT_STORE_NODES": nats.endpoint,
        "OC_PERSISTENT_STORE_TTL": "336h",
        "SEARCH_EVENTS_ACK_WAIT": "2s",
    }


@pytest.fixture(scope="module", params=["OCIS_", "OC_"])
def drop_in(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DropIn]:
    folder = tmp_path_factory.mktemp("drop-in")
    with running_nats(tmp_path_factory.mktemp("nats")) as nats:
        chosen = environment(request.param, nats)
        said: list[Message] = []
        service = asyncio.run(first_start(folder, nats, chosen, said))
        try:
            yield DropIn(nats, folder, chosen, service, said)
        finally:
            service.stop()


async def first_start(folder: Path, nats: NatsServer, chosen: dict[str, str], said: list[Message]) -> SingleService:
    """Start it where uploads have begun already, one of which has come to its end."""
    async with Listener(nats.endpoint) as listener:
        await listener.jetstream.add_stream(StreamConfig(name=STREAM, subjects=[STREAM]))
        for message in (begun("before"), begun("ended"), ready("ended")):
            await listener.say(message)
        arguments = ("postprocessing", "server")
        service = SingleService(folder, *arguments, debug_variable="POSTPROCESSING_DEBUG_ADDR", **chosen)
        await asyncio.to_thread(service.ready)
        await listener.settled()
        said += listener.said
    return service


@pytest.fixture
async def listener(drop_in: DropIn) -> AsyncIterator[Listener]:
    async with Listener(drop_in.nats.endpoint) as listener:
        yield listener


async def test_what_was_published_before_the_first_start_is_handled(drop_in: DropIn) -> None:
    """Row 14: the Go service begins with what comes after it."""
    assert [(one.upload, one.summary) for one in drop_in.before] == [("before", f"start {drop_in.steps[0]}")]


async def test_what_an_instance_has_taken_is_given_to_another_one_in_seconds(
    drop_in: DropIn, listener: Listener
) -> None:
    """Row 2: Go's 30 s, which older consumers keep, are 10 s with ours, or what the operator says."""
    info = await listener.jetstream.consumer_info(STREAM, DURABLE)
    assert info.config.ack_wait == (10 if drop_in.is_ocis else 2)


async def test_the_debug_address(drop_in: DropIn) -> None:
    async with httpx.AsyncClient(base_url=drop_in.service.url, trust_env=False) as http:
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.get("/metrics")).status_code == 401
        assert (await http.get("/metrics", headers={"Authorization": "Bearer wrong"})).status_code == 401
        metrics = await http.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert "penstock_inputs_total" in metrics.text


async def test_the_commands_publish_what_those_of_the_go_service_did(drop_in: DropIn, listener: Listener) -> None:
    """With `PENSTOCK_RESTART_RESUMES` also `restart`, in all its spellings."""
    for upload in (ID, "decided"):
        await listener.say(begun(upload))
    await listener.settled()
    for step in drop_in.steps:
        await listener.say(answered("decided", step=step))
        await listener.settled()
    if drop_in.steps[0] != "virusscan":
        await listener.say(answered(ID, step="customstep"))
        await listener.settled()
    drop_in.environment["PENSTOCK_RESTART_RESUMES"] = "true"
    try:
        for line, theirs in ASKED.items():
            if line not in drop_in.commands:
                continue
            listener.said.clear()
            status, output = await drop_in.command(*line.replace("ID", ID).split())
            assert status == 0, (line, output)
            await listener.settled()
            ours = [message for message in listener.said if message.kind == "ResumePostprocessing"]
            assert [comparable(message) for message in ours] == [comparable(theirs)], line
            assert ours[0].metadata["initiatorid"] == theirs.metadata["initiatorid"]
            repeated = {message.upload: message.summary for message in listener.said if message not in ours}
            expected = {"decided": "finish continue"} if theirs.payload["Step"] == "finished" else {}
            assert repeated.items() >= (expected or {ID: "start virusscan"}).items(), line
    finally:
        del drop_in.environment["PENSTOCK_RESTART_RESUMES"]


def asked_in(listener: Listener) -> list[str]:
    """What commands, and ours in answer to them, asked for; what is said again by itself is left out."""
    kinds = ("ResumePostprocessing", "RestartPostprocessing")
    return [message.kind for message in listener.said if message.kind in kinds]


@in_ocis
async def test_restart_asks_the_storage_provider(drop_in: DropIn, listener: Listener) -> None:
    await listener.say(begun("again"))
    await listener.settled()
    listener.said.clear()
    status, output = await drop_in.command("restart", "-u", "again")
    assert status == 0, output
    assert asked_in(listener) == ["RestartPostprocessing"]
    restart = next(message for message in listener.said if message.kind == "RestartPostprocessing")
    recorded = next(message for message in CLI["messages"] if message["type"] == "RestartPostprocessing")
    masked = comparable(Message(recorded["raw"])).replace(ID, "again")
    assert comparable(restart).replace('"traceparent":""', '"traceparent":"span"') == masked


@in_ocis
async def test_what_the_commands_tell(drop_in: DropIn, listener: Listener) -> None:
    for upload in ("waits", "failed"):
        await listener.say(begun(upload))
    await listener.settled()
    await listener.say(answered("failed", step=drop_in.steps[0], outcome="abort"))
    await listener.settled()
    await listener.say(ready("failed", failed=True))
    await listener.settled()
    listener.said.clear()
    status, output = await drop_in.command("list", "--json")
    assert status == 0, output
    rows: dict[str, Any] = {row["id"]: row for row in json.loads(output)}
    assert rows["waits"]["step"] == drop_in.steps[0]
    assert rows["failed"]["state"] == "failed"
    status, output = await drop_in.command("list", "-s", drop_in.steps[0])
    assert status == 0
    assert "waits" in output
    assert "failed" not in output
    status, output = await drop_in.command("resume", "-s", "no-such-step")
    assert (status, "nothing matched" in output) == (3, True)
    status, output = await drop_in.command("resume", "-u", "failed")
    assert (status, "restart it" in output) == (4, True)
    assert asked_in(listener) == []
    status, output = await drop_in.command("resume", "-u", "unknown")
    assert (status, "not in the store" in output) == (0, True)
    await listener.settled()
    assert asked_in(listener) == ["ResumePostprocessing", "RestartPostprocessing"]


@in_ocis
async def test_steps_that_nobody_has_ever_answered_are_told(drop_in: DropIn, listener: Listener) -> None:
    """At the start, when nobody has answered anything yet, and whenever an operator asks."""
    assert "steps_never_answered" in drop_in.service.log_path.read_text()
    await listener.say(begun("answered"))
    await listener.settled()
    for step in drop_in.steps:
        await listener.say(answered("answered", step=step))
        await listener.settled()
    assert await steps_found(drop_in) == (True, "Somebody has answered each of: virusscan, customstep.")
    misspelt = await steps_found(drop_in, POSTPROCESSING_STEPS="virusscna,customstep,delay")
    assert misspelt == (False, "Nobody has ever answered virusscna.")


async def steps_found(drop_in: DropIn, **changed: str) -> tuple[bool, str]:
    _, output = await drop_in.penstock("doctor", "--json", **changed)
    checks = {check["name"]: check for check in json.loads(output)}
    assert checks["servers"]["ok"]
    return checks["steps"]["ok"], checks["steps"]["detail"]


async def test_a_server_that_goes_away_and_comes_back_with_nothing(drop_in: DropIn) -> None:
    """Row 12: the Go service stays deaf, and `/readyz` says that all is well."""
    async with httpx.AsyncClient(base_url=drop_in.service.url, trust_env=False, timeout=120) as http:

        async def says(status: int) -> bool:
            return (await http.get("/readyz")).status_code == status

        await asyncio.to_thread(drop_in.nats.kill)
        await eventually(lambda: says(503), timeout_seconds=60)
        assert "127.0.0.1" in (await http.get("/readyz")).text
        assert (await http.get("/healthz")).status_code == 200
        drop_in.nats.lose_everything()
        await asyncio.to_thread(drop_in.nats.start_again)
        await eventually(lambda: says(200), timeout_seconds=60)
    async with Listener(drop_in.nats.endpoint) as listener:
        await listener.settled()
        await listener.say(begun("after"))
        await listener.settled()
        assert [message.upload for message in listener.said if message.upload == "after"] == ["after"]


@pytest.mark.parametrize(
    ("drop_in", "number"), [("OCIS_", signal.SIGTERM), ("OC_", signal.SIGINT)], indirect=["drop_in"]
)
async def test_it_ends_when_it_is_told_to(drop_in: DropIn, number: signal.Signals) -> None:
    """Row 13: idle Go services pass over SIGTERM, and over SIGINT."""
    service = drop_in.service
    service.process.send_signal(number)
    assert await asyncio.to_thread(service.process.wait, 120) == 0
    service.start_again()
    await asyncio.to_thread(service.ready)


@in_opencloud
async def test_what_was_on_its_way_at_a_kill_goes_on_soon(drop_in: DropIn, listener: Listener) -> None:
    """Rows 1 and 2: what a killed Go service has taken comes again after 30 s, or never."""
    uploads = {f"many-{number}" for number in range(300)}
    for upload in sorted(uploads):
        await listener.say(begun(upload))
    await eventually(lambda: any(message.upload in uploads for message in listener.said))
    await asyncio.to_thread(drop_in.service.kill)
    drop_in.service.start_again()

    def started() -> set[str]:
        return {message.upload for message in listener.said if message.summary.startswith("start")}

    await eventually(lambda: started() >= uploads, timeout_seconds=60)


def test_the_recorded_commands_are_all_here() -> None:
    assert len(ASKED) == 8
    assert compact(ASKED["resume"].payload).startswith('{"UploadID":"","Step":"finished"')
