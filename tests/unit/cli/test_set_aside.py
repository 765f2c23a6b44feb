"""`penstock postprocessing set-aside …`, on a real NATS server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.bus.nats import NatsBus
from penstock.clock import SystemClock
from penstock.events.codec import encode
from penstock.events.types import BytesReceived, Envelope
from penstock.jetstream import connect
from tests.servers.nats import NatsServer, running_nats
from tests.unit.cli.conftest import Penstock

COMMAND = ("postprocessing", "set-aside")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def nats(shared: NatsServer, clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> NatsServer:
    del clean_environment
    asyncio.run(shared.delete_streams())
    monkeypatch.setenv("OCIS_EVENTS_ENDPOINT", shared.endpoint)
    return shared


def set_aside(server: NatsServer, *uploads: str, empty: bool = False) -> None:
    """Set an event aside for each upload, as an instance does."""

    async def keep() -> None:
        async with NatsBus(server.servers, SystemClock()) as bus:
            for number, upload in enumerate(uploads, start=1):
                envelope = Envelope(event=BytesReceived(upload_id=upload), event_id=f"e{number}")
                await bus.publish(envelope)
                await bus.set_aside.keep(
                    "postprocessing",
                    b"" if empty else encode(envelope),
                    reason=f"its handler failed on {upload}",
                    sequence=number,
                    event_type="BytesReceived",
                    event_id=f"e{number}",
                )

    asyncio.run(keep())


def events(server: NatsServer) -> int:
    """Return how many events there are on the stream."""

    async def counted() -> int:
        async with connect(server.servers, name="test") as client:
            return int((await client.jsm().stream_info("main-queue")).state.messages)

    return asyncio.run(counted())


def test_nothing_is_said_as_such(penstock: Penstock, nats: NatsServer) -> None:
    listed = penstock(*COMMAND, "list")
    assert (listed.status, listed.out, listed.err) == (0, "", "penstock: no event is set aside.\n")
    assert penstock(*COMMAND, "list", "--json").json == []
    assert penstock(*COMMAND, "again", "--all").status == 3
    assert penstock(*COMMAND, "discard", "--all").status == 3


def test_the_list_has_number_group_event_upload_and_reason(penstock: Penstock, nats: NatsServer) -> None:
    set_aside(nats, "u1", "u2")
    listed = penstock(*COMMAND, "list")
    for text in ("number", "postprocessing", "BytesReceived", "u1", "u2", "its handler failed on u2"):
        assert text in listed.out
    first, second = penstock(*COMMAND, "list", "--json").json
    assert (first["number"], first["upload"], first["sequence"]) == (1, "u1", 1)
    assert second["event_id"] == "e2"
    assert '"eventtype":"events.BytesReceived"' in second["data"]


def test_a_long_list_is_whole(penstock: Penstock, nats: NatsServer) -> None:
    set_aside(nats, *(f"u{number}" for number in range(205)))
    assert len(penstock(*COMMAND, "list", "--json").json) == 205


def test_one_is_published_again_and_the_others_stay(penstock: Penstock, nats: NatsServer) -> None:
    set_aside(nats, "u1", "u2", "u3")
    ended = penstock(*COMMAND, "again", "2", "--json")
    assert ended.status == 0
    (result,) = ended.json["results"]
    assert (result["number"], result["upload"], result["detail"]) == (2, "u2", "published again")
    assert events(nats) == 4
    assert [one["number"] for one in penstock(*COMMAND, "list", "--json").json] == [1, 3]


def test_what_was_too_large_to_be_kept_twice_comes_from_the_stream(penstock: Penstock, nats: NatsServer) -> None:
    set_aside(nats, "u1", empty=True)
    assert penstock(*COMMAND, "again", "1").status == 0
    assert events(nats) == 2


def test_what_is_gone_from_the_stream_is_not_mixed_up_with_another_event(penstock: Penstock, nats: NatsServer) -> None:
    set_aside(nats, "u1", "u2", empty=True)

    async def make_anew() -> None:
        async with connect(nats.servers, name="test") as client:
            await client.jsm().delete_stream("main-queue")
        async with NatsBus(nats.servers, SystemClock()) as bus:
            await bus.publish(Envelope(event=BytesReceived(upload_id="another"), event_id="another"))

    asyncio.run(make_anew())
    ended = penstock(*COMMAND, "again", "--all")
    assert ended.status == 4
    assert "too large to be kept twice" in ended.out
    assert events(nats) == 1
    assert penstock(*COMMAND, "discard", "1", "2").status == 0
    assert penstock(*COMMAND, "list", "--json").json == []


def test_what_does_not_exist_fails_and_the_rest_is_done(penstock: Penstock, nats: NatsServer) -> None:
    set_aside(nats, "u1", "u2")
    ended = penstock(*COMMAND, "discard", "1", "7")
    assert ended.status == 4
    assert "no event number 7 is set aside" in ended.out
    assert "1 of 2 events were left as they are" in ended.err
    assert [one["number"] for one in penstock(*COMMAND, "list", "--json").json] == [2]
    assert penstock(*COMMAND, "discard", "--all").status == 0


def test_the_doctor_says_how_many_there_are(
    penstock: Penstock, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCIS_PERSISTENT_STORE_NODES", nats.endpoint)
    set_aside(nats, "u1", "u2")
    (found,) = [check for check in penstock("doctor", "--json").json if check["name"] == "set-aside"]
    assert (found["ok"], found["detail"]) == (False, "2 events could not be handled and are set aside.")
    assert "set-aside list" in found["hint"]
    penstock(*COMMAND, "discard", "--all")
    (found,) = [check for check in penstock("doctor", "--json").json if check["name"] == "set-aside"]
    assert found["ok"]


def test_neither_numbers_nor_all_is_an_error(penstock: Penstock, nats: NatsServer) -> None:
    for arguments in (["again"], ["discard"], ["discard", "1", "--all"]):
        ended = penstock(*COMMAND, *arguments)
        assert ended.status == 2
        assert "--all" in ended.err


def test_a_bus_that_sets_nothing_aside_is_named(
    penstock: Penstock, clean_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_BUS", "local")
    ended = penstock(*COMMAND, "list")
    assert ended.status == 2
    assert "nothing is set aside on it" in ended.err


def test_a_server_that_is_away_is_an_error(
    penstock: Penstock, clean_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with running_nats(tmp_path) as server:
        monkeypatch.setenv("OCIS_EVENTS_ENDPOINT", server.endpoint)
    ended = penstock(*COMMAND, "list")
    assert ended.status == 2
    assert server.endpoint in ended.err
