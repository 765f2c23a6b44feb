"""The recorded conversations of the Go service `antivirus`, held with ours, real NATS, real clamd; and its weaknesses.

The answers must be the same, byte for byte but for the time of the scan, except where we differ on purpose:
`DIFFERENCES` says what we answer there, and docs/decisions/0005 says why.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from penstock.antivirus.eicar import eicar
from tests.servers.clamd import Clamd, running_clamd
from tests.servers.fake_icap import CLEAN, Peer, running_fake
from tests.servers.nats import NatsServer, running_nats
from tests.servers.storage import Storage, running_storage

from .captures import NAMES, capture
from .scanning import Platform, scanning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

MIB = 1024 * 1024

REPLAYED = [name for name in NAMES if name.startswith("antivirus-")]

DIFFERENCES: dict[str, list[dict[str, Any]]] = {
    # Never let through what was not scanned; an error that cannot pass by itself is not tried again.
    "antivirus-clamd-stream-limit": [{"Outcome": "abort", "ErrorMsg": "smaller than this file", "Description": ""}],
    # A part of a file is not the file.
    "antivirus-truncated-download": [
        {},
        {"Outcome": "retry", "ErrorMsg": "could not reach the step, or not all of it"},
    ],
    # That nobody looked is said.
    "antivirus-over-max-size": [{"ErrorMsg": "not scanned: larger than 10000 bytes"}],
    # The variable would release files unscanned: it is not followed, and the file is clean.
    "antivirus-debug-outcome": [{"Outcome": "continue", "Infected": False, "Description": ""}],
    # In our own words, without the address: people read them. The log says more.
    "antivirus-download-404": [{"ErrorMsg": "could not reach the step"}],
    "antivirus-download-refused": [{"ErrorMsg": "could not reach the step"}],
    "antivirus-scanner-down": [{"ErrorMsg": "no connection to clamd at unix:///nowhere/clamd.ctl"}],
}

ENVIRONMENT = {
    "antivirus-infected-delete": {},
    "antivirus-infected-abort": {"ANTIVIRUS_INFECTED_FILE_HANDLING": "abort"},
    "antivirus-infected-continue": {"ANTIVIRUS_INFECTED_FILE_HANDLING": "continue"},
    "antivirus-debug-outcome": {"ANTIVIRUS_DEBUG_SCAN_OUTCOME": "delete"},
    "antivirus-over-max-size": {"ANTIVIRUS_MAX_SCAN_SIZE": "10KB", "ANTIVIRUS_MAX_SCAN_SIZE_MODE": "skip"},
    "antivirus-scanner-down": {"ANTIVIRUS_CLAMAV_SOCKET": "/nowhere/clamd.ctl"},
}


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    with running_clamd(tmp_path_factory.mktemp("clamd"), StreamMaxLength="5M") as server:
        yield server


@pytest.fixture(scope="module")
def nats_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
async def nats(nats_of_module: NatsServer) -> NatsServer:
    await nats_of_module.delete_streams()
    return nats_of_module


@pytest.fixture
def storage() -> Iterator[Storage]:
    with running_storage() as running:
        yield running


@pytest.fixture
async def platform(nats: NatsServer) -> AsyncIterator[Platform]:
    async with Platform(nats.endpoint) as running:
        yield running


@pytest.fixture
def environment(nats: NatsServer, clamd: Clamd) -> dict[str, str]:
    return {"OCIS_EVENTS_ENDPOINT": nats.endpoint, "ANTIVIRUS_CLAMAV_SOCKET": clamd.unix_address}


def body_for(name: str, size_bytes: int) -> bytes:
    infected = "infected" in name or name in (
        "antivirus-clamd-stream-limit",
        "antivirus-truncated-download",
        "antivirus-over-max-size",
    )
    if "icap" in name:
        return b"ABCDEFGHIJKL"
    if name == "antivirus-truncated-download":
        return b"x" * (size_bytes - 68) + eicar()
    return (eicar() + bytes(size_bytes))[:size_bytes] if infected else b"x" * size_bytes


def page(storage: Storage, name: str, payload: dict[str, Any]) -> str:
    """Have the bytes of a start event where the event says, on another port."""
    if name == "antivirus-download-refused":
        return str(payload["URL"])
    path = payload["URL"].removeprefix("http://localhost:9158")
    if name == "antivirus-download-404":
        return storage.url(path)
    size_bytes = payload["Filesize"]
    # One that could be asked for the rest would be.
    return storage.put(path, body_for(name, size_bytes), cut_at=size_bytes // 2 if path == "/d" else None, ranges=False)


def without_ours(payload: dict[str, Any]) -> str:
    """Return a payload as text, without the time, and without the key that only ours has."""
    result = {key: value for key, value in payload["Result"].items() if key != "Scan"}
    return json.dumps({**payload, "Result": {**result, "Scandate": ""}})


def expected(name: str, number: int, captured: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Return the captured answer with our differences; of a message in our own words, a part is enough."""
    wanted = json.loads(json.dumps(captured))
    for key, value in DIFFERENCES.get(name, [{}, {}])[number].items():
        if key == "ErrorMsg":
            assert value in answer["Result"]["ErrorMsg"]
            value = answer["Result"]["ErrorMsg"]
        (wanted if key in wanted else wanted["Result"])[key] = value
    return dict(wanted)


@pytest.fixture
async def icap(name: str) -> AsyncIterator[dict[str, str]]:
    """What the recorded ICAP server said of the file; it finds EICAR as well, or it would not be used."""
    page = b"HTTP/1.0 403 Forbidden\r\n\r\n"
    infected = b"ICAP/1.0 200 OK\r\nX-Infection-Found: Type=0; Resolution=2; Threat=Eicar-Signature;\r\n"
    infected += b"Encapsulated: res-hdr=0, null-body=%d\r\n\r\n%b" % (len(page), page)

    async def script(peer: Peer) -> None:
        data = (await peer.request()).data
        bad = eicar() in data or (name == "antivirus-icap-infected" and data == b"ABCDEFGHIJKL")
        await peer.say(infected if bad else CLEAN)

    async with running_fake(script) as fake:
        url = fake.url.removesuffix("/avscan")
        yield {"ANTIVIRUS_SCANNER_TYPE": "icap", "ANTIVIRUS_ICAP_URL": url, "ANTIVIRUS_ICAP_SERVICE": "avscan"}


@pytest.mark.parametrize("name", REPLAYED)
async def test_the_answers_are_those_of_the_go_service(
    name: str,
    platform: Platform,
    storage: Storage,
    environment: dict[str, str],
    icap: dict[str, str],
    tmp_path: Path,
) -> None:
    messages = capture(name)["messages"]
    ready = name != "antivirus-scanner-down"
    environment |= icap if "-icap-" in name else {}
    async with scanning(tmp_path, environment | ENVIRONMENT.get(name, {}), ready=ready):
        for number, (question, captured) in enumerate(zip(messages[::2], messages[1::2], strict=True)):
            payload = question["payload"]
            await platform.say({**payload, "URL": page(storage, name, payload)})
            answer = await platform.answer_to(payload["UploadID"])
            wanted = expected(name, number, captured["payload"], answer)
            # Compared as text: the order of the keys is part of it.
            assert without_ours(answer) == without_ours(wanted)
            if answer["Outcome"] != "retry":
                assert list(answer["Result"])[-1] == "Scan"  # Go ignores it
            assert platform.envelopes[-1]["Metadata"]["initiatorid"] == ""
    assert len(platform.answers) == len(messages) // 2


async def test_what_a_scan_on_demand_needs_is_sent_to_whom_it_is_for_and_to_nobody_else(
    platform: Platform, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    [question, _] = capture("antivirus-on-demand")["messages"]
    recorded = capture("antivirus-on-demand")["download_requests"][0]["headers"]
    names = ("X-Reva-Transfer", "X-Access-Token")
    with running_storage() as other:
        elsewhere = other.put("/bytes", b"x" * 12)
        storage.put("/data/there", status=307, headers={"Location": "/data/jwt"})
        storage.put("/data/jwt", status=307, headers={"Location": elsewhere})
        async with scanning(tmp_path, environment):
            await platform.say({**question["payload"], "URL": storage.url("/data/there")})
            assert (await platform.answer_to(""))["Outcome"] == "continue"
        for _, headers in storage.requests:
            assert [headers.get(name.lower()) for name in names] == [recorded[name] for name in names]
        [(_, headers)] = other.requests
        assert not {name.lower() for name in names} & set(headers)
    assert [path for path, _ in storage.requests] == ["/data/there", "/data/jwt"]


async def test_the_consumer_that_a_go_service_left_is_used_and_left(
    platform: Platform, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    await platform.make_go_consumer()
    url = storage.put("/a", b"x" * 10)
    async with scanning(tmp_path, environment):
        assert (await platform.scan(url, 10))["Outcome"] == "continue"
        assert "antivirus-pull" not in await platform.consumers()
    assert "antivirus" in await platform.consumers()


async def test_a_part_of_a_file_over_the_limit_is_fetched_and_scanned(
    platform: Platform, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    # At the end the file is infected as well, where nobody looks.
    clean = storage.put("/clean", bytes(10_000) + eicar())
    infected = storage.put("/infected", eicar() + bytes(10_000))
    whole = storage.put("/whole", eicar() + bytes(10_000), ranges=False)
    async with scanning(tmp_path, environment | {"ANTIVIRUS_MAX_SCAN_SIZE": "10KB"}):
        answers = [await platform.scan(url, 10_068) for url in (clean, infected, whole)]
    assert [answer["Outcome"] for answer in answers] == ["continue", "delete", "delete"]
    assert answers[0]["Result"]["ErrorMsg"] == "scanned in part: the first 10000 bytes"
    assert all(headers["range"] == "bytes=0-9999" for _, headers in storage.requests)
