"""What strangers, and broken senders, put on the bus: passed over or set aside, and everything else goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx
import nats
import pytest
from nats.js.errors import NotFoundError

from penstock.app.postprocessing import PostprocessingService
from penstock.events.codec import decode
from penstock.settings import load_settings
from tests.servers.nats import NatsServer, running_nats
from tests.servers.single import SingleService, running_services

from .captures import capture
from .conversation import Listener, Message, compact, comparable, running
from .strangers import answered, begun, envelope, ready, upload
from .test_codec_malformed import NOT_OURS, READ_BUT_NOT_STORED, go_accepted

CASES = capture("malformed")["cases"]
MAX_PAYLOAD = 1024 * 1024
BROKEN = [case for case in CASES if not go_accepted(case) and case["case"] not in NOT_OURS]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def service(server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SingleService]:
    folder = tmp_path_factory.mktemp("service")
    arguments = ("postprocessing", "server", "--log-format", "json", "--log-level", "info")
    with running_services(folder, 1, *arguments, **environment(server)) as [service]:
        yield service


def environment(server: NatsServer) -> dict[str, str]:
    return {
        "OCIS_EVENTS_ENDPOINT": server.endpoint,
        "OCIS_PERSISTENT_STORE_NODES": server.endpoint,
        "POSTPROCESSING_STEPS": "customstep",
    }


async def test_broken_messages_among_good_ones(service: SingleService, server: NatsServer) -> None:
    """Every recorded case, each beside an upload in good order."""
    before = await SetAside.of(service, server)
    async with Listener(server.endpoint) as listener:
        for number, case in enumerate(CASES):
            await listener.say(case["sent"])
            await listener.say(begun(f"good-{number}"))
        await listener.settled()
        for number in range(len(CASES)):
            await listener.say(answered(f"good-{number}"))
        await listener.settled()
        for number in range(len(CASES)):
            good = [message.summary for message in listener.said if message.upload == f"good-{number}"]
            assert good == ["start customstep", "finish continue"]
        said = [message for message in listener.said if not message.upload.startswith("good-")]
    compare_with_go(said)
    assert await SetAside.of(service, server) == before + len(BROKEN)
    assert service.process.poll() is None


def compare_with_go(said: list[Message]) -> None:
    """What Go understood, ours understood in the same way: the first thing said about each upload is the same."""
    reactions = [case["reaction"][0] for case in CASES if case["reaction"]]
    first: dict[str, str] = {}
    for reaction in reactions:
        first.setdefault(reaction["payload"]["UploadID"], compact(reaction["payload"]))
    ours: dict[str, str] = {}
    for message in said:
        comparable(message)  # it is written as Go writes
        ours.setdefault(message.upload, message.payload_raw)
    assert ours == first


class SetAside(NamedTuple):
    """How many events were set aside, as each place says where an operator may look."""

    logged: int
    counted: int
    kept: int

    @classmethod
    async def of(cls, service: SingleService, server: NatsServer) -> Self:
        lines = [json.loads(line) for line in service.log_path.read_text().splitlines()]
        told = [line for line in lines if line["event"] == "event_set_aside"]
        assert all(line["reason"] and line["sequence"] for line in told)
        nameless = [line for line in lines if line["event"] == "event_names_no_upload"]
        assert not [line for line in lines if line["level"] in ("error", "critical") and line not in told + nameless]
        async with httpx.AsyncClient(trust_env=False) as http:
            metrics = (await http.get(f"{service.url}/metrics")).text
        counted = re.search(r'^penstock_events_set_aside_total\{group="postprocessing"\} (\d+)', metrics, re.MULTILINE)
        assert counted
        client = await nats.connect(server.endpoint)
        try:
            kept = (await client.jetstream().stream_info("penstock-set-aside")).state.messages
        except NotFoundError:
            kept = 0
        finally:
            await client.close()
        return cls(len(told), int(counted[1]), kept)

    def __add__(self, number: Any) -> SetAside:
        return SetAside(*(count + number for count in self))


async def test_strangers_on_the_bus(service: SingleService, server: NatsServer) -> None:
    """Other services' events, users with fields that nobody knows, names of steps, uploads and outcomes of any kind."""
    before = await SetAside.of(service, server)
    async with Listener(server.endpoint) as listener:
        for kind in ("ItemTrashed", "ShareCreated", "UserSignedIn", "VirusscanFinished", "BytesReceivedLater"):
            await listener.say(envelope(kind, {"UploadID": "u1", "Ref": {"path": "./x"}, "Filesize": "many"}))
        await listener.say(envelope("BytesReceived", upload("u1") | {"ExecutingUser": FOREIGN, "SpaceOwner": FOREIGN}))
        for nobodys in (
            answered(""),
            answered("no-such-upload"),
            answered("u1", step="other"),
            ready("no-such-upload"),
        ):
            await listener.say(nobodys)
        await listener.settled()
        await listener.say(answered("u1", outcome="quarantine\u2028<b>\U0001f512"))
        await listener.settled()
        start, finish = listener.said
    assert start.payload["ExecutingUser"] == {"id": {"opaque_id": "bob", "type": 99}, "username": "böb<>&"}
    assert "\\u003c\\u003e\\u0026" in start.payload_raw
    assert finish.payload["Outcome"] == "quarantine\u2028<b>\U0001f512"
    assert [comparable(message) for message in (start, finish)]
    assert decode(start.raw.encode()).event.upload_id == "u1"
    assert await SetAside.of(service, server) == before


async def test_messages_close_to_what_the_server_takes(service: SingleService, server: NatsServer) -> None:
    """What is large and in order is handled; what is large and broken is set aside, without its body if need be."""
    before = await SetAside.of(service, server)
    async with Listener(server.endpoint) as listener:
        room = (MAX_PAYLOAD - len(envelope("BytesReceived", upload("large")))) * 3 // 4
        largest = envelope("BytesReceived", upload("large") | {"SpaceOwner": {"opaque_id": "x" * (room - 80)}})
        assert MAX_PAYLOAD - 200 < len(largest) <= MAX_PAYLOAD
        broken = "x" * MAX_PAYLOAD
        await listener.say(largest)
        await listener.say(broken)
        await listener.say(begun("small"))
        await listener.settled()
        assert sorted(message.upload for message in listener.said) == ["large", "small"]
    assert await SetAside.of(service, server) == before + 1


async def test_an_upload_whose_own_events_do_not_fit_stands_alone(tmp_path: Path) -> None:
    """It comes again for a while, which is counted; nothing waits behind it."""
    with running_nats(tmp_path) as server:
        service = PostprocessingService(load_settings(environ=environment(server), service="postprocessing"))
        async with Listener(server.endpoint) as listener, running(service):
            name = "n" * (MAX_PAYLOAD * 3 // 4 - 600)
            await listener.say(envelope("BytesReceived", upload("large") | {"Filename": name}, compactly=True))
            await listener.say(begun("small"))
            await listener.settled(but_for=1)
            await listener.say(answered("small"))
            await listener.settled(but_for=1)
            await service.look_up()
            failures = service.metrics.registry.get_sample_value(
                "penstock_event_failures_total", {"group": "postprocessing"}
            )
    assert [message.summary for message in listener.said] == ["start customstep", "finish continue"]
    assert failures


FOREIGN: dict[str, Any] = {
    "id": {"opaque_id": "bob", "type": 99, "tenant_id": "t"},
    "username": "böb<>&",
    "clearance": {"level": 3},
    "mail_verified": False,
}


def test_the_cases_are_of_all_kinds() -> None:
    assert len(BROKEN) > 20
    assert len(NOT_OURS | READ_BUT_NOT_STORED) == 10
