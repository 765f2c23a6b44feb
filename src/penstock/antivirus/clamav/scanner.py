"""Scanning with clamd."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, Self

import structlog

from ..base import (
    LocalFile,
    Scanner,
    ScannerUnavailable,
    ScannerVersion,
    ScanReport,
    Source,
    Verdict,
)
from ..deadline import give_up_after
from ..limit_probe import check_limit
from ..limits import TimeAllowance, verdict_of_signature
from ..self_test import check_scanner
from ..sources import opened, pieces_of
from .address import UnixAddress, parse_address
from .connection import Connection, Received, connected
from .protocol import (
    END_OF_STREAM,
    FILDES,
    INSTREAM,
    VERSION,
    Answer,
    ScanReply,
    chunk_header,
    conclude,
    parse_version_reply,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from ...clock import Clock

log = structlog.get_logger(__name__)

DEFAULT_LIMIT_BYTES = 25 * 1024 * 1024
"""What Debian configures. clamd's own default is 100M, but a figure above the real one would be dangerous."""
ENGINE_LIMIT_BYTES = 2**31 - 1
"""clamd looks at no larger file, whatever its configuration says; it answers OK."""
_SHORT_ANSWER = timedelta(seconds=30)
"""For commands that look at no file. They may have to wait for one of clamd's threads."""
_REASON_SECONDS = 5.0
"""How long we wait, when clamd has broken off, for it to have said why."""
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


class ClamavScanner(Scanner):
    """Has files scanned by one clamd.

    A file on this machine is passed as an open descriptor (FILDES) where clamd listens on a unix socket: clamd needs
    no permission for it, and nothing is copied. Everything else is streamed (INSTREAM).

    clamd says "OK" of files above its MaxFileSize or MaxScanSize without having looked at them, and does not tell
    these limits. So they must be given, and above them the verdict is `TOO_LARGE` without clamd being asked. The
    first self-test finds out whether clamd's own limits are below those given.

    Args:
        address: `/path`, `unix:///path` or `tcp://host:port`.
        clock: Measures how long scans take.
        stream_max_bytes: clamd's StreamMaxLength.
        max_file_bytes: The lower of clamd's MaxFileSize and MaxScanSize.
        max_scans: How many files it is given at a time; more than its MaxThreads would wait there.
        allowance: How long it may take for a file when the caller does not say.

    Raises:
        penstock.errors.ConfigurationError: the address is none.
    """

    name = "clamav"

    def __init__(
        self,
        address: str,
        *,
        clock: Clock,
        stream_max_bytes: int = DEFAULT_LIMIT_BYTES,
        max_file_bytes: int = DEFAULT_LIMIT_BYTES,
        max_scans: int = 10,
        allowance: TimeAllowance | None = None,
    ) -> None:
        self._address = parse_address(address)
        self._clock = clock
        self._file_limit = min(max_file_bytes, ENGINE_LIMIT_BYTES)
        self._stream_limit = min(stream_max_bytes, self._file_limit)
        self._places = asyncio.Semaphore(max_scans)
        self._allowance = allowance or TimeAllowance()
        self._version = ScannerVersion(engine="")
        self._version_until = float("-inf")
        self._limit_checked = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def version(self) -> ScannerVersion:
        """Ask clamd; see `Scanner.version`."""
        async with (
            give_up_after(_SHORT_ANSWER, f"clamd at {self._address} to tell its version"),
            connected(self._address) as connection,
        ):
            await connection.send(VERSION)
            received = await connection.receive()
        if not received.raw:
            raise ScannerUnavailable(f"clamd at {self._address} closed the connection without telling its version")
        self._version = parse_version_reply(received.raw)
        self._version_until = self._clock.monotonic() + _VERSION_KEPT_SECONDS
        return self._version

    async def self_test(self) -> None:
        """Prove that EICAR is found, the first time also in a file as large as clamd is said to look at.

        See `Scanner.self_test`.
        """
        await self.version()
        await check_scanner(self)
        if not self._limit_checked:
            local = isinstance(self._address, UnixAddress)
            await check_limit(
                self, limit_bytes=self._file_limit if local else self._stream_limit, because=_LIMITS_ARE_SMALLER
            )
            self._limit_checked = True

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        """Have clamd look at the file; see `Scanner.scan`."""
        started = self._clock.monotonic()
        by_descriptor = isinstance(source, LocalFile) and isinstance(self._address, UnixAddress)
        limit = self._file_limit if by_descriptor else self._stream_limit
        if size_bytes > limit:
            finding = _too_large(f"clamd is set up to look at no more than {limit} bytes")
        else:
            async with give_up_after(timeout, f"clamd at {self._address} to scan {size_bytes} bytes"), self._places:
                if started >= self._version_until:
                    await self.version()
                finding = await self._look_at(source, size_bytes, by_descriptor=by_descriptor)
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

    async def _look_at(self, source: Source, size_bytes: int, *, by_descriptor: bool) -> _Finding:
        if by_descriptor and isinstance(source, LocalFile):
            reply = await self._pass_descriptor(source, size_bytes)
            if reply.answer is not Answer.ERROR:
                return _finding(reply)
            # Something such as AppArmor may keep clamd from taking descriptors; it can still be given the bytes.
            log.warning("clamd_took_no_descriptor", address=str(self._address), answer=reply.text)
        return _finding(await self._stream(source, size_bytes))

    async def _pass_descriptor(self, source: LocalFile, size_bytes: int) -> ScanReply:
        async with opened(source, size_bytes) as file, connected(self._address) as connection:
            await connection.send(FILDES)
            await connection.send_descriptor(file.fd)
            async with self._time_for(size_bytes):
                received = await connection.receive()
            await file.verify_unchanged()
        return conclude(received.raw, FILDES, all_sent=True, closed_cleanly=received.closed_cleanly)

    async def _stream(self, source: Source, size_bytes: int) -> ScanReply:
        async with pieces_of(source, size_bytes) as pieces, connected(self._address) as connection:
            receiving = asyncio.create_task(connection.receive())
            sending = asyncio.create_task(self._send(connection, pieces))
            try:
                await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
                all_sent = sending.done() and await _ended_well(sending)
                received = await self._answer(receiving, size_bytes, all_sent=all_sent)
            finally:
                sending.cancel()
                receiving.cancel()
                await asyncio.gather(sending, receiving, return_exceptions=True)
        return conclude(received.raw, INSTREAM, all_sent=all_sent, closed_cleanly=received.closed_cleanly)

    async def _send(self, connection: Connection, pieces: AsyncIterator[bytes]) -> None:
        await connection.send(INSTREAM)
        async for piece in pieces:
            async with give_up_after(self._allowance.base, f"clamd at {self._address} to take more bytes"):
                await connection.send(chunk_header(len(piece)) + piece)
        await connection.send(END_OF_STREAM)

    async def _answer(self, receiving: asyncio.Task[Received], size_bytes: int, *, all_sent: bool) -> Received:
        if all_sent:
            # clamd begins to look at a stream when it has all of it, so its time begins now.
            async with self._time_for(size_bytes):
                return await receiving
        await asyncio.wait({receiving}, timeout=_REASON_SECONDS)
        return receiving.result() if receiving.done() else Received(b"", closed_cleanly=False)

    def _time_for(self, size_bytes: int) -> AbstractAsyncContextManager[None]:
        return give_up_after(
            self._allowance.for_size(size_bytes), f"clamd at {self._address} to answer about {size_bytes} bytes"
        )


async def _ended_well(sending: asyncio.Task[None]) -> bool:
    try:
        await sending
    except ScannerUnavailable:
        return False  # clamd broke off in the middle; what it says is more telling than how the socket failed
    return True


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
    raise ScannerUnavailable(f"clamd could not scan the file: {reply.text}")
