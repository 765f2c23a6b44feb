"""Several clamds that stand in for each other: scripted ones, for what the real one does not do on command."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from penstock.antivirus import (
    ByteStream,
    LocalFile,
    ScannerProtocolError,
    ScannerUnavailable,
    ScanReport,
    ScanTimeout,
    SelfTestFailed,
    Verdict,
)
from penstock.antivirus.clamav import ClamavScanner, line
from penstock.antivirus.deadline import give_up_after
from penstock.antivirus.eicar import eicar
from penstock.antivirus.limits import TimeAllowance
from penstock.errors import ConfigurationError
from penstock.testing import ManualClock, eventually
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
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.unit.conftest import LetPass

DATA = bytes(range(256)) * 256
"""As much as is scanned without a proof that larger files are looked at."""


def find(connection: socket.socket) -> None:
    """Do as clamd does."""
    connection.sendall(b"stream: Eicar FOUND\0" if eicar() in read_stream(connection) else b"stream: OK\0")


FAILING: dict[str, tuple[Script, type[Exception]]] = {
    "resets in the middle": (reset_after(1000), ScannerUnavailable),
    "says nothing and closes": (read_all_and_answer(b""), ScannerUnavailable),
    "hangs": (read_all_and_hang, ScanTimeout),
    "talks nonsense": (read_all_and_answer(b"HTTP/1.1 400 Bad Request\r\n"), ScannerProtocolError),
    "says OK too early": (read_some_and_answer(1000, b"stream: OK\0"), ScannerProtocolError),
    "answers ERROR": (read_all_and_answer(b"stream: Can't allocate memory ERROR\0"), ScannerUnavailable),
}


class Clamds:
    """Some fakes on ports, in the order in which they are named."""

    def __init__(self, stack: ExitStack, scripts: list[Script]) -> None:
        self.scripts = scripts
        self.fakes: list[FakeClamd] = [
            stack.enter_context(fake_clamd(None, self._script(number))) for number in range(len(scripts))
        ]
        self.addresses = [fake.address for fake in self.fakes]

    def _script(self, number: int) -> Script:
        return lambda connection: self.scripts[number](connection)

    def scans(self) -> list[int]:
        return [fake.commands.count(b"zINSTREAM\0") for fake in self.fakes]


@pytest.fixture
def run() -> Iterator[Callable[..., Clamds]]:
    with ExitStack() as stack:
        yield lambda *scripts: Clamds(stack, list(scripts))


async def scan(scanner: ClamavScanner, data: bytes = DATA) -> ScanReport:
    return await scanner.scan(ByteStream(pieces(data), lambda: pieces(data)), size_bytes=len(data))


@pytest.mark.parametrize("failing", FAILING)
async def test_the_next_one_is_given_the_file_from_its_beginning(
    run: Callable[..., Clamds], failing: str, tmp_path: Path
) -> None:
    received: list[bytes] = []

    def keep(connection: socket.socket) -> None:
        received.append(read_stream(connection))
        connection.sendall(b"stream: Some.Virus FOUND\0")

    clamds = run(FAILING[failing][0], keep)
    file = tmp_path / "file"
    file.write_bytes(DATA)
    for source in (ByteStream(pieces(DATA), lambda: pieces(DATA)), LocalFile(file)):
        async with ClamavScanner(clamds.addresses, clock=ManualClock()) as scanner:
            scanner._members[0].clamd._line._allowance = BRIEF
            report = await scanner.scan(source, size_bytes=len(DATA))
        assert (report.verdict, report.signature) == (Verdict.INFECTED, "Some.Virus")
    assert received == [DATA, DATA]
    assert clamds.scans() == [2, 2]


@pytest.mark.parametrize("failing", FAILING)
async def test_when_all_fail_the_scan_does(run: Callable[..., Clamds], failing: str) -> None:
    script, error = FAILING[failing]
    clamds = run(script, script)
    allowance = BRIEF if failing == "hangs" else TimeAllowance()
    async with ClamavScanner(clamds.addresses, clock=ManualClock(), allowance=allowance) as scanner:
        with pytest.raises(error):
            await scan(scanner)
    assert clamds.scans() == [1, 1]


async def test_a_stream_that_can_be_read_only_once_is_not_cut_short(run: Callable[..., Clamds]) -> None:
    clamds = run(reset_after(1000), find)
    async with ClamavScanner(clamds.addresses, clock=ManualClock()) as scanner:
        with pytest.raises(ScannerUnavailable):
            await scanner.scan(ByteStream(pieces(DATA)), size_bytes=len(DATA))
        assert clamds.scans() == [1, 0]
        report = await scanner.scan(ByteStream(pieces(DATA)), size_bytes=len(DATA))
    assert report.verdict is Verdict.CLEAN
    assert clamds.scans() == [1, 1]


async def test_a_stream_of_which_nothing_was_read_needs_no_second_reading(run: Callable[..., Clamds]) -> None:
    clamds = run(find)
    async with ClamavScanner([nobody(), *clamds.addresses], clock=ManualClock()) as scanner:
        report = await scanner.scan(ByteStream(pieces(DATA)), size_bytes=len(DATA))
    assert report.verdict is Verdict.CLEAN


async def test_unix_and_tcp_may_be_mixed(run: Callable[..., Clamds], tmp_path: Path) -> None:
    clamds = run(find)
    file = tmp_path / "file"
    file.write_bytes(DATA + eicar())
    addresses = [str(tmp_path / "none.sock"), *clamds.addresses]
    async with ClamavScanner(addresses, clock=ManualClock()) as scanner:
        report = await scanner.scan(LocalFile(file), size_bytes=len(DATA) + 68)
        assert report.verdict is Verdict.INFECTED
        assert (await scanner.version()).engine == "ClamAV 1.4.6"


async def test_one_that_failed_rests_and_comes_back_when_it_finds_eicar(run: Callable[..., Clamds]) -> None:
    clock = ManualClock()
    clamds = run(reset_after(1000), find)
    async with ClamavScanner(clamds.addresses, clock=clock) as scanner:
        for _ in range(3):
            await scan(scanner)
        assert clamds.scans() == [1, 3]

        clamds.scripts[0] = read_all_and_answer(b"stream: OK\0")  # it is there again, but blind
        await eventually(lambda: clock.sleepers == 1)
        await clock.advance(timedelta(seconds=2))
        await eventually(lambda: clock.sleepers == 1)  # it has been tried, and rests again
        before = clamds.scans()[0]
        await scan(scanner)
        assert clamds.scans()[0] == before == 2

        clamds.scripts[0] = find
        await clock.advance(timedelta(seconds=4))
        await eventually(lambda: clamds.scans()[0] >= before + 3)  # EICAR, harmless bytes, and a file at the limit
        await eventually(lambda: not any(member.rests for member in scanner._members))
        before = clamds.scans()[0]
        await scan(scanner)
        await scan(scanner)
        assert clamds.scans()[0] == before + 1


async def test_a_mistake_of_ours_is_not_the_end_of_trying(
    run: Callable[..., Clamds], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = ManualClock()
    clamds = run(reset_after(1000), find)
    async with ClamavScanner(clamds.addresses, clock=clock) as scanner:
        first = scanner._members[0]
        while not first.rests:
            await scan(scanner)
        clamds.scripts[0] = find
        test = first.clamd.self_test

        async def mistaken() -> None:
            monkeypatch.setattr(first.clamd, "self_test", test)
            raise RuntimeError("a mistake")

        monkeypatch.setattr(first.clamd, "self_test", mistaken)

        async def is_back() -> bool:
            await clock.advance(timedelta(seconds=1))
            return not first.rests

        await eventually(is_back)
    assert "clamd_not_tested" in "".join(capsys.readouterr())


async def test_a_time_limit_is_for_each_that_is_asked(
    run: Callable[..., Clamds], let_pass: LetPass, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = asyncio.Event()

    @asynccontextmanager
    async def noticed(allowed: timedelta | None, waiting_for: str) -> AsyncIterator[None]:
        async with give_up_after(allowed, waiting_for):
            if "to answer about" in waiting_for:
                waits.set()
            yield

    monkeypatch.setattr(line, "give_up_after", noticed)
    clamds = run(read_all_and_hang, find)
    stream, limit = ByteStream(pieces(DATA), lambda: pieces(DATA)), timedelta(seconds=100)
    async with ClamavScanner(clamds.addresses, clock=ManualClock()) as scanner:
        scanning = asyncio.create_task(scanner.scan(stream, size_bytes=len(DATA), timeout=limit))
        await waits.wait()
        let_pass(101)
        report = await scanning
    assert report.verdict is Verdict.CLEAN
    assert clamds.scans() == [1, 1]


async def test_they_share_the_work(run: Callable[..., Clamds]) -> None:
    clamds = run(find, find, find)
    async with ClamavScanner(clamds.addresses, clock=ManualClock()) as scanner:
        for _ in range(6):
            await scan(scanner)
        assert clamds.scans() == [2, 2, 2]
        await asyncio.gather(*(scan(scanner) for _ in range(6)))
    assert clamds.scans() == [4, 4, 4]


async def test_the_one_with_least_to_do_is_asked(run: Callable[..., Clamds]) -> None:
    released = threading.Event()

    def busy(connection: socket.socket) -> None:
        data = read_stream(connection)
        if data == b"long":
            released.wait(120)
        connection.sendall(b"stream: OK\0")

    clamds = run(busy, find)
    async with ClamavScanner(clamds.addresses, clock=ManualClock()) as scanner:
        long = asyncio.create_task(scan(scanner, b"long"))
        try:
            await eventually(lambda: clamds.scans() == [1, 0])
            for _ in range(4):
                await scan(scanner)
            assert clamds.scans() == [1, 4]
        finally:
            released.set()
        assert (await long).verdict is Verdict.CLEAN


async def test_an_error_about_one_file_does_not_send_it_to_rest(run: Callable[..., Clamds]) -> None:
    def refuse(connection: socket.socket) -> None:
        read_stream(connection)
        connection.sendall(b"stream: Can't allocate memory ERROR\0")

    clamds = run(refuse, find)
    async with ClamavScanner(clamds.addresses, clock=ManualClock()) as scanner:
        for _ in range(10):
            assert (await scan(scanner)).verdict is Verdict.CLEAN
    assert clamds.scans() == [3, 10]


async def test_all_that_rest_are_asked_rather_than_nobody(run: Callable[..., Clamds]) -> None:
    clamds = run(reset_after(1000), reset_after(1000))
    async with ClamavScanner(clamds.addresses, clock=ManualClock()) as scanner:
        with pytest.raises(ScannerUnavailable):
            await scan(scanner)
        clamds.scripts[:] = [find, find]
        assert (await scan(scanner)).verdict is Verdict.CLEAN


async def test_one_that_is_blind_is_never_asked(run: Callable[..., Clamds]) -> None:
    blind = read_all_and_answer(b"stream: OK\0")
    clamds = run(blind, find)
    async with ClamavScanner(clamds.addresses, clock=ManualClock()) as scanner:
        await scanner.self_test()
        before = clamds.scans()[0]
        for _ in range(4):
            await scan(scanner)
        assert clamds.scans()[0] == before
        clamds.scripts[1] = reset_after(1000)
        for _ in range(2):
            with pytest.raises(ScannerUnavailable):
                await scan(scanner)
        assert clamds.scans()[0] == before


async def test_where_all_are_blind_the_self_test_fails_and_nobody_is_asked(run: Callable[..., Clamds]) -> None:
    blind = read_all_and_answer(b"stream: OK\0")
    clamds = run(blind, blind)
    async with ClamavScanner(clamds.addresses, clock=ManualClock()) as scanner:
        with pytest.raises(SelfTestFailed):
            await scanner.self_test()
        before = clamds.scans()
        with pytest.raises(SelfTestFailed):
            await scan(scanner)
    assert clamds.scans() == before


async def test_the_version_comes_from_whoever_answers(run: Callable[..., Clamds]) -> None:
    async with ClamavScanner([nobody(), nobody()], clock=ManualClock()) as scanner:
        with pytest.raises(ScannerUnavailable):
            await scanner.version()


async def test_many_scans_while_they_come_and_go_end_with_the_right_verdict(run: Callable[..., Clamds]) -> None:
    turns = Counter[int]()

    def moody(number: int) -> Script:
        def script(connection: socket.socket) -> None:
            turns[number] += 1
            (reset_after(4) if (turns[number] + number) % 3 == 0 else find)(connection)

        return script

    clamds = run(moody(0), moody(1), moody(2))
    clock = ManualClock()
    verdicts = Counter[str]()
    async with ClamavScanner(clamds.addresses, clock=clock, max_scans=4) as scanner:

        async def one(number: int) -> None:
            try:
                report = await scan(scanner, b"x" * number + (eicar() if number % 2 else b""))
            except ScannerUnavailable:
                verdicts["none"] += 1
            else:
                assert report.verdict is (Verdict.INFECTED if number % 2 else Verdict.CLEAN)
                verdicts[report.verdict] += 1

        await asyncio.gather(*(one(number) for number in range(60)))
    assert sum(verdicts.values()) == 60
    assert verdicts["clean"] > 10
    assert verdicts["infected"] > 10


@pytest.mark.parametrize("addresses", [[], ["/a", "/a"], ["/a", "unix:///a"], ["nonsense"]])
def test_addresses_that_are_none(addresses: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        ClamavScanner(addresses, clock=ManualClock())


def test_paths_need_a_folder() -> None:
    with pytest.raises(ConfigurationError, match="antivirus_clamav_shared_folder"):
        ClamavScanner("/a", clock=ManualClock(), local_way="path")


async def test_a_version_that_is_not_clamds_is_passed_over(run: Callable[..., Clamds], tmp_path: Path) -> None:
    other = {b"zVERSION\0": answer(b"SSH-2.0-OpenSSH_9.2\0"), b"zINSTREAM\0": find}
    with fake_clamd(tmp_path / "other.sock", other) as fake:
        async with ClamavScanner([fake.address, *run(find).addresses], clock=ManualClock()) as scanner:
            assert (await scan(scanner)).verdict is Verdict.CLEAN
        assert b"zINSTREAM\0" not in fake.commands
