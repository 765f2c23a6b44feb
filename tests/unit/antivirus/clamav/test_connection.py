"""The socket code, for what a scan does not show."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penstock.antivirus import ScannerUnavailable
from penstock.antivirus.base import ScannerUnreachable
from penstock.antivirus.clamav import connection
from penstock.antivirus.clamav.address import TcpAddress, UnixAddress
from penstock.antivirus.clamav.connection import Received, connected
from penstock.antivirus.clamav.protocol import LONGEST_REPLY_BYTES, VERSION
from tests.unit.antivirus.clamav.fake_clamd import answer, fake_clamd

if TYPE_CHECKING:
    from collections.abc import Iterable


async def receive(path: Path) -> Received:
    async with connected(UnixAddress(str(path))) as open_connection:
        await open_connection.send(VERSION)
        return await open_connection.receive()


async def test_a_name_is_tried_at_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_clamd(None, {VERSION: answer(b"ClamAV\0")}) as fake:
        port = int(fake.address.rpartition(":")[2])
        resolved = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),  # nobody listens here
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

        async def getaddrinfo(*arguments: object, **options: object) -> object:
            return resolved

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        async with connected(TcpAddress("clamav", port)) as open_connection:
            await open_connection.send(VERSION)
            assert (await open_connection.receive())[:2] == (b"ClamAV\0", True)
        resolved.pop()
        with pytest.raises(ScannerUnavailable, match="no connection"):
            await connected(TcpAddress("clamav", port)).__aenter__()


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..b"])
async def test_a_name_that_cannot_be_one_is_not_there(host: str) -> None:
    with pytest.raises(ScannerUnavailable, match="no connection"):
        await connected(TcpAddress(host, 3310)).__aenter__()


async def test_nobody_accepts_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 0.1)

    async def never(address: object) -> socket.socket:
        forever: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        return await forever

    monkeypatch.setattr(connection, "_connect", never)
    with pytest.raises(ScannerUnavailable, match=r"did not accept a connection in 0\.1 s"):
        await connected(UnixAddress(str(tmp_path / "clamd.sock"))).__aenter__()


async def test_what_never_ends_is_not_read_for_ever(tmp_path: Path) -> None:
    def talk(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"x" * 65536)

    with fake_clamd(tmp_path / "clamd.sock", {VERSION: talk}):
        received = await receive(tmp_path / "clamd.sock")
    assert LONGEST_REPLY_BYTES < len(received.raw) <= LONGEST_REPLY_BYTES + 4096
    assert not received.closed_cleanly


async def test_whoever_finds_the_queue_full_waits_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = UnixAddress(str(tmp_path / "clamd.sock"))
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(address.path)
        listening.listen(0)
        first.connect(address.path)
        monkeypatch.setattr(connection, "_CONNECT_SECONDS", 0.2)
        with pytest.raises(ScannerUnreachable, match="did not accept a connection"):
            async with connected(address):
                pass
        monkeypatch.setattr(connection, "_CONNECT_SECONDS", 60.0)

        async def ask() -> None:
            async with connected(address) as asked:
                await asked.send(VERSION)

        asking = asyncio.create_task(ask())
        await asyncio.sleep(0)
        listening.accept()[0].close()
        await asking
        taken, _ = listening.accept()
        with taken:
            assert taken.recv(100) == VERSION


async def test_an_answer_counts_without_the_end_of_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_CLOSE_SECONDS", 0.1)
    released = threading.Event()

    def answer_and_hold(connection: socket.socket) -> None:
        connection.sendall(b"ClamAV\0")
        released.wait(120)

    with fake_clamd(tmp_path / "clamd.sock", {VERSION: answer_and_hold}):
        try:
            assert (await receive(tmp_path / "clamd.sock"))[:2] == (b"ClamAV\0", False)
        finally:
            released.set()


@pytest.mark.parametrize("at_first", [None, 0, 1, 4, 5, 5000])
async def test_head_and_body_arrive_however_much_is_taken_at_first(at_first: int | None) -> None:
    class Reluctant(socket.socket):
        def sendmsg(self, buffers: Iterable[bytes], *more: Any) -> int:  # type: ignore[override]
            if at_first is None:
                raise BlockingIOError
            self.sendall(b"".join(buffers)[:at_first])
            return at_first

    ours, theirs = socket.socketpair()
    with theirs, Reluctant(fileno=ours.detach()) as reluctant:
        reluctant.setblocking(False)
        body = bytes(range(250)) * 20
        await connection.Connection(reluctant, UnixAddress("/a")).send_both(b"head", body)
        assert theirs.recv(100_000) == b"head" + body
