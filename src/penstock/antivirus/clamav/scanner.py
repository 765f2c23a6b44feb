"""Scanning with clamd, or with several that stand in for each other."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Self

import msgspec
import structlog

from ...errors import ConfigurationError, PenstockError
from ..base import (
    ByteStream,
    LocalFile,
    Scanner,
    ScannerProtocolError,
    ScannerState,
    ScannerUnavailable,
    ScannerVersion,
    ScanReport,
    ScanTimeout,
    Source,
)
from ..deadline import give_up_after
from ..limits import TimeAllowance
from .address import parse_address
from .daemon import DEFAULT_LIMIT_BYTES, DEFAULT_MAX_SCAN_TIME, Clamd, Limits
from .local import LocalWay
from .rota import Member, next_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
    from pathlib import Path

    from ...clock import Clock

log = structlog.get_logger(__name__)

_FAILURES = (ScannerUnavailable, ScannerProtocolError, ScanTimeout)
"""What says something about a clamd; other errors are about the bytes."""


class ClamavScanner(Scanner):
    """Has each file scanned by one of some clamds; how, see `Clamd`.

    Of several, the one that has least to do is asked, in turns. When it is not there, breaks off, answers ERROR or
    does not answer in time, the next one is given the file from its beginning: a file on this machine always, a stream
    where it can be had again (`ByteStream.again`) or has not been read yet. The one that failed rests, and is taken
    back when it passes a self-test in the background.

    clamd says "OK" of files above its MaxFileSize or MaxScanSize without having looked at them, and does not tell
    these limits. So they must be given, and above them the verdict is `TOO_LARGE` without clamd being asked. Whether
    clamd's own limits are below those given is found out again and again (see `LimitProof`).

    Args:
        addresses: `/path`, `unix:///path` or `tcp://host:port`, one or several; all with the same limits.
        clock: Measures how long scans take, and rests.
        stream_max_bytes: clamd's StreamMaxLength.
        max_file_bytes: The lower of clamd's MaxFileSize and MaxScanSize.
        max_scan_time: clamd's MaxScanTime, after which it calls a file clean of which it has not seen all; None: it has
            none, or says so (AlertExceedsMax).
        max_scans: How many files they are given at a time, all together; more than their MaxThreads would wait there.
        allowance: How long one may take for a file when the caller does not say.
        local_way: How files on this machine are handed over: `auto`, `fd`, `path` or `stream`.
        shared_folder: Where files lie that clamd sees under the same path; None: nowhere.
        guard: Makes of each clamd what is asked in its place, such as `ProvenScanner`; None: each is asked itself.

    Raises:
        penstock.errors.ConfigurationError: an address is none, or is there twice, or `path` is without a folder.
    """

    name = "clamav"

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        clock: Clock,
        stream_max_bytes: int = DEFAULT_LIMIT_BYTES,
        max_file_bytes: int = DEFAULT_LIMIT_BYTES,
        max_scan_time: timedelta | None = DEFAULT_MAX_SCAN_TIME,
        max_scans: int = 10,
        allowance: TimeAllowance | None = None,
        local_way: str = LocalWay.AUTO,
        shared_folder: Path | None = None,
        guard: Callable[[Scanner], Scanner] | None = None,
    ) -> None:
        where = [parse_address(one) for one in ([addresses] if isinstance(addresses, str) else addresses)]
        if not where or len(set(where)) < len(where):
            raise ConfigurationError(f"no addresses of clamd: {', '.join(map(str, where)) or 'none'}. Name each once.")
        if local_way == LocalWay.PATH and shared_folder is None:
            raise ConfigurationError(
                "clamd is to open files by their paths, but it is not said in which folder they are the same for both. "
                "Set antivirus_clamav_shared_folder."
            )
        limits = Limits(stream_max_bytes, max_file_bytes, max_scan_time)
        self._clock = clock
        clamds = [
            Clamd(
                one,
                clock=clock,
                limits=limits,
                allowance=allowance or TimeAllowance(),
                local_way=LocalWay(local_way),
                shared_folder=shared_folder,
            )
            for one in where
        ]
        self._members = [Member(clamd, clock, guard(clamd) if guard else None) for clamd in clamds]
        self._places = asyncio.Semaphore(max_scans)
        self._turn = 0
        self._rests = asyncio.Condition()
        self._tests: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        if len(self._members) > 1:
            self._tests = [asyncio.create_task(self._test_when_rested(member)) for member in self._members]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tests:
            task.cancel()
        await asyncio.gather(*self._tests, return_exceptions=True)
        for member in self._members:
            await member.scanner.__aexit__(*exc_info)

    def states(self) -> list[ScannerState]:
        """Tell which of several are left alone, as far as that is known."""
        several = self._members if len(self._members) > 1 else []
        return [ScannerState(scanner=self.name, places=tuple(member.state() for member in several))]

    async def version(self) -> ScannerVersion:
        """Ask them one after the other until one answers; see `Scanner.version`."""
        tried: list[Member] = []
        while True:
            member = self._next(tried)
            try:
                return await member.scanner.version()
            except _FAILURES as error:
                await self._failed(member, error)
                tried.append(member)
                if len(tried) == len(self._members):
                    raise

    async def self_test(self) -> None:
        """Put all to the test that are asked; pass when one does. See `Scanner.self_test`.

        Each proves that EICAR is found, now and then also in a file as large as clamd is said to look at. One that
        does not is not asked again before it does.
        """
        tested = [member for member in self._members if not member.rests] or self._members
        said = await asyncio.gather(*(self._test(member) for member in tested))
        failures = [error for error in said if error is not None]
        if len(failures) == len(tested):
            raise failures[0]

    async def limit_proved(self, size_bytes: int | None = None) -> None:
        """Wait until EICAR was found in files as large as these by each of them; see `SupportsLimitProof`."""
        await asyncio.gather(*(member.clamd.limit_proved(size_bytes) for member in self._members))

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        """Have one of them look at the file; see `Scanner.scan`. `timeout` is for each that is asked."""
        started = self._clock.monotonic()
        able = [member for member in self._members if size_bytes <= member.clamd.limit_for(source)]
        if not able:
            return await self._members[0].clamd.scan(source, size_bytes=size_bytes)  # which says so without asking
        in_all = None if timeout is None else timeout * len(able)
        async with give_up_after(in_all, f"clamd to scan {size_bytes} bytes"), self._places:
            report = await self._ask(able, source, size_bytes, timeout)
        return msgspec.structs.replace(report, duration=timedelta(seconds=self._clock.monotonic() - started))

    async def _ask(self, able: list[Member], source: Source, size_bytes: int, timeout: timedelta | None) -> ScanReport:
        readings, tried = _Readings(source), list[Member]()
        while True:
            member = self._next(tried, able)
            try:
                with member.working(self._turn):
                    report = await member.scanner.scan(readings.next(), size_bytes=size_bytes, timeout=timeout)
            except _FAILURES as error:
                await self._failed(member, error)
                tried.append(member)
                if not readings.has_next or all(one in tried or one.rests for one in able):
                    raise
                log.info("file_given_to_next_clamd", failed=str(member.clamd.address), error=str(error))
            else:
                member.answered()
                return report

    def _next(self, tried: Sequence[Member], able: Sequence[Member] | None = None) -> Member:
        """Choose who is asked.

        Raises:
            SelfTestFailed: nobody is left but such as miss EICAR.
        """
        left = [member for member in able or self._members if member not in tried]
        self._turn += 1
        if len(self._members) == 1:
            return left[0]
        if chosen := next_of(left):
            return chosen
        raise left[0].last_error or ScannerUnavailable("no clamd is left to ask")

    async def _test(self, member: Member) -> PenstockError | None:
        try:
            await member.scanner.self_test()
            await member.clamd.limit_proved()
        except PenstockError as error:
            await self._failed(member, error)
            return error
        member.answered()
        return None

    async def _failed(self, member: Member, error: Exception) -> None:
        if len(self._members) == 1:  # nobody would stand in for it while it rests
            member.clamd.forget()
            return
        member.failed(error)
        async with self._rests:
            self._rests.notify_all()

    async def _test_when_rested(self, member: Member) -> None:
        """Put one to the test whenever its rest is over, until cancelled."""
        while True:
            async with self._rests:
                await self._rests.wait_for(lambda: member.rests)
            await self._clock.sleep(member.rest_left)
            if member.rests and not member.rest_left:
                try:
                    await self._test(member)
                except Exception as error:  # a mistake of ours must not be the end of trying
                    log.exception("clamd_not_tested", address=str(member.clamd.address))
                    member.failed(error)


class _Readings:
    """Gives what is to be scanned to one after the other, from its beginning."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._begun = False

    @property
    def has_next(self) -> bool:
        """Whether the bytes can be had from the beginning."""
        return isinstance(self._source, LocalFile) or not self._begun or self._source.again is not None

    def next(self) -> Source:
        """Return them."""
        if isinstance(self._source, LocalFile):
            return self._source
        if self._begun and self._source.again is not None:
            return ByteStream(self._source.again())
        return ByteStream(self._noting(self._source.pieces))

    async def _noting(self, pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        self._begun = True
        async for piece in pieces:
            yield piece
