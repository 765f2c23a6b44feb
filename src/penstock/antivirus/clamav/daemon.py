"""Scanning with one clamd."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, Self

import structlog

from ..base import (
    LocalFile,
    Scanner,
    ScannerProtocolError,
    ScannerVersion,
    ScanReport,
    Source,
    SourceUnreadable,
    Verdict,
)
from ..deadline import give_up_after
from ..limit_proof import LimitProof
from ..limits import verdict_of_signature
from ..self_test import check_scanner
from ..sources import opened, pieces_of
from .address import Address, UnixAddress
from .line import Line
from .local import LocalWay, path_for_clamd, probes_in
from .protocol import Answer, ClamdFailed, ScanReply

if TYPE_CHECKING:
    from pathlib import Path

    from ...clock import Clock
    from ..limits import TimeAllowance

log = structlog.get_logger(__name__)

DEFAULT_LIMIT_BYTES = 25 * 1024 * 1024
"""What Debian configures. clamd's own default is 100M, but a figure above the real one would be dangerous."""
ENGINE_LIMIT_BYTES = 2**31 - 3
"""clamd looks at no larger file, whatever its configuration says; it answers OK. Found by trying, with 1.4."""
DEFAULT_MAX_SCAN_TIME = timedelta(seconds=120)
"""clamd's own default."""
_VERSION_KEPT_SECONDS = 300.0
"""How long we go on reporting a version before asking again: clamd loads new signatures every few hours."""
_LIMITS_ARE_SMALLER = (
    "clamd's MaxFileSize or MaxScanSize is smaller than the limit that we are told. Raise clamd's, or give us the "
    "lower of the two."
)
_NOT_SCANNED = "clamd could not look at all of the file; it names the reason as if that were a signature"


class _Finding(NamedTuple):
    verdict: Verdict
    signature: str = ""
    detail: str = ""


class Limits(NamedTuple):
    """What clamd is set up to look at, which it does not tell."""

    stream_max_bytes: int = DEFAULT_LIMIT_BYTES
    """Its StreamMaxLength."""
    max_file_bytes: int = DEFAULT_LIMIT_BYTES
    """The lower of its MaxFileSize and MaxScanSize."""
    max_scan_time: timedelta | None = DEFAULT_MAX_SCAN_TIME
    """Its MaxScanTime; None: it has none, or says so when it is over (AlertExceedsMax)."""


class Clamd(Scanner):
    """Has files scanned by the clamd at one address.

    A file on this machine is passed as an open descriptor (FILDES) where clamd listens on a unix socket: clamd needs
    no permission for it, and nothing is copied. Over TCP it is opened by clamd itself (SCAN), if it lies in a folder
    that clamd is proven to see too. Everything else is streamed (INSTREAM), as is a file that clamd could not get at.

    Each file has a connection of its own. clamd's sessions (IDSESSION), which would save that, measured no faster; one
    cannot stop a scan in a session but by ending all of them; and it is the orderly end of its connection that proves
    that clamd has read a stream to the end. While clamd loads new signatures it goes on with the old ones, or lets
    everybody wait (`ConcurrentDatabaseReload no`), for which there is room in the time allowed.

    clamd says "OK" of files above its MaxFileSize or MaxScanSize without having looked at them, and does not tell
    these limits. So they must be given, and above them the verdict is `TOO_LARGE` without clamd being asked. Whether
    clamd's own limits are below those given is found out before the first large file passes, and again every ten
    minutes, after failures, and when it is another clamd or another version (see `LimitProof`). It says the same of a
    file at which it has looked for its MaxScanTime, so "OK" counts only when it comes before that.

    Args:
        address: Where it listens.
        clock: Measures how long scans take.
        limits: What it is set up to look at.
        allowance: How long it may take for a file when the caller does not say.
        local_way: How files on this machine are handed to it.
        shared_folder: Where files lie that it sees under the same path; None: nowhere.
    """

    name = "clamav"

    def __init__(
        self,
        address: Address,
        *,
        clock: Clock,
        limits: Limits,
        allowance: TimeAllowance,
        local_way: LocalWay = LocalWay.AUTO,
        shared_folder: Path | None = None,
    ) -> None:
        self.address = address
        self._clock = clock
        self._file_limit = min(limits.max_file_bytes, ENGINE_LIMIT_BYTES)
        self._stream_limit = min(limits.stream_max_bytes, self._file_limit)
        self._line = Line(address, allowance, self._is_another, limits.max_scan_time)
        self._by_descriptor = isinstance(address, UnixAddress) and local_way in {LocalWay.AUTO, LocalWay.DESCRIPTOR}
        self._shared_folder = shared_folder if local_way in {LocalWay.AUTO, LocalWay.PATH} else None
        self._sees_folder = False
        self._version = ScannerVersion(engine="")
        self._version_until = float("-inf")
        limit = self._file_limit if self._by_descriptor else self._stream_limit
        self._limit = LimitProof(self, limit_bytes=limit, because=_LIMITS_ARE_SMALLER, clock=clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._limit.close()

    async def version(self) -> ScannerVersion:
        """Ask clamd; see `Scanner.version`."""
        before, self._version = self._version, await self._line.version()
        if before.engine and self._version != before:
            self._limit.forget()
        self._version_until = self._clock.monotonic() + _VERSION_KEPT_SECONDS
        return self._version

    async def self_test(self) -> None:
        """Prove that EICAR is found, now and then also in a large file; see `Scanner.self_test` and `LimitProof`."""
        await self.version()
        await check_scanner(self)
        if self._shared_folder is not None and not self._by_descriptor:
            self._sees_folder = await self._prove(self._shared_folder)
        await self._limit.go_on()

    async def limit_proved(self, size_bytes: int | None = None) -> None:
        """Wait until EICAR was found in files as large as these, lately; see `SupportsLimitProof`."""
        await (self._limit.finish() if size_bytes is None else self._limit.wait_for(size_bytes))

    def forget(self) -> None:
        """Take nothing for proven: it may be another clamd by now, or have other settings."""
        self._limit.doubt()
        self._sees_folder = False
        self._version_until = float("-inf")

    def _is_another(self) -> None:
        log.info("clamd_started_again", address=str(self.address))
        self.forget()
        self._limit.forget()

    def limit_for(self, source: Source) -> int:
        """Return how large a file like this one may be for clamd to look at it.

        For one that it opens by its path that is the limit of streams, for that is the one that was tried out.
        """
        return self._file_limit if self._by_descriptor and isinstance(source, LocalFile) else self._stream_limit

    async def _prove(self, folder: Path) -> bool:
        """Tell whether clamd, asked to open files in our folder, opens ours."""
        try:
            with probes_in(folder) as (bad, good):
                found, passed = await self._open_by_path(bad, 0), await self._open_by_path(good, 0)
        except OSError as error:
            log.warning("clamd_shared_folder_not_proven", folder=str(folder), error=str(error))
            return False
        proven = found is not None and found.answer is Answer.FOUND
        proven = proven and passed is not None and passed.answer is Answer.CLEAN
        if not proven:
            answers = [reply.text or reply.answer.value for reply in (found, passed) if reply is not None]
            log.warning("clamd_does_not_see_folder", address=str(self.address), folder=str(folder), answers=answers)
        return proven

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        """Have clamd look at the file; see `Scanner.scan`."""
        started = self._clock.monotonic()
        limit = self.limit_for(source)
        if size_bytes > limit:
            finding = _too_large(f"clamd is set up to look at no more than {limit} bytes")
        else:
            async with give_up_after(timeout, f"clamd at {self.address} to scan {size_bytes} bytes"):
                if started >= self._version_until:
                    await self.version()
                await self._limit.wait_for(size_bytes)
                finding = await self._look_at(source, size_bytes, timeout)
                if finding.verdict is Verdict.CLEAN:
                    await self._limit.wait_for(size_bytes)  # it may have turned out to be another clamd
        return ScanReport(
            verdict=finding.verdict,
            scanner=self.name,
            signature=finding.signature,
            engine_version=self._version.engine,
            database_version=self._version.database,
            bytes_scanned=size_bytes if finding.verdict in {Verdict.CLEAN, Verdict.INFECTED} else 0,
            duration=timedelta(seconds=self._clock.monotonic() - started),
            detail=finding.detail,
        )

    async def _look_at(self, source: Source, size_bytes: int, timeout: timedelta | None) -> _Finding:
        reply: ScanReply | None = None
        if isinstance(source, LocalFile):
            if self._by_descriptor:
                reply = await self._pass_descriptor(source, size_bytes, timeout)
            elif self._sees_folder and self._shared_folder is not None:
                reply = await self._pass_path(source, size_bytes, self._shared_folder, timeout)
        if reply is None and size_bytes > self._stream_limit:
            return _too_large(f"clamd is set up to take streams of no more than {self._stream_limit} bytes")
        return _finding(reply or await self._stream(source, size_bytes, timeout))

    async def _pass_descriptor(self, source: LocalFile, size_bytes: int, timeout: timedelta | None) -> ScanReply | None:
        """Return what clamd says of an open file; None when it could not look at it."""
        async with opened(source, size_bytes) as file:
            reply = await self._line.pass_descriptor(file, timeout)
            await file.verify_unchanged()
        if reply.answer is not Answer.ERROR:
            return reply
        # Something such as AppArmor may keep clamd from taking descriptors; it can still be given the bytes.
        log.warning("clamd_took_no_descriptor", address=str(self.address), answer=reply.text)
        return None

    async def _pass_path(
        self, source: LocalFile, size_bytes: int, folder: Path, timeout: timedelta | None
    ) -> ScanReply | None:
        """Return what clamd says of the file that it has opened itself; None when it could not, or must not."""
        async with opened(source, size_bytes) as file:
            path = await asyncio.to_thread(path_for_clamd, file, folder)
            if path is None:
                return None
            reply = await self._open_by_path(path, size_bytes, timeout)
            await file.verify_unchanged()
            if await asyncio.to_thread(path_for_clamd, file, folder) != path:
                raise SourceUnreadable(f"{path} was replaced while it was scanned; the verdict is worth nothing")
        return reply

    async def _open_by_path(self, path: Path, size_bytes: int, timeout: timedelta | None = None) -> ScanReply | None:
        try:
            reply = await self._line.pass_path(path, size_bytes, timeout)
        except ScannerProtocolError as error:  # it is set up to leave the path out, or sees it under another name
            log.warning("clamd_did_not_open", path=str(path), address=str(self.address), error=str(error))
            return None
        if reply.answer is not Answer.ERROR:
            return reply
        log.warning("clamd_could_not_open", path=str(path), address=str(self.address), answer=reply.text)
        return None

    async def _stream(self, source: Source, size_bytes: int, timeout: timedelta | None) -> ScanReply:
        async with pieces_of(source, size_bytes) as pieces:
            return await self._line.stream(pieces, size_bytes, timeout)


def _too_large(detail: str) -> _Finding:
    return _Finding(Verdict.TOO_LARGE, detail=f"{detail}; the file was not scanned")


def _finding(reply: ScanReply) -> _Finding:
    if reply.answer is Answer.CLEAN:
        return _Finding(Verdict.CLEAN)
    if reply.answer is Answer.FOUND:
        verdict = verdict_of_signature(reply.text)
        return _Finding(verdict, reply.text, "" if verdict is Verdict.INFECTED else _NOT_SCANNED)
    if reply.over_stream_limit:
        return _too_large("clamd's StreamMaxLength is smaller than this file, and smaller than we are told")
    raise ClamdFailed(f"clamd could not scan the file: {reply.text}")
