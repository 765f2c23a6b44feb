"""What the scanner makes of a clamd that does not behave: never a clean verdict."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penstock.antivirus import (
    ByteStream,
    LocalFile,
    ScannerProtocolError,
    ScannerUnavailable,
    ScanReport,
    ScanTimeout,
    Verdict,
)
from penstock.antivirus.clamav import ClamavScanner, connection
from penstock.testing import ManualClock
from tests.unit.antivirus.clamav.fake_clamd import (
    BRIEF,
    FakeClamd,
    Script,
    answer,
    fake_clamd,
    nobody,
    pieces,
    read_all_and_answer,
    read_all_and_hang,
    read_some_and_answer,
    read_stream,
    reset_after,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.conftest import LetPass

MIB = 1024 * 1024

Listen = Callable[["Script | dict[bytes, Script]"], AbstractContextManager[FakeClamd]]
"""Starts a fake with a script for INSTREAM, or with one for each command."""


@pytest.fixture(params=["unix", "tcp"])
def listen(request: pytest.FixtureRequest, tmp_path: Path) -> Listen:
    where = tmp_path / "clamd.sock" if request.param == "unix" else None
    return lambda scripts: fake_clamd(where, scripts)


async def scan_stream(
    fake: FakeClamd, data: bytes = b"some bytes", *, timeout: timedelta | None = None, **options: Any
) -> ScanReport:
    clock = ManualClock()
    async with ClamavScanner(fake.address, clock=clock, **options) as scanner:
        # That it looks at large files is shown in a conversation of its own, which is not the one in question.
        scanner._members[0].clamd._limit._keep(2**40, None, clock.monotonic())
        return await scanner.scan(ByteStream(pieces(data)), size_bytes=len(data), timeout=timeout)


@pytest.mark.parametrize("piece_bytes", [1, 1000])
async def test_answers_in_pieces_of_any_size_are_understood(listen: Listen, piece_bytes: int) -> None:
    with listen(read_all_and_answer(b"stream: OK\0", piece_bytes=piece_bytes)) as fake:
        assert (await scan_stream(fake)).verdict is Verdict.CLEAN
    with listen(read_all_and_answer(b"stream: Some.Virus FOUND\0", piece_bytes=piece_bytes)) as fake:
        report = await scan_stream(fake)
    assert (report.verdict, report.signature) == (Verdict.INFECTED, "Some.Virus")
    assert report.engine_version == "ClamAV 1.4.6"
    assert report.database_version == "27500/Thu Nov 20 08:30:00 2025"


async def test_all_bytes_are_sent_in_order(listen: Listen) -> None:
    received: list[bytes] = []

    def script(connection: socket.socket) -> None:
        received.append(read_stream(connection))
        connection.sendall(b"stream: OK\0")

    data = bytes(range(256)) * 12_345
    with listen(script) as fake:
        await scan_stream(fake, data)
    assert received == [data]


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"stream: OK",  # cut off
        b"stream: O",
        b"OK\0",
        b"stream: OK\0stream: Some.Virus FOUND\0",
        b"stream: OK\0\0",
        b"stream: OKAY\0",
        b"stream: NOT OK\0",
        b"\0",
        b"\xff" * 100_000,
    ],
)
async def test_what_is_no_answer_is_no_verdict(listen: Listen, reply: bytes) -> None:
    with listen(read_all_and_answer(reply)) as fake, pytest.raises(ScannerProtocolError):
        await scan_stream(fake)


async def test_an_empty_answer_is_no_verdict(listen: Listen) -> None:
    with listen(read_all_and_answer(b"")) as fake, pytest.raises(ScannerUnavailable):
        await scan_stream(fake)


@pytest.mark.parametrize("reply", [b"Can't allocate memory ERROR\0", b"COMMAND READ TIMED OUT\n", b"UNKNOWN COMMAND\0"])
async def test_an_error_of_clamd_is_no_verdict(listen: Listen, reply: bytes) -> None:
    with listen(read_all_and_answer(reply)) as fake, pytest.raises(ScannerUnavailable, match=reply[:10].decode()):
        await scan_stream(fake)


@pytest.mark.parametrize("size_bytes", [10, 20 * MIB])
async def test_a_reset_in_the_middle_is_no_verdict(listen: Listen, size_bytes: int) -> None:
    with listen(reset_after(9)) as fake, pytest.raises(ScannerUnavailable):
        await scan_stream(fake, bytes(size_bytes))


async def test_silence_is_given_up_after_the_time_allowed(listen: Listen) -> None:
    with listen(read_all_and_hang) as fake, pytest.raises(ScanTimeout, match=r"0\.3"):
        await scan_stream(fake, allowance=BRIEF)


async def test_a_clamd_that_stops_reading_is_given_up(listen: Listen) -> None:
    released = threading.Event()

    def hold(connection: socket.socket) -> None:
        released.wait(120)

    with listen(hold) as fake:
        try:
            with pytest.raises(ScanTimeout, match="take more bytes"):
                await scan_stream(fake, bytes(24 * MIB), allowance=BRIEF)
        finally:
            released.set()


async def test_the_callers_time_limit_holds_as_well(listen: Listen) -> None:
    released = threading.Event()

    def hold(connection: socket.socket) -> None:
        released.wait(120)

    with listen({b"zVERSION\0": hold}) as fake:
        try:
            with pytest.raises(ScanTimeout, match=r"0\.2 s"):
                await scan_stream(fake, timeout=timedelta(seconds=0.2))
        finally:
            released.set()


@pytest.mark.parametrize("size_bytes", [100, 20 * MIB])
async def test_ok_for_bytes_that_were_not_read_is_no_verdict(listen: Listen, size_bytes: int) -> None:
    with (
        listen(read_some_and_answer(50, b"stream: OK\0")) as fake,
        pytest.raises(ScannerProtocolError, match="before it had read all"),
    ):
        await scan_stream(fake, bytes(size_bytes))


async def test_ok_from_one_that_does_not_close_is_no_verdict(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_CLOSE_SECONDS", 0.2)
    released = threading.Event()

    def answer_and_hold(connection: socket.socket) -> None:
        connection.sendall(b"stream: OK\0")
        released.wait(120)

    with listen(answer_and_hold) as fake:
        try:
            with pytest.raises(ScannerProtocolError, match="before it had read all"):
                await scan_stream(fake, bytes(20 * MIB))
        finally:
            released.set()


@pytest.mark.parametrize("size_bytes", [100, 20 * MIB])
async def test_a_find_is_believed_at_any_time(listen: Listen, size_bytes: int) -> None:
    with listen(read_some_and_answer(50, b"stream: Some.Virus FOUND\0")) as fake:
        assert (await scan_stream(fake, bytes(size_bytes))).verdict is Verdict.INFECTED


async def test_a_stream_over_clamds_limit_is_too_large_although_the_pipe_breaks(listen: Listen) -> None:
    with listen(read_some_and_answer(MIB, b"INSTREAM size limit exceeded. ERROR\0")) as fake:
        report = await scan_stream(fake, bytes(20 * MIB))
    assert report.verdict is Verdict.TOO_LARGE
    assert report.bytes_scanned == 0
    assert "StreamMaxLength" in report.detail


@pytest.mark.parametrize(
    ("signature", "verdict"),
    [
        ("Heuristics.Limits.Exceeded.MaxFileSize", Verdict.TOO_LARGE),
        ("Heuristics.Limits.Exceeded.MaxScanTime", Verdict.UNSCANNABLE),
        ("Heuristics.Encrypted.Zip", Verdict.UNSCANNABLE),
    ],
)
async def test_what_clamd_could_not_look_into_is_no_virus(listen: Listen, signature: str, verdict: Verdict) -> None:
    with listen(read_all_and_answer(f"stream: {signature} FOUND\0".encode())) as fake:
        report = await scan_stream(fake)
    assert (report.verdict, report.signature, report.bytes_scanned) == (verdict, signature, 0)
    assert report.detail


async def test_above_the_limits_given_nothing_is_asked_and_nothing_read(tmp_path: Path) -> None:
    class Unread:
        def __aiter__(self) -> AsyncIterator[bytes]:
            raise AssertionError("the stream was read")

    async with ClamavScanner("/nowhere", clock=ManualClock(), stream_max_bytes=10, max_file_bytes=20) as scanner:
        for source, size_bytes in ((ByteStream(Unread()), 11), (LocalFile(tmp_path / "none"), 21)):
            report = await scanner.scan(source, size_bytes=size_bytes)
            assert (report.verdict, report.bytes_scanned) == (Verdict.TOO_LARGE, 0)
            assert str(size_bytes - 1) in report.detail
        with pytest.raises(ScannerUnavailable):
            await scanner.scan(LocalFile(tmp_path / "none"), size_bytes=20)


async def test_no_setting_lifts_the_engines_own_limit() -> None:
    async with ClamavScanner("/nowhere", clock=ManualClock(), max_file_bytes=2**40) as scanner:
        report = await scanner.scan(LocalFile(Path("/none")), size_bytes=2**31 - 2)
    assert report.verdict is Verdict.TOO_LARGE


async def test_nobody_there_is_no_verdict(tmp_path: Path) -> None:
    for address in (str(tmp_path / "none.sock"), nobody(), str(tmp_path / ("x" * 200))):
        async with ClamavScanner(address, clock=ManualClock()) as scanner:
            with pytest.raises(ScannerUnavailable, match="no connection"):
                await scanner.scan(ByteStream(pieces(b"x")), size_bytes=1)
            with pytest.raises(ScannerUnavailable):
                await scanner.self_test()


async def test_a_descriptor_that_is_refused_is_followed_by_the_bytes(tmp_path: Path) -> None:
    scripts = {
        b"zFILDES\0": answer(b"fd[-1]: No file descriptor received. ERROR\0"),
        b"zINSTREAM\0": read_all_and_answer(b"stream: Some.Virus FOUND\0"),
    }
    file = tmp_path / "file"
    file.write_bytes(b"bytes")
    with fake_clamd(tmp_path / "clamd.sock", scripts) as fake:
        async with ClamavScanner(fake.address, clock=ManualClock()) as scanner:
            report = await scanner.scan(LocalFile(file), size_bytes=5)
        assert fake.commands == [b"zVERSION\0", b"zFILDES\0", b"zINSTREAM\0"]
    assert report.signature == "Some.Virus"


@pytest.mark.parametrize("reply", [b"stream: OK\0", b"fd[10]: OK\0"])
async def test_the_answer_must_be_about_what_was_asked(tmp_path: Path, reply: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"bytes")

    def read_descriptor(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(reply)

    with fake_clamd(tmp_path / "clamd.sock", {b"zFILDES\0": read_descriptor}) as fake:
        async with ClamavScanner(fake.address, clock=ManualClock()) as scanner:
            if reply.startswith(b"fd"):
                assert (await scanner.scan(LocalFile(file), size_bytes=5)).verdict is Verdict.CLEAN
            else:
                with pytest.raises(ScannerProtocolError):
                    await scanner.scan(LocalFile(file), size_bytes=5)


async def test_the_version_is_asked_for_again_after_a_while(listen: Listen) -> None:
    clock = ManualClock()
    with listen(read_all_and_answer(b"stream: OK\0")) as fake:
        async with ClamavScanner(fake.address, clock=clock) as scanner:
            for passed in (0, 299, 2):
                await clock.advance(timedelta(seconds=passed))
                await scanner.scan(ByteStream(pieces(b"x")), size_bytes=1)
        assert fake.commands.count(b"zVERSION\0") == 2


async def test_no_more_files_at_a_time_than_set(listen: Listen) -> None:
    lock, running, most = threading.Lock(), 0, 0
    enough = threading.Barrier(2)

    def script(connection: socket.socket) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        read_stream(connection)
        enough.wait(120)  # two at a time there must be, or nobody gets on
        with lock:
            running -= 1
        connection.sendall(b"stream: OK\0")

    with listen(script) as fake:
        async with ClamavScanner(fake.address, clock=ManualClock(), max_scans=2) as scanner:
            scans = (scanner.scan(ByteStream(pieces(b"x")), size_bytes=1) for _ in range(6))
            assert {report.verdict for report in await asyncio.gather(*scans)} == {Verdict.CLEAN}
    assert most == 2


def late(reply: bytes, let_pass: LetPass) -> Script:
    def script(connection: socket.socket) -> None:
        read_stream(connection)
        let_pass(400)  # it looks at it for so long
        connection.sendall(reply)

    return script


async def test_ok_after_the_time_in_which_clamd_looks_is_no_verdict(listen: Listen, let_pass: LetPass) -> None:
    """It stops then, and says OK of what it has not seen."""
    with listen(late(b"stream: OK\0", let_pass)) as fake:
        long: dict[str, Any] = {"timeout": timedelta(seconds=1000)}
        with pytest.raises(ScanTimeout, match="MaxScanTime"):
            await scan_stream(fake, max_scan_time=timedelta(seconds=300), **long)
        for enough in (timedelta(seconds=700), None):
            assert (await scan_stream(fake, max_scan_time=enough, **long)).verdict is Verdict.CLEAN
    with listen(late(b"stream: Some.Virus FOUND\0", let_pass)) as fake:
        report = await scan_stream(fake, max_scan_time=timedelta(seconds=300), **long)
    assert report.verdict is Verdict.INFECTED


async def test_the_time_in_which_clamd_looks_begins_when_it_has_everything(listen: Listen, let_pass: LetPass) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        let_pass(400)
        yield b"x"

    with listen(read_all_and_answer(b"stream: OK\0")) as fake:
        brief = timedelta(seconds=300)
        async with ClamavScanner(fake.address, clock=ManualClock(), max_scan_time=brief) as scanner:
            assert (await scanner.scan(ByteStream(slow()), size_bytes=2)).verdict is Verdict.CLEAN


async def test_a_time_limit_that_is_set_may_be_longer_than_what_is_allowed_otherwise(listen: Listen) -> None:
    def slow(connection: socket.socket) -> None:
        read_stream(connection)
        time.sleep(0.4)  # more than is allowed
        connection.sendall(b"stream: OK\0")

    with listen(slow) as fake:
        report = await scan_stream(fake, allowance=BRIEF, timeout=timedelta(seconds=1000))
    assert report.verdict is Verdict.CLEAN
    with listen(read_all_and_hang) as fake, pytest.raises(ScanTimeout):
        await scan_stream(fake, allowance=BRIEF)


async def test_a_wrong_version_is_not_clamd(listen: Listen) -> None:
    with listen({b"zVERSION\0": answer(b"SSH-2.0-OpenSSH_9.2\0")}) as fake:
        async with ClamavScanner(fake.address, clock=ManualClock()) as scanner:
            with pytest.raises(ScannerProtocolError):
                await scanner.version()
    with listen({b"zVERSION\0": answer(b"")}) as fake:
        async with ClamavScanner(fake.address, clock=ManualClock()) as scanner:
            with pytest.raises(ScannerUnavailable):
                await scanner.version()
