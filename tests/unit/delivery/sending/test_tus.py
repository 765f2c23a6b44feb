"""Pushing a file by tus to a server that is told how to behave; `tests/e2e/test_push` has a real one."""

from __future__ import annotations

import uuid
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from penstock.blobs.local import LocalBlobs
from penstock.db import Database
from penstock.delivery.sending.base import NotDelivered
from penstock.delivery.sending.ledger import Ledger
from penstock.delivery.sending.push import PushWay
from penstock.delivery.sending.tus import Tus
from tests.servers.tus_peer import TusPeer, running_tus_peer
from tests.unit.delivery.sending.test_push import BODY, UPLOAD, Reports, blobs, pushing, quick, start

__all__ = ["blobs", "quick"]


@pytest.fixture
def peer() -> Iterator[TusPeer]:
    with running_tus_peer() as peer:
        yield peer


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with Database(f"sqlite:///{tmp_path / 'x.db'}") as database:
        yield Ledger(database)


def name() -> str:
    return str(uuid.uuid4())


async def test_the_file_arrives_with_what_is_to_be_known_of_it(
    blobs: LocalBlobs, peer: TusPeer, ledger: Ledger
) -> None:
    start_id = name()
    url = await PushWay(peer.url, pushing(blobs), Tus(ledger)).address(start(), start_id, Reports().take)
    assert url == peer.url + "1"
    assert peer.uploads["/files/1"] == BODY
    told = dict(pair.split(" ") for pair in peer.metadata[0].split(","))
    assert b64decode(told["start"]).decode() == start_id
    assert b64decode(told["upload"]).decode() == UPLOAD
    assert b64decode(told["filename"]).decode() == "a b.bin"


async def test_what_has_no_name_is_taken_too(blobs: LocalBlobs, peer: TusPeer, ledger: Ledger) -> None:
    nameless = msgspec.structs.replace(start(), filename="")
    await PushWay(peer.url, pushing(blobs), Tus(ledger)).address(nameless, name(), Reports().take)
    assert peer.uploads["/files/1"] == BODY
    assert all(len(pair.split()) == 2 for pair in peer.metadata[0].split(","))  # a key without a value has no space


async def test_a_push_that_is_cut_goes_on_and_not_from_zero(blobs: LocalBlobs, peer: TusPeer, ledger: Ledger) -> None:
    peer.cuts = [1_800_000, 500_000]
    reports = Reports()
    way = PushWay(peer.url, pushing(blobs), Tus(ledger))
    await way.address(start(), name(), reports.take)
    assert peer.uploads == {"/files/1": bytearray(BODY)}
    assert peer.methods() == ["POST", "PATCH", "HEAD", "PATCH", "HEAD", "PATCH"]


async def test_it_goes_on_after_a_restart(blobs: LocalBlobs, peer: TusPeer, tmp_path: Path) -> None:
    start_id, url = name(), f"sqlite:///{tmp_path / 'y.db'}"
    peer.cuts = [1_800_000]
    async with Database(url) as database:
        way = PushWay(peer.url, pushing(blobs, tries=1), Tus(Ledger(database)))
        with pytest.raises(NotDelivered, match="tried once"):
            await way.address(start(), start_id, Reports().take)
    peer.asked.clear()
    async with Database(url) as database:
        ledger = Ledger(database)
        await PushWay(peer.url, pushing(blobs, tries=1), Tus(ledger)).address(start(), start_id, Reports().take)
        assert await ledger.address(UPLOAD, start_id) is None  # it was not said yet
        # The next attempt of the step has a file of its own.
        await PushWay(peer.url, pushing(blobs), Tus(ledger)).address(start(), name(), Reports().take)
    assert peer.methods() == ["HEAD", "PATCH", "POST", "PATCH"]
    assert peer.uploads == {"/files/1": bytearray(BODY), "/files/2": bytearray(BODY)}


async def test_what_the_worker_has_forgotten_is_created_anew(blobs: LocalBlobs, peer: TusPeer, ledger: Ledger) -> None:
    start_id = name()
    await ledger.note_place(UPLOAD, start_id, f"{peer.url}gone")
    await PushWay(peer.url, pushing(blobs, tries=1), Tus(ledger)).address(start(), start_id, Reports().take)
    assert peer.asked == [("HEAD", "/files/gone"), ("POST", "/files/"), ("PATCH", "/files/1")]


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:1/x", "https://127.0.0.1/x", "//169.254.169.254/latest", "http://["]
)
async def test_nobody_is_sent_elsewhere(blobs: LocalBlobs, peer: TusPeer, ledger: Ledger, location: str) -> None:
    peer.location = location
    with pytest.raises(NotDelivered, match=r"tried once; the last time, .*Location") as found:
        await PushWay(peer.url, pushing(blobs), Tus(ledger)).address(start(), name(), Reports().take)
    assert "127.0.0.1" not in found.value.told
    assert peer.methods() == ["POST"]


async def test_a_line_that_breaks_again_and_again_is_no_failure_while_it_gets_on(
    blobs: LocalBlobs, peer: TusPeer, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.delivery.sending.push._GETTING_ON_BYTES", 300_000)
    peer.cuts = [400_000] * 7
    await PushWay(peer.url, pushing(blobs, tries=2), Tus(ledger)).address(start(), name(), Reports().take)
    assert peer.uploads["/files/1"] == BODY
    peer.cuts = [100_000] * 20
    with pytest.raises(NotDelivered):
        await PushWay(peer.url, pushing(blobs, tries=2), Tus(ledger)).address(start(), name(), Reports().take)
