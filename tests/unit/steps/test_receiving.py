"""The endpoint for pushed files, as the gateway and others may use it; `test_push` has the other side."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import threading
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

from penstock.clock import SystemClock
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


async def cut_off(app: Receiving, one: str, arrived: bytes) -> list[Any]:
    """Have a file begin to arrive, and the connection end; return what is answered."""
    sent: list[Any] = []
    messages = iter([{"type": "http.request", "body": arrived, "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(key.lower().encode(), value.encode()) for key, value in headers(Content_Length="10000").items()]
    await app({"type": "http", "method": "PUT", "path": f"/{one}", "headers": raw}, receive, send)
    return sent


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://worker")


async def test_what_broke_off_stays_a_part(tmp_path: Path) -> None:
    one = name()
    sent = await cut_off(Receiving(tmp_path), one, BODY[:4000])
    assert sent[0]["status"] == 400
    assert names(tmp_path) == [f".{one}.part"]


async def test_what_was_hashed_as_it_came_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large it is, each request is answered at once."""
    app, one = Receiving(tmp_path), name()
    await cut_off(app, one, BODY[:4000])

    def read(*_: object) -> NoReturn:
        pytest.fail("it is read again")

    monkeypatch.setattr(os, "pread", read)
    monkeypatch.setattr(hashlib, "file_digest", read)
    async with client_of(app) as client:
        head = await client.head(one)
        assert (head.headers["upload-offset"], head.headers["upload-complete"]) == ("4000", "?0")
        assert (await client.patch(one, content=BODY[4000:], headers=headers(Upload_Offset="4000"))).status_code == 201
        head = await client.head(one)
    assert (head.headers["upload-complete"], head.headers["repr-digest"]) == ("?1", headers()["Repr-Digest"])
    assert (tmp_path / one).read_bytes() == BODY


class Passing(SystemClock):
    """A clock on which a second passes whenever somebody looks at it."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def monotonic(self) -> float:
        self._seconds += 1
        return self._seconds


async def test_what_an_earlier_process_has_written_is_read_for_so_long_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be read in time is sent again, and whoever waits for the file sees it grow."""
    monkeypatch.setattr("penstock.steps.hashed._PIECE_BYTES", 100)
    one, app = name(), Receiving(tmp_path, clock=Passing())
    await cut_off(Receiving(tmp_path), one, BODY[:9000])
    async with client_of(app) as client:
        head = await client.head(one)
        known = int(head.headers["upload-offset"])
        assert (0 < known < 2000, head.headers["upload-complete"]) == (True, "?0")
        part = tmp_path / f".{one}.part"
        assert part.stat().st_size == 9000

        async def rest() -> AsyncIterator[bytes]:
            assert part.stat().st_size == known
            yield BODY[known:]

        told = headers(Upload_Offset=f"{known}", Content_Length=f"{len(BODY) - known}")
        assert (await client.patch(one, content=rest(), headers=told)).status_code == 201
    assert (tmp_path / one).read_bytes() == BODY
    async with client_of(Receiving(tmp_path, clock=Passing())) as client:
        seen = [(await client.head(one)).headers for _ in range(20)]
    assert ("repr-digest" in seen[0], seen[0]["retry-after"]) == (False, "1")
    assert seen[-1]["repr-digest"] == headers()["Repr-Digest"]  # it gets on with each question
    assert {one["upload-complete"] for one in seen} == {"?1"}


async def test_who_knows_where_it_ends_need_not_ask_and_may_have_nothing_left_to_send(tmp_path: Path) -> None:
    """As where several processes answer, or the answer to the last byte was lost."""
    for arrived in (4000, len(BODY)):
        one = name()
        file = Arriving(tmp_path, one, anew=True)
        file.write(BODY[:arrived])
        file.close()
        async with client_of(Receiving(tmp_path)) as client:
            rest = headers(Upload_Offset=f"{arrived}")
            assert (await client.patch(one, content=BODY[arrived:], headers=rest)).status_code == 201
        assert (tmp_path / one).read_bytes() == BODY


async def test_what_somebody_else_has_changed_is_hashed_anew(tmp_path: Path) -> None:
    app, one = Receiving(tmp_path), name()
    await cut_off(app, one, BODY[:4000])
    part = tmp_path / f".{one}.part"
    part.write_bytes(b"x" * 4000)
    os.utime(part, (1, 1))
    async with client_of(app) as client:
        answer = await client.patch(one, content=BODY[4000:], headers=headers(Upload_Offset="4000"))
    assert answer.status_code == 460
    assert names(tmp_path) == []


def test_a_disk_that_loses_bytes_is_believed_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so once: what seemed to be written before has to come again."""
    one = name()
    file = Arriving(tmp_path, one, anew=True)
    file.write(BODY)

    def lost(_: int) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", lost)
    with pytest.raises(OSError, match="Input/output error"):
        file.finish(hashlib.sha256(BODY).hexdigest())
    assert file.offset == 0
    file.close()
    assert (tmp_path / f".{one}.part").read_bytes() == b""


def test_no_more_waits_for_the_disk_than_can_be_written_while_a_sender_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.steps.inbox._FLUSH_BYTES", 1000)
    flushed, fsync = list[int](), os.fsync

    def flush(file: int) -> None:
        flushed.append(file)
        fsync(file)

    monkeypatch.setattr(os, "fsync", flush)
    file = Arriving(tmp_path, name(), anew=True)
    for begin in range(0, len(BODY), 500):
        file.write(BODY[begin : begin + 500])
    assert len(flushed) == len(BODY) // 1000
    file.close()


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


async def test_without_a_secret_only_this_machine_is_served(tmp_path: Path) -> None:
    app: Any = Receiving(tmp_path)
    for address, status in (("127.0.0.1", 201), ("::1", 201), ("::ffff:127.0.0.1", 201), ("192.0.2.7", 403)):
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
            answer = await client.put(name(), content=BODY, headers=headers())
            assert answer.status_code == status, address


async def test_without_a_secret_no_page_in_a_browser_is_served(client: httpx.AsyncClient, tmp_path: Path) -> None:
    answer = await client.post("", headers={"Origin": "https://elsewhere.example.org"}, **form(name()))
    assert answer.status_code == 403
    assert names(tmp_path) == []


def test_a_part_that_was_finished_while_one_waited_for_it_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking, the request before makes the whole file of the part, which a step may be reading."""
    one, whole, flock = name(), tmp_path / "whole", fcntl.flock
    (tmp_path / f".{one}.part").write_bytes(BODY)

    def finished_before(file: int, operation: int) -> None:
        if not whole.exists():
            (tmp_path / f".{one}.part").rename(whole)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", finished_before)
    file = Arriving(tmp_path, one, anew=True)
    file.write(b"other")
    file.close()
    assert whole.read_bytes() == BODY
    assert (tmp_path / f".{one}.part").read_bytes() == b"other"


def form(start_id: str, body: bytes = BODY, **more: str) -> dict[str, Any]:
    fields = {"start": start_id, "sha256": hashlib.sha256(BODY).hexdigest(), "upload": "u", **more}
    return {"data": fields, "files": {"file": ("a.bin", body)}}


async def test_a_form_is_taken(client: httpx.AsyncClient, tmp_path: Path) -> None:
    one = name()
    assert (await client.post("", **form(one))).status_code == 201
    assert (tmp_path / one).read_bytes() == BODY
    empty = name()
    nothing = form(empty, b"", sha256=hashlib.sha256(b"").hexdigest())
    assert (await client.post("", **nothing)).status_code == 201
    assert (tmp_path / empty).read_bytes() == b""


async def test_a_form_that_is_wrong_leaves_no_file(client: httpx.AsyncClient, tmp_path: Path) -> None:
    one = name()
    assert (await client.post("", **form(one, BODY[:-1]))).status_code == 460
    assert (await client.post("", **form("../../etc/passwd"))).status_code == 400
    assert (await client.post("", data={"start": one, "sha256": "0"})).status_code == 400
    assert (await client.post("", **form(one, upload="u" * 5000))).status_code == 400
    twice = {"data": form(one)["data"], "files": [("file", ("a", BODY)), ("file", ("b", BODY))]}
    assert (await client.post("", **twice)).status_code == 400
    cut = client.build_request("POST", "", **form(one))
    content = (await cut.aread())[:-30]
    kept = {"Content-Type": cut.headers["Content-Type"]}
    assert (await client.post("", content=content, headers=kept)).status_code == 400
    assert not (tmp_path / one).exists()


@pytest.mark.parametrize("work", ["__init__", "write", "finish"])
async def test_who_is_cancelled_closes_a_file_when_nobody_writes_to_it_any_more(
    client: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    begun, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    done, close = getattr(Arriving, work), Arriving.close

    def slow(file: Arriving, *arguments: Any, **named: Any) -> None:
        done(file, *arguments, **named)
        begun.set()
        assert go_on.wait(60)
        assert not closed.is_set()

    def noted(file: Arriving) -> None:
        closed.set()
        close(file)

    monkeypatch.setattr(Arriving, work, slow)
    monkeypatch.setattr(Arriving, "close", noted)
    request = asyncio.create_task(client.put(name(), content=BODY, headers=headers()))
    assert await asyncio.to_thread(begun.wait, 60)
    request.cancel()
    await asyncio.wait({request}, timeout=0.05)
    assert not closed.is_set()
    go_on.set()
    await asyncio.wait({request})
    assert request.cancelled()
    assert closed.is_set()
    monkeypatch.undo()
    assert (await client.put(name(), content=BODY, headers=headers())).status_code == 201
