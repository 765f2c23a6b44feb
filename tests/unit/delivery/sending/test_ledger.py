"""What is remembered of deliveries, in each kind of database: its words for conflicts are its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.db import Database
from penstock.delivery.sending.ledger import Ledger
from tests.servers.postgres import PostgresServer

UPLOAD = "a" * 32


@pytest.fixture(params=["sqlite", "postgres"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'x.db'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.url(server.new_database()).render_as_string(hide_password=False)
    async with Database(url) as database:
        yield Ledger(database)


async def test_there_is_one_line_for_an_upload_and_the_latest_counts(ledger: Ledger) -> None:
    assert await ledger.line(UPLOAD) is None
    await ledger.note_place(UPLOAD, "first", "https://worker/1")
    assert await ledger.place(UPLOAD, "first") == "https://worker/1"
    await ledger.note(UPLOAD, "first", "https://worker/2")
    assert await ledger.place(UPLOAD, "first") is None
    await ledger.note("b" * 32, "other", "https://worker/3")
    await ledger.note(UPLOAD, "second", "https://worker/4")
    assert await ledger.line(UPLOAD) == "second"
    assert [await ledger.address(UPLOAD, start) for start in ("first", "second")] == [None, "https://worker/4"]
    assert sorted(await ledger.uploads()) == [UPLOAD, "b" * 32]
    await ledger.forget([UPLOAD])
    assert await ledger.uploads() == ["b" * 32]


async def test_an_address_is_used_up_in_place_of_the_line_that_was_seen_and_of_no_other(ledger: Ledger) -> None:
    assert not await ledger.use_up(UPLOAD, "second", instead_of="first")
    assert await ledger.line(UPLOAD) is None
    assert await ledger.use_up(UPLOAD, "second", instead_of=None)
    assert await ledger.is_used_up(UPLOAD, "second")
    await ledger.note(UPLOAD, "third", "https://worker/3")
    for seen in (None, "second"):
        assert not await ledger.use_up(UPLOAD, "second", instead_of=seen)
    assert await ledger.address(UPLOAD, "third") == "https://worker/3"
    assert await ledger.use_up(UPLOAD, "third", instead_of="third")
    assert (await ledger.address(UPLOAD, "third"), await ledger.is_used_up(UPLOAD, "third")) == (None, True)
