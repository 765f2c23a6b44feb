"""The endpoint for pushed files, as the gateway and others may use it; `test_push` has the other side."""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.delivery.pushed import written_digest
from penstock.steps.inbox import Arriving, collect
from penstock.steps.receiving import Receiving

BODY = b"0123456789" * 1000


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app: Any = Receiving(tmp_path)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://worker/files") as client:
        yield client


def headers(body: bytes = BODY, **more: str) -> dict[str, str]:
    return {"Repr-Digest": written_digest(hashlib.sha256(body).hexdigest())} | {
        name.replace("_", "-"): value for name, value in more.items()
    }


def name() -> str:
    return str(uuid.uuid4())


async def test_a_file_is_put(client: httpx.AsyncClient, tmp_path: Path) -> None:
    one = name()
    assert (await client.head(one)).status_code == 404
    assert (await client.put(one, content=BODY, headers=headers())).status_code == 201
    assert (tmp_path / one).read_bytes() == BODY
    head = await client.head(one)
    assert (head.status_code, head.headers["upload-offset"], head.headers["upload-complete"]) == (204, "10000", "?1")
    assert head.headers["repr-digest"] == headers()["Repr-Digest"]


async def test_a_file_goes_on_from_where_it_was(client: httpx.AsyncClient, tmp_path: Path) -> None:
    one = name()
    file = Arriving(tmp_path, one, anew=True)
    file.write(BODY[:4000])
    file.close()
    head = await client.head(one)
    assert (head.headers["upload-offset"], head.headers["upload-complete"]) == ("4000", "?0")
    wrong = await client.patch(one, content=BODY[3000:], headers=headers(Upload_Offset="3000"))
    assert (wrong.status_code, wrong.headers["upload-offset"]) == (409, "4000")
    assert (await client.patch(one, content=BODY[4000:], headers=headers(Upload_Offset="4000"))).status_code == 201
    assert (tmp_path / one).read_bytes() == BODY


async def test_other_bytes_than_announced_leave_nothing(client: httpx.AsyncClient, tmp_path: Path) -> None:
    answer = await client.put(name(), content=BODY[:-1], headers=headers())
    assert answer.status_code == 460
    assert names(tmp_path) == []


async def test_what_broke_off_stays_a_part(tmp_path: Path) -> None:
    one, sent = name(), []
    messages = iter([{"type": "http.request", "body": BODY[:4000], "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(key.lower().encode(), value.encode()) for key, value in headers(Content_Length="10000").items()]
    await Receiving(tmp_path)({"type": "http", "method": "PUT", "path": f"/{one}", "headers": raw}, receive, send)
    assert sent[0]["status"] == 400
    assert names(tmp_path) == [f".{one}.part"]


@pytest.mark.parametrize("odd", ["x", "..", "%2e%2e%2fx", "", ".", "0" * 36, "a" * 300])
async def test_only_ids_are_names(client: httpx.AsyncClient, tmp_path: Path, odd: str) -> None:
    answer = await client.put(f"/{odd}", content=BODY, headers=headers())
    assert answer.status_code == 404
    assert names(tmp_path) == []


async def test_what_is_missing_is_said(client: httpx.AsyncClient, tmp_path: Path) -> None:
    assert (await client.put(name(), content=BODY)).status_code == 400
    assert (await client.get(name())).status_code == 405
    assert names(tmp_path) == []


async def test_two_writers_do_not_mix(client: httpx.AsyncClient, tmp_path: Path) -> None:
    one = name()
    file = Arriving(tmp_path, one, anew=True)
    assert (await client.put(one, content=BODY, headers=headers())).status_code == 423
    file.close()
    assert (await client.put(one, content=BODY, headers=headers())).status_code == 201


async def test_nobody_pushes_without_the_secret(tmp_path: Path) -> None:
    app: Any = Receiving(tmp_path, secret="s")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://worker") as client:
        for shown in ({}, {"Authorization": "Bearer t"}, {"Authorization": "s"}):
            answer = await client.put(name(), content=BODY, headers=headers() | shown)
            assert answer.status_code == 401
        assert names(tmp_path) == []
        answer = await client.put(name(), content=BODY, headers=headers(Authorization="Bearer s"))
        assert answer.status_code == 201


def test_what_no_step_came_for_is_removed(tmp_path: Path) -> None:
    old, part, read, young = name(), f".{name()}.part", name(), name()
    for each in (old, part, read, young, "notes.txt"):
        (tmp_path / each).write_bytes(BODY)
        if each != young:
            os.utime(tmp_path / each, (0, 0))
    with (tmp_path / read).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert collect(tmp_path, datetime.now(UTC), timedelta(days=1)) == sorted([old, part])
    assert set(names(tmp_path)) == {read, young, "notes.txt"}
