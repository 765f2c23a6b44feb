"""The virus scanners, by the suite that every one of them has to pass."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from penstock.antivirus.clamav import ClamavScanner
from penstock.antivirus.icap import IcapScanner
from penstock.antivirus.several import Agreement, SeveralScanners
from penstock.antivirus.yara import YaraScanner
from penstock.clock import SystemClock
from penstock.testing.scanner_contract import ScannerContract, open_files, target_of
from tests.on_disk import tmp_path
from tests.servers.cicap import Cicap, running_cicap
from tests.servers.clamd import LIMIT_BYTES, Clamd, running_clamd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

    from penstock.antivirus import Scanner

__all__ = ["tmp_path"]  # a fixture


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    with running_clamd(tmp_path_factory.mktemp("clamd")) as server:
        yield server


class _ClamavContract(ScannerContract):
    slow_bytes = LIMIT_BYTES

    @pytest.fixture(autouse=True)
    def server(self, clamd: Clamd) -> None:
        self.clamd = clamd
        if clamd.has_ended:  # a test that failed did not bring it back
            clamd.start_again()

    def address(self) -> str:
        raise NotImplementedError

    def open(self) -> AbstractAsyncContextManager[Scanner]:
        return ClamavScanner(
            self.address(), clock=SystemClock(), stream_max_bytes=LIMIT_BYTES, max_file_bytes=LIMIT_BYTES
        )

    def pids(self) -> list[int]:
        return [self.clamd.pid]

    async def revive(self) -> None:
        self.clamd.kill()
        self.clamd.start_again()


class TestClamavOverUnixSocket(_ClamavContract):
    def address(self) -> str:
        return self.clamd.unix_address

    def is_scanning(self, path: Path) -> bool:
        return bool(open_files(self.pids(), path))


class TestClamavOverTcp(_ClamavContract):
    def address(self) -> str:
        return self.clamd.tcp_address

    def is_scanning(self, path: Path) -> bool:
        return bool(self.clamd.temporary_files())


@pytest.fixture(scope="module")
def cicap(clamd: Clamd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cicap]:
    if clamd.has_ended:
        clamd.start_again()
    with running_cicap(tmp_path_factory.mktemp("cicap"), clamd) as server:
        yield server


class _IcapContract(ScannerContract):
    slow_bytes = LIMIT_BYTES
    method: str

    @pytest.fixture(autouse=True)
    async def server(self, cicap: Cicap) -> None:
        self.cicap = cicap
        await self.revive(only_what_has_ended=True)

    def open(self) -> AbstractAsyncContextManager[Scanner]:
        return IcapScanner(
            self.cicap.url, "avscan", clock=SystemClock(), method=self.method, max_file_bytes=LIMIT_BYTES
        )

    def pids(self) -> list[int]:
        return [self.cicap.clamd.pid, *self.cicap.pids()]

    def is_scanning(self, path: Path) -> bool:
        if not open_files([os.getpid()], path):  # what clamd looks at is left from another test
            return False
        links = [*Path(f"/proc/{self.cicap.clamd.pid}/fd").iterdir()]
        return any(str(self.cicap.folder) in target_of(link) for link in links)

    async def revive(self, *, only_what_has_ended: bool = False) -> None:
        clamd = self.cicap.clamd
        if not only_what_has_ended:
            clamd.kill()
            self.cicap.kill()
        if clamd.has_ended:
            clamd.start_again()
        if not self.cicap.pids():
            self.cicap.start_again()


class TestIcapReqmod(_IcapContract):
    method = "reqmod"


class TestIcapRespmod(_IcapContract):
    method = "respmod"


def _workers() -> list[int]:
    return [child.pid for child in psutil.Process(os.getpid()).children() if _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "penstock.antivirus.yara_worker" in process.cmdline()
    except psutil.Error:  # it has ended meanwhile
        return False


class TestYara(ScannerContract):
    slow_bytes = 1024**3

    def open(self) -> AbstractAsyncContextManager[Scanner]:
        return YaraScanner(clock=SystemClock())

    def pids(self) -> list[int]:
        return _workers()

    def is_scanning(self, path: Path) -> bool:
        return bool(open_files(self.pids(), path))

    async def revive(self) -> None:
        """The scanner does that by itself."""


class TestYaraWithRulesOfOnesOwn(TestYara):
    @pytest.fixture(autouse=True)
    def rules(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.folder = tmp_path_factory.mktemp("rules")
        rule = 'rule Never { strings: $a = "a text that is in no other file" condition: $a and filesize < 10KB }'
        (self.folder / "own.yar").write_text(rule)

    def open(self) -> AbstractAsyncContextManager[Scanner]:
        return YaraScanner([self.folder], clock=SystemClock())


class TestClamavAndYara(_ClamavContract):
    def address(self) -> str:
        return self.clamd.unix_address

    def open(self) -> AbstractAsyncContextManager[Scanner]:
        clock = SystemClock()
        clamav = ClamavScanner(self.address(), clock=clock, stream_max_bytes=LIMIT_BYTES, max_file_bytes=LIMIT_BYTES)
        return SeveralScanners([clamav, YaraScanner(clock=clock)], agreement=Agreement.ALL, clock=clock)

    def pids(self) -> list[int]:
        return [self.clamd.pid, *_workers()]

    def is_scanning(self, path: Path) -> bool:
        return bool(open_files([self.clamd.pid], path))
