"""What every virus scanner must do. Subclass `ScannerContract` in a test module, and give it a scanner.

The engine behind the scanner must be a real one, in processes that the suite may stop and kill.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from abc import ABC, abstractmethod
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..antivirus.base import (
    ByteStream,
    LocalFile,
    Scanner,
    ScanReport,
    ScanTimeout,
    SourceUnreadable,
    SupportsLimitProof,
    Verdict,
)
from ..antivirus.eicar import eicar
from ..errors import Unavailable
from .eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from contextlib import AbstractAsyncContextManager

MIB = 1024 * 1024
BIG_BYTES = 32 * MIB
"""A scanner under test is set up for files of this size at least, and of `slow_bytes`."""
SLOW_SECONDS = 60.0
_TRIES = 50


class ScannerContract(ABC):
    """The tests. They run one after the other, with an engine that may be shared by all of them."""

    slow_bytes: int
    """So many zeros keep the engine busy for half a second at least."""

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[Scanner]:
        """Return a new scanner."""

    @abstractmethod
    def pids(self) -> list[int]:
        """Return the processes of the engine."""

    @abstractmethod
    def is_scanning(self, path: Path) -> bool:
        """Return whether the engine is looking at the file, or a copy of it, right now."""

    @abstractmethod
    async def revive(self) -> None:
        """Have the engine started again after `pids` were killed, unless the scanner does that by itself."""

    @pytest.fixture(params=["file", "stream"])
    def scan(self, request: pytest.FixtureRequest, tmp_path: Path) -> Scan:
        """Scan bytes, once from a file and once as a stream."""
        return Scan(tmp_path, as_file=request.param == "file")

    async def test_harmless_bytes_are_clean(self, scan: Scan) -> None:
        async with self.open() as scanner:
            report = await scan(scanner, _noise(3 * MIB + 7))
        assert (report.verdict, report.signature) == (Verdict.CLEAN, "")
        assert report.bytes_scanned == 3 * MIB + 7
        assert report.scanner == scanner.name
        assert report.engine_version
        assert timedelta(0) < report.duration < timedelta(seconds=SLOW_SECONDS)

    @pytest.mark.parametrize("place", [0, 5 * MIB, 10 * MIB], ids=["start", "middle", "end"])
    async def test_eicar_is_found_wherever_it_is(self, scan: Scan, place: int) -> None:
        noise = _noise(10 * MIB)
        async with self.open() as scanner:
            report = await scan(scanner, noise[:place] + eicar() + noise[place:])
        assert report.verdict is Verdict.INFECTED
        assert "eicar" in report.signature.lower()

    async def test_the_bare_test_file_is_found(self, scan: Scan) -> None:
        async with self.open() as scanner:
            assert (await scan(scanner, eicar())).verdict is Verdict.INFECTED

    async def test_an_empty_file_is_clean(self, scan: Scan) -> None:
        async with self.open() as scanner:
            report = await scan(scanner, b"")
        assert (report.verdict, report.bytes_scanned) == (Verdict.CLEAN, 0)

    async def test_a_big_file_is_clean(self, scan: Scan) -> None:
        async with self.open() as scanner:
            report = await scan(scanner, _noise(BIG_BYTES))
        assert (report.verdict, report.bytes_scanned) == (Verdict.CLEAN, BIG_BYTES)

    async def test_a_big_file_is_infected_by_its_last_bytes(self, scan: Scan) -> None:
        async with self.open() as scanner:
            report = await scan(scanner, _noise(BIG_BYTES - 68) + eicar())
        assert report.verdict is Verdict.INFECTED

    async def test_pieces_of_a_stream_may_have_any_size(self) -> None:
        data = _noise(300_000) + eicar() + _noise(300_000)
        sizes = [1, 0, *[1] * 500, 299_490, 0, *[1] * 70, 2, 300_005]
        async with self.open() as scanner:
            report = await scanner.scan(ByteStream(_pieces(data, sizes)), size_bytes=len(data))
        assert report.verdict is Verdict.INFECTED

    async def test_one_piece_may_be_everything(self) -> None:
        data = _noise(5 * MIB)
        async with self.open() as scanner:
            report = await scanner.scan(ByteStream(_pieces(data, [len(data)])), size_bytes=len(data))
        assert (report.verdict, report.bytes_scanned) == (Verdict.CLEAN, len(data))

    @pytest.mark.parametrize("difference", [-1, 1], ids=["fewer", "more"])
    @pytest.mark.parametrize("size_bytes", [1, 3 * MIB])
    async def test_another_number_of_bytes_than_announced_is_no_verdict(
        self, scan: Scan, size_bytes: int, difference: int
    ) -> None:
        async with self.open() as scanner:
            with pytest.raises(SourceUnreadable):
                await scan(scanner, _noise(size_bytes + difference), announced=size_bytes)

    async def test_what_is_no_regular_file_is_no_verdict(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        async with self.open() as scanner:
            for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", Path("/dev/zero")):
                with pytest.raises(SourceUnreadable):
                    await scanner.scan(LocalFile(path), size_bytes=0)

    async def test_an_error_of_the_stream_reaches_the_caller(self) -> None:
        async with self.open() as scanner:
            with pytest.raises(_Interrupted):
                await scanner.scan(ByteStream(_interrupted()), size_bytes=2 * MIB)
            assert (await scanner.scan(ByteStream(_pieces(b"x", [1])), size_bytes=1)).verdict is Verdict.CLEAN

    async def test_several_files_at_once_get_their_own_verdicts(self, tmp_path: Path) -> None:
        async def one(number: int) -> Verdict:
            data = _noise(MIB) + (eicar() if number % 2 else b"")
            return (await Scan(tmp_path, as_file=number % 4 < 2)(scanner, data)).verdict

        async with self.open() as scanner:
            verdicts = await asyncio.gather(*(one(number) for number in range(8)))
        assert verdicts == [Verdict.CLEAN, Verdict.INFECTED] * 4

    async def test_it_tells_its_version(self) -> None:
        async with self.open() as scanner:
            version = await scanner.version()
            report = await scanner.scan(ByteStream(_pieces(b"x", [1])), size_bytes=1)
        assert version.engine
        assert (report.engine_version, report.database_version) == (version.engine, version.database)

    async def test_it_passes_its_own_test(self) -> None:
        async with self.open() as scanner:
            await scanner.self_test()
            await scanner.self_test()

    async def test_the_death_of_the_engine_is_no_verdict_and_can_be_tried_again(self, tmp_path: Path) -> None:
        slow = _zeros(tmp_path, self.slow_bytes)
        async with self.open() as scanner:
            scanning = await self._start(scanner, slow)
            await self._kill()
            with pytest.raises(Unavailable) as failure:
                await asyncio.wait_for(scanning, SLOW_SECONDS)
            assert failure.value.retryable
            await self.revive()
            assert (await Scan(tmp_path, as_file=True)(scanner, b"harmless")).verdict is Verdict.CLEAN

    async def test_the_death_of_an_idle_engine_does_not_matter_once_it_is_back(self, scan: Scan) -> None:
        async with self.open() as scanner:
            assert (await scan(scanner, b"harmless")).verdict is Verdict.CLEAN
            await self._kill()
            await self.revive()
            assert (await scan(scanner, eicar())).verdict is Verdict.INFECTED

    async def test_an_engine_that_does_not_answer_is_given_up(self, scan: Scan) -> None:
        async with self.open() as scanner:
            await scanner.version()
            await self._halt()
            try:
                with pytest.raises(ScanTimeout):
                    await scan(scanner, eicar(), timeout=timedelta(seconds=0.3))
            finally:
                self._signal(signal.SIGCONT)
            assert (await scan(scanner, eicar())).verdict is Verdict.INFECTED

    async def test_a_cancelled_scan_leaves_nothing_behind(self, tmp_path: Path) -> None:
        slow = _zeros(tmp_path, self.slow_bytes)
        async with self.open() as scanner:
            scanning = await self._start(scanner, slow)
            scanning.cancel()
            with pytest.raises(asyncio.CancelledError):
                await scanning
            assert not open_files([os.getpid()], slow)
            self._signal(signal.SIGCONT)
            assert (await Scan(tmp_path, as_file=True)(scanner, eicar())).verdict is Verdict.INFECTED

    async def test_a_file_that_changes_under_the_scan_gets_no_verdict(self, tmp_path: Path) -> None:
        slow = _zeros(tmp_path, self.slow_bytes)
        async with self.open() as scanner:
            scanning = await self._start(scanner, slow)
            with slow.open("r+b") as file:
                file.write(eicar())  # behind what has been looked at already
            self._signal(signal.SIGCONT)
            with pytest.raises(SourceUnreadable):
                await asyncio.wait_for(scanning, SLOW_SECONDS)

    async def _start(self, scanner: Scanner, path: Path) -> asyncio.Task[ScanReport]:
        """Begin to scan a slow file, and halt the engine while it is at it, and not at a proof of what it looks at."""
        if isinstance(scanner, SupportsLimitProof):
            await scanner.limit_proved(self.slow_bytes)
        for _ in range(_TRIES):
            scanning = asyncio.create_task(scanner.scan(LocalFile(path), size_bytes=self.slow_bytes))
            try:
                await eventually(partial(self._is_seen, scanning, path), timeout_seconds=SLOW_SECONDS)
                await self._halt()
                # On a busy machine it may have ended since, or before anybody looked.
                if not (await asyncio.wait({scanning}, timeout=0.1))[0]:
                    return scanning
            except BaseException:
                scanning.cancel()
                await asyncio.gather(scanning, return_exceptions=True)
                raise
            self._signal(signal.SIGCONT)
            assert (await scanning).verdict is Verdict.CLEAN
        pytest.fail(f"no scan was seen before it ended, slow_bytes may be too small: {self.slow_bytes}")

    def _is_seen(self, scanning: asyncio.Task[ScanReport], path: Path) -> bool:
        return scanning.done() or self.is_scanning(path)

    async def _halt(self) -> None:
        """Stop the engine; the signal takes effect when it is delivered, and not when it is sent."""
        pids = self.pids()
        self._signal(signal.SIGSTOP)
        await eventually(lambda: all(map(_is_halted, pids)))

    async def _kill(self) -> None:
        pids = self.pids()
        self._signal(signal.SIGKILL)
        await eventually(lambda: not any(map(_runs, pids)))

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):  # it was given up, and has ended since
                os.kill(pid, number)


class Scan:
    """Scans bytes in one of two ways."""

    def __init__(self, folder: Path, *, as_file: bool) -> None:
        """Put files into `folder`."""
        self._folder = folder
        self._as_file = as_file

    async def __call__(
        self, scanner: Scanner, data: bytes, *, announced: int | None = None, timeout: timedelta | None = None
    ) -> ScanReport:
        """Scan `data`, said to have `announced` bytes (None: as many as it has)."""
        size_bytes = len(data) if announced is None else announced
        if not self._as_file:
            stream = ByteStream(_pieces(data, [100_000] * (len(data) // 100_000 + 1)))
            return await scanner.scan(stream, size_bytes=size_bytes, timeout=timeout)
        path = self._folder / f"{random.getrandbits(64):x}"
        path.write_bytes(data)
        return await scanner.scan(LocalFile(path), size_bytes=size_bytes, timeout=timeout)


class _Interrupted(Exception):
    """What a source of bytes may raise, such as a broken download."""


async def _interrupted() -> AsyncIterator[bytes]:
    yield bytes(MIB)
    raise _Interrupted


async def _pieces(data: bytes, sizes: Iterable[int]) -> AsyncIterator[bytes]:
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size
    assert start >= len(data)


def _noise(size_bytes: int) -> bytes:
    return random.Random(size_bytes).randbytes(size_bytes)


def _zeros(folder: Path, size_bytes: int) -> Path:
    path = folder / "zeros"
    with path.open("wb") as file:
        file.truncate(size_bytes)
    return path


def open_files(pids: Iterable[int], path: Path) -> list[str]:
    """Return one entry for each time that one of the processes has the file open."""
    links = [link for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()]
    return [target for target in map(target_of, links) if target == str(path)]


def _is_halted(pid: int) -> bool:
    """Tell whether no thread of a process runs: each is stopped, or has ended."""
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            if thread.read_text().rpartition(") ")[2][0] not in "TtZX":
                return False
    return True


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return not state.startswith("Z")  # dead, and its parent has not asked yet


def target_of(link: Path) -> str:
    """Return what an entry of /proc/PID/fd leads to; "" when it has been closed meanwhile."""
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed in the meantime
        return ""
