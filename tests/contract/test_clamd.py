"""What real clamds do beside scanning: die in the middle and come back, load signatures, open files by their paths."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penstock.antivirus import (
    ByteStream,
    LocalFile,
    ScannerVersion,
    ScanReport,
    ScanTimeout,
    SelfTestFailed,
    Source,
    SourceUnreadable,
    Verdict,
)
from penstock.antivirus.clamav import ClamavScanner
from penstock.antivirus.clamav.address import parse_address
from penstock.antivirus.clamav.daemon import ENGINE_LIMIT_BYTES
from penstock.antivirus.clamav.line import Line
from penstock.antivirus.clamav.protocol import Answer, ScanReply
from penstock.antivirus.eicar import eicar
from penstock.antivirus.limits import TimeAllowance
from penstock.antivirus.proven import ProvenScanner
from penstock.antivirus.sources import opened
from penstock.clock import SystemClock
from penstock.testing import ManualClock, eventually
from penstock.testing.scanner_contract import open_files
from tests.on_disk import tmp_path
from tests.servers.clamd import Clamd, running_clamd
from tests.servers.process import halt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator

MIB = 1024 * 1024
LIMIT_BYTES = 32 * MIB
LIMITS: dict[str, Any] = {"stream_max_bytes": LIMIT_BYTES, "max_file_bytes": LIMIT_BYTES}

__all__ = ["tmp_path"]  # a fixture


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Clamd, Clamd]]:
    with (
        running_clamd(tmp_path_factory.mktemp("first")) as first,
        running_clamd(tmp_path_factory.mktemp("second")) as second,
    ):
        yield first, second


@pytest.fixture
def clamds(pair: tuple[Clamd, Clamd]) -> tuple[Clamd, Clamd]:
    for clamd in pair:
        if clamd.has_ended:
            clamd.start_again()
    return pair


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), MIB):
        yield data[start : start + MIB]
        await asyncio.sleep(0)


def is_at_work(clamd: Clamd, file: Path) -> bool:
    return bool(clamd.temporary_files() or open_files([clamd.pid], file))


async def caught_at_work(
    clamd: Clamd, file: Path, scan: Callable[[], Coroutine[Any, Any, ScanReport]]
) -> asyncio.Task[ScanReport]:
    """Begin scans until one is seen before its end, on a machine however busy; clamd is halted in the middle of it."""
    while True:
        scanning = asyncio.create_task(scan())
        await eventually(lambda: scanning.done() or is_at_work(clamd, file))  # noqa: B023  # it is awaited here
        halt(clamd.pid)
        if not (await asyncio.wait({scanning}, timeout=0.1))[0]:
            return scanning
        clamd.process.send_signal(signal.SIGCONT)
        await scanning


@pytest.mark.parametrize("way", ["fd", "stream"])
async def test_a_scan_goes_on_at_the_other_when_one_is_killed(
    clamds: tuple[Clamd, Clamd], way: str, tmp_path: Path
) -> None:
    first, second = clamds
    data = os.urandom(LIMIT_BYTES - 68) + eicar()
    file = tmp_path / "file"
    file.write_bytes(data)

    def source() -> Source:
        return LocalFile(file) if way == "fd" else ByteStream(pieces(data), lambda: pieces(data))

    addresses = [first.unix_address, second.tcp_address]
    async with ClamavScanner(addresses, clock=SystemClock(), **LIMITS) as scanner:
        scanning = await caught_at_work(first, file, lambda: scanner.scan(source(), size_bytes=len(data)))
        first.kill()
        report = await scanning
        assert (report.verdict, report.bytes_scanned) == (Verdict.INFECTED, len(data))
        assert [member.rests for member in scanner._members] == [True, False]

        first.start_again()
        await eventually(lambda: not scanner._members[0].rests, timeout_seconds=60)
        second.kill()
        small = b"harmless"
        for _ in range(2):  # one of them is for the one that is gone
            passed = await scanner.scan(ByteStream(pieces(small)), size_bytes=len(small))
            assert passed.verdict is Verdict.CLEAN


async def test_none_of_many_files_passes_while_they_are_killed_by_turns(
    clamds: tuple[Clamd, Clamd], tmp_path: Path
) -> None:
    addresses = [clamd.unix_address for clamd in clamds]
    said = Counter[Verdict]()
    numbers = count()
    over = False

    def has_done(files: int) -> bool:
        return said.total() >= files

    async def work() -> None:
        while not over:
            number = next(numbers)
            file = tmp_path / f"{number}"
            data = os.urandom(MIB) + (eicar() if number % 2 else b"")
            await asyncio.to_thread(file.write_bytes, data)
            report = await scanner.scan(LocalFile(file), size_bytes=len(data))
            assert report.verdict is (Verdict.INFECTED if number % 2 else Verdict.CLEAN)
            said[report.verdict] += 1
            await asyncio.to_thread(file.unlink)

    async with (
        ClamavScanner(addresses, clock=SystemClock(), max_scans=4, **LIMITS) as scanner,
        asyncio.TaskGroup() as tasks,
    ):
        for _ in range(4):
            tasks.create_task(work())
        for clamd in clamds:
            done = said.total()
            await eventually(partial(has_done, done + 6), timeout_seconds=60)
            clamd.kill()
            await asyncio.to_thread(clamd.start_again)
            await eventually(lambda: not any(member.rests for member in scanner._members), timeout_seconds=60)
        over = True
    assert min(said[Verdict.CLEAN], said[Verdict.INFECTED]) > 5


async def test_verdicts_are_right_while_signatures_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "clamd").mkdir()
    with running_clamd(tmp_path / "clamd") as clamd:
        async with ClamavScanner(clamd.unix_address, clock=SystemClock(), **LIMITS) as scanner:
            for number in range(30):
                if number % 5 == 0:
                    assert reload(clamd) == b"RELOADING\0"
                data = eicar() if number % 2 else b"harmless"
                report = await scanner.scan(ByteStream(pieces(data)), size_bytes=len(data))
                assert report.verdict is (Verdict.INFECTED if number % 2 else Verdict.CLEAN)


@pytest.fixture
def blocking(tmp_path: Path) -> Iterator[Clamd]:
    """A clamd that answers nobody while it loads signatures, of which it then has many.

    Before it goes on it lets its idle threads end, which takes until its IdleTimeout is over, 30 s by default.
    """
    (tmp_path / "blocking").mkdir()
    with running_clamd(tmp_path / "blocking", ConcurrentDatabaseReload="no", IdleTimeout="1") as clamd:
        hashes = (f"{number:032x}:{10**9 + number}:S{number}\n" for number in range(1, 200_001))
        (clamd.folder / "db" / "many.hdb").write_text("".join(hashes))
        yield clamd


async def test_files_wait_while_signatures_are_loaded_by_a_clamd_that_lets_all_wait(
    blocking: Clamd, tmp_path: Path
) -> None:
    virus, harmless = tmp_path / "virus", tmp_path / "harmless"
    virus.write_bytes(eicar())
    harmless.write_bytes(b"harmless")
    async with ClamavScanner(blocking.unix_address, clock=SystemClock(), **LIMITS) as clamav:
        scanner = ProvenScanner(clamav, clock=SystemClock(), tells_changes=True)
        await scanner.self_test()
        assert reload(blocking) == b"RELOADING\0"
        files = [virus, harmless] * 3
        sources: list[Source] = [*map(LocalFile, files), *(ByteStream(pieces(file.read_bytes())) for file in files)]
        sizes = [68, 8] * 6
        async with asyncio.TaskGroup() as tasks:
            scans = [
                tasks.create_task(scanner.scan(source, size_bytes=size))
                for source, size in zip(sources, sizes, strict=True)
            ]
        assert [scan.result().verdict for scan in scans] == [Verdict.INFECTED, Verdict.CLEAN] * 6
        assert "Database correctly reloaded (200001 signatures)" in blocking.last_words(), "it did not let them wait"


async def test_one_that_loads_for_longer_than_a_scan_may_take_is_an_error_and_never_clean(
    blocking: Clamd, tmp_path: Path
) -> None:
    (tmp_path / "harmless").write_bytes(b"harmless")
    brief = TimeAllowance(base=timedelta(seconds=0.1), bytes_per_second=10**9)
    async with ClamavScanner(blocking.unix_address, clock=SystemClock(), allowance=brief, **LIMITS) as scanner:
        await scanner.version()
        assert reload(blocking) == b"RELOADING\0"
        halt(blocking.pid)  # in the middle of it, or at its end: it takes longer now than any machine
        with pytest.raises(ScanTimeout):
            await scanner.scan(LocalFile(tmp_path / "harmless"), size_bytes=8)
        blocking.process.send_signal(signal.SIGCONT)
        await eventually(lambda: "(200001 signatures)" in blocking.last_words(), timeout_seconds=60)
    async with ClamavScanner(blocking.unix_address, clock=SystemClock(), **LIMITS) as patient:
        report = await patient.scan(LocalFile(tmp_path / "harmless"), size_bytes=8)
        assert report.verdict is Verdict.CLEAN


async def test_signatures_that_miss_eicar_are_noticed_also_when_all_waited_for_them(
    blocking: Clamd, tmp_path: Path
) -> None:
    (tmp_path / "harmless").write_bytes(b"harmless")
    async with ClamavScanner(blocking.unix_address, clock=SystemClock(), **LIMITS) as clamav:
        scanner = ProvenScanner(clamav, clock=SystemClock(), tells_changes=True)
        await scanner.self_test()
        blocking.know(b"something else")
        assert reload(blocking) == b"RELOADING\0"
        with pytest.raises(SelfTestFailed):
            await scanner.scan(LocalFile(tmp_path / "harmless"), size_bytes=8)


def reload(clamd: Clamd) -> bytes:
    with socket.create_connection(("127.0.0.1", clamd.port), timeout=60) as connection:
        connection.sendall(b"zRELOAD\0")
        return connection.recv(100)


async def test_a_folder_that_both_see_is_read_by_clamd_itself(clamds: tuple[Clamd, Clamd], tmp_path: Path) -> None:
    shared, elsewhere = tmp_path / "shared", tmp_path / "elsewhere"
    for folder in (shared, elsewhere):
        folder.mkdir()
        (folder / "a: OK").write_bytes(os.urandom(8 * MIB) + eicar())
    (shared / "link").symlink_to(elsewhere / "a: OK")
    limits: dict[str, Any] = {"stream_max_bytes": 9 * MIB, "max_file_bytes": 9 * MIB}
    async with ClamavScanner(clamds[0].tcp_address, clock=SystemClock(), shared_folder=shared, **limits) as scanner:
        line = scanner._members[0].clamd._line
        used = Counter[str]()

        def counted(name: str) -> None:
            ask = getattr(line, name)

            async def asked(*arguments: object) -> object:
                used[name] += 1
                return await ask(*arguments)

            setattr(line, name, asked)

        counted("pass_path")
        counted("stream")

        async def way_of(path: Path) -> Counter[str]:
            used.clear()
            report = await scanner.scan(LocalFile(path), size_bytes=8 * MIB + 68)
            assert report.verdict is Verdict.INFECTED
            return Counter(used)

        assert await way_of(shared / "a: OK") == {"stream": 2}  # not before it is proven; so is its limit
        await scanner.self_test()
        assert await way_of(shared / "a: OK") == {"pass_path": 1}
        assert await way_of(elsewhere / "a: OK") == {"stream": 1}
        assert await way_of(shared / "link") == {"stream": 1}  # it lies elsewhere
        assert sorted(path.name for path in shared.iterdir()) == ["a: OK", "link"]


async def test_a_folder_that_clamd_does_not_see_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "clamd").mkdir()
    (tmp_path / "shared").mkdir()
    file = tmp_path / "shared" / "file"
    file.write_bytes(eicar())
    with running_clamd(tmp_path / "clamd", ExcludePath=f"^{tmp_path}/shared/") as clamd:
        addresses = [clamd.tcp_address]
        async with ClamavScanner(
            addresses, clock=SystemClock(), local_way="path", shared_folder=tmp_path / "shared", **LIMITS
        ) as scanner:
            await scanner.self_test()
            report = await scanner.scan(LocalFile(file), size_bytes=68)
    assert report.verdict is Verdict.INFECTED


async def test_a_stream_that_stalls_is_the_streams_fault(tmp_path: Path) -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        await asyncio.Event().wait()

    (tmp_path / "clamd").mkdir()
    with running_clamd(tmp_path / "clamd", CommandReadTimeout="2", ReadTimeout="2") as clamd:
        async with ClamavScanner(clamd.unix_address, clock=SystemClock(), **LIMITS) as scanner:
            began = time.monotonic()
            with pytest.raises(SourceUnreadable, match="CommandReadTimeout"):
                await scanner.scan(ByteStream(stalling()), size_bytes=2 * MIB)
            assert time.monotonic() - began < 60
            assert (await scanner.scan(ByteStream(pieces(b"x")), size_bytes=1)).verdict is Verdict.CLEAN


async def test_the_largest_file_that_any_clamd_looks_at_is_the_largest_that_we_give_it(tmp_path: Path) -> None:
    (tmp_path / "clamd").mkdir()
    options = dict.fromkeys(("StreamMaxLength", "MaxFileSize", "MaxScanSize"), "2147483647")
    file = tmp_path / "file"
    file.write_bytes(eicar())
    with running_clamd(tmp_path / "clamd", **options) as clamd:
        line = Line(parse_address(clamd.unix_address), TimeAllowance())
        os.truncate(file, ENGINE_LIMIT_BYTES + 1)  # a hole behind EICAR
        async with opened(LocalFile(file), ENGINE_LIMIT_BYTES + 1) as larger:
            assert (await line.pass_descriptor(larger)).answer is Answer.CLEAN  # which is not true
        limit = 2**40
        async with ClamavScanner(
            clamd.unix_address, clock=SystemClock(), stream_max_bytes=limit, max_file_bytes=limit
        ) as scanner:
            report = await scanner.scan(LocalFile(file), size_bytes=ENGINE_LIMIT_BYTES + 1)
            assert report.verdict is Verdict.TOO_LARGE


@pytest.mark.parametrize("way", ["unix", "tcp"])
async def test_one_that_is_started_again_with_smaller_limits_does_not_pass_what_it_does_not_look_at(
    way: str, tmp_path: Path
) -> None:
    (tmp_path / "clamd").mkdir()
    file = tmp_path / "file"
    file.write_bytes(bytes(3 * MIB))
    with running_clamd(tmp_path / "clamd") as clamd:
        clock = ManualClock()
        address = clamd.unix_address if way == "unix" else clamd.tcp_address
        async with ClamavScanner(address, clock=clock, **LIMITS) as scanner:
            await scanner.self_test()
            clamd.stop()
            clamd.set(MaxFileSize="2M")
            clamd.start_again()
            if way == "tcp":  # nobody can tell that it is another one, until it is tried again
                await clock.advance(timedelta(minutes=15))
            with pytest.raises(SelfTestFailed, match="MaxFileSize"):
                await scanner.scan(LocalFile(file), size_bytes=3 * MIB)
            report = await scanner.scan(ByteStream(pieces(b"x")), size_bytes=1)
            assert report.verdict is Verdict.CLEAN


async def test_other_signatures_may_come_with_other_limits(tmp_path: Path) -> None:
    (tmp_path / "clamd").mkdir()
    (tmp_path / "file").write_bytes(bytes(3 * MIB))
    with running_clamd(tmp_path / "clamd") as clamd:
        async with ClamavScanner(
            clamd.tcp_address,
            clock=SystemClock(),
            guard=lambda one: ProvenScanner(one, clock=SystemClock(), tells_changes=False),
            **LIMITS,
        ) as scanner:
            await scanner.self_test()
            scan = partial(scanner.scan, LocalFile(tmp_path / "file"), size_bytes=3 * MIB)
            assert (await scan()).verdict is Verdict.CLEAN
            clamd.stop()
            clamd.set(MaxFileSize="2M")
            clamd.start_again()
            scanner._members[0].clamd._version = ScannerVersion(engine="ClamAV", database="another")
            with pytest.raises(SelfTestFailed, match="MaxFileSize"):
                await scan()


async def test_a_limit_for_streams_does_not_hide_a_smaller_one_for_files(tmp_path: Path) -> None:
    (tmp_path / "clamd").mkdir()
    (tmp_path / "file").write_bytes(bytes(3 * MIB))
    with running_clamd(tmp_path / "clamd", StreamMaxLength="4M", MaxFileSize="2M") as clamd:
        async with ClamavScanner(clamd.tcp_address, clock=SystemClock(), **LIMITS) as scanner:
            with pytest.raises(SelfTestFailed, match="MaxFileSize"):
                await scanner.scan(LocalFile(tmp_path / "file"), size_bytes=3 * MIB)
            with pytest.raises(SelfTestFailed, match="MaxFileSize"):
                await scanner.self_test()


async def test_what_clamd_has_stopped_looking_at_is_not_clean(tmp_path: Path) -> None:
    """After its MaxScanTime it says OK, of a file with EICAR at its end as well."""
    (tmp_path / "clamd").mkdir()
    file = tmp_path / "file"
    file.write_bytes(os.urandom(30 * MIB) + eicar())
    size_bytes = file.stat().st_size
    with running_clamd(tmp_path / "clamd", MaxScanTime="1") as clamd:

        async def looked(line: Line) -> AsyncIterator[Callable[[], Awaitable[ScanReply]]]:
            async with opened(LocalFile(file), size_bytes) as open_file:
                yield lambda: line.pass_descriptor(open_file)
            yield lambda: line.stream(pieces(file.read_bytes()), size_bytes)

        address = parse_address(clamd.unix_address)
        async for look in looked(Line(address, TimeAllowance())):
            assert (await look()).answer is Answer.CLEAN  # which is not true
        async for look in looked(Line(address, TimeAllowance(), max_scan_time=timedelta(milliseconds=1))):
            with pytest.raises(ScanTimeout, match="MaxScanTime"):
                await look()
