"""Scanning with a service behind an ICAP server."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self

import structlog

from ..base import (
    Scanner,
    ScannerProtocolError,
    ScannerUnavailable,
    ScannerVersion,
    ScanReport,
    ScanTimeout,
    Source,
    Verdict,
)
from ..deadline import give_up_after
from ..limit_proof import LimitProof
from ..limits import TimeAllowance
from ..self_test import check_scanner
from ..sources import pieces_of
from .address import Address, parse_address
from .connection import Connection, connect
from .exchange import Exchange, Heard, Plan
from .judgement import Finding, judge
from .kept import KeptConnections, with_sign_of_life
from .options import ask_options
from .places import Places
from .profiles import profile_of
from .protocol import LONGEST_PREVIEW_BYTES, Method, Options, scan_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ...clock import Clock

log = structlog.get_logger(__name__)

DEFAULT_LIMIT_BYTES: Final = 25 * 1024 * 1024
"""What Debian's clamd looks at, which is often what stands behind an ICAP server."""
DEFAULT_MAX_SCAN_TIME: Final = timedelta(seconds=120)
"""After which time that clamd stops looking, and calls a file clean."""
_OPTIONS_KEPT_SECONDS: Final = 300.0
"""How long we believe what a service can do, if it does not say: signatures change, and with them the ISTag."""
_CLOSE_SECONDS: Final = 0.5
"""How long a server that said that it closes the connection may take for it, before we stop waiting for a reset."""
_LIMIT_IS_SMALLER: Final = (
    "the service has a smaller limit than the one that we are told (with c-icap: MaxObjectSize of virus_scan, or the "
    "limits of the clamd behind it), or passes files of this type. Raise its limits, or lower the setting "
    "antivirus_icap_max_file_size."
)


class IcapScanner(Scanner):
    """Has files scanned by one ICAP service. Everything is streamed.

    A service may pass files above some size without having looked at them, and does not tell. So the limit must be
    given; above it the verdict is `TOO_LARGE` without the service being asked. Whether it is below is found out before
    the first large file passes, and again every ten minutes, after failures, and when the ISTag is a new one (see
    `LimitProof`).

    Args:
        url: `icap://host:port` or `icaps://host:port`; a path in it is the service.
        service: the service, where the URL has no path.
        clock: measures how long scans take.
        method: how files are put before it: `reqmod`, as an upload, `respmod`, or `auto`: as an upload if it can.
        profile: the product, one of `PROFILES`; `any` knows the answers of all of them.
        header: a further field of the answer that names what was found; "" for none.
        unmodified_is_clean: whether the file itself, sent back, is the service's way to say clean though it could have
            answered 204.
        max_file_bytes: the size up to which it really looks at files.
        max_scan_time: after which time the engine behind it stops looking and calls a file clean; None: never.
        max_scans: how many files it is given at a time, unless it says that it takes fewer.
        timeout: how long one scan may take, whatever the caller says; None: what the caller says.
        allowance: how long it may take for a file when the caller does not say.
        tls: how the server has to prove who it is, for `icaps`; None: as the system wants it.

    Raises:
        penstock.errors.ConfigurationError: the address is none, or there is no such profile.
    """

    name = "icap"

    def __init__(
        self,
        url: str,
        service: str = "",
        *,
        clock: Clock,
        method: str = "auto",
        profile: str = "any",
        header: str = "",
        unmodified_is_clean: bool = False,
        max_file_bytes: int = DEFAULT_LIMIT_BYTES,
        max_scan_time: timedelta | None = DEFAULT_MAX_SCAN_TIME,
        max_scans: int = 10,
        timeout: timedelta | None = None,
        allowance: TimeAllowance | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address: Address = parse_address(url, service)
        self._clock = clock
        self._method = None if method == "auto" else Method(method.upper())
        self._profile = profile_of(profile, header, unmodified_is_clean=unmodified_is_clean)
        self._limit_bytes = max_file_bytes
        self._max_scan_time = max_scan_time
        self._places = Places(max_scans)
        self._timeout = timeout
        self._allowance = allowance or TimeAllowance()
        self._tls = (tls or ssl.create_default_context()) if self._address.tls else None
        self._options: Options | None = None
        self._options_until = float("-inf")
        self._kept = KeptConnections(self._address, clock)
        self._limit = LimitProof(self, limit_bytes=max_file_bytes, because=_LIMIT_IS_SMALLER, clock=clock)
        self._latest_tag = ""
        """The ISTag of the latest answer about a file; "" while there was none."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._limit.close()
        self._kept.forget()

    async def version(self) -> ScannerVersion:
        """Ask the service what it is; its ISTag stands for what it knows. See `Scanner.version`."""
        with self._doubting():
            options = await ask_options(self._address, self._tls, self._method)
        if self._options is not None and options.istag != self._options.istag:
            self._limit.forget()
        self._options = options
        kept = min(_OPTIONS_KEPT_SECONDS, options.ttl_seconds or _OPTIONS_KEPT_SECONDS)
        self._options_until = self._clock.monotonic() + kept
        self._places.limit_to(options.max_connections)
        return _version(options)

    @contextmanager
    def _doubting(self) -> Iterator[None]:
        """After a failure, take nothing for proved any more: it may have been started again."""
        try:
            yield
        except (ScannerUnavailable, ScannerProtocolError, ScanTimeout):
            self._limit.doubt()
            raise

    async def self_test(self) -> None:
        """Prove that EICAR is found, now and then also in a large file; see `Scanner.self_test` and `LimitProof`."""
        self._kept.forget()  # a test of the service, not of a connection that may be of no use any more
        await self.version()
        await check_scanner(self)
        await self._limit.go_on()

    async def limit_proved(self, size_bytes: int | None = None) -> None:
        """Wait until EICAR was found in files as large as these, lately; see `SupportsLimitProof`."""
        await (self._limit.finish() if size_bytes is None else self._limit.wait_for(size_bytes))

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        """Have the service look at the file; see `Scanner.scan`."""
        started = self._clock.monotonic()
        timeout = timeout if self._timeout is None else self._timeout
        version = ScannerVersion(engine="")
        if size_bytes > self._limit_bytes:
            too_large = f"the ICAP service is set up to look at no more than {self._limit_bytes} bytes"
            finding = Finding(Verdict.TOO_LARGE, detail=f"{too_large}; the file was not scanned")
        else:
            what = f"the ICAP service {self._address} to scan {size_bytes} bytes"
            with self._doubting():
                async with give_up_after(timeout, what):
                    await self._limit.wait_for(size_bytes)
                    await self._places.wait()
                    with self._places.taken():
                        options = await self._known_options()
                        finding = await self._look_at(source, size_bytes, options, timeout)
                        version = _version(options)
                    if finding.verdict is Verdict.CLEAN:
                        await self._limit.wait_for(size_bytes)  # it may have turned out to be another service
        return ScanReport(
            verdict=finding.verdict,
            scanner=self.name,
            signature=finding.signature,
            engine_version=version.engine,
            database_version=version.database,
            bytes_scanned=size_bytes if finding.verdict in {Verdict.CLEAN, Verdict.INFECTED} else 0,
            duration=timedelta(seconds=self._clock.monotonic() - started),
            detail=finding.detail,
        )

    async def _known_options(self) -> Options:
        if self._options is None or self._clock.monotonic() >= self._options_until:
            await self.version()
        if self._options is None:
            raise ScannerUnavailable(f"the ICAP service {self._address} did not tell what it can do")
        return self._options

    async def _look_at(self, source: Source, size_bytes: int, options: Options, timeout: timedelta | None) -> Finding:
        async with pieces_of(source, size_bytes) as pieces:
            first = await anext(pieces, b"")
            plan = self._plan(options, size_bytes, len(first), timeout)
            heard = await self._ask(plan, size_bytes, first, pieces)
        self._hear_tag((heard.answer.icap.fields.get("ISTag") or "").strip('"')[:200], options)
        finding = judge(
            heard.answer,
            plan.method,
            self._profile,
            all_sent=heard.all_sent,
            could_say_204=options.allows_204,
            sent_back=heard.sent_back,
        )
        limit = self._max_scan_time
        if finding.verdict is Verdict.CLEAN and limit is not None and heard.seconds >= limit.total_seconds():
            raise ScanTimeout(
                f"the ICAP service {self._address} took {heard.seconds:.1f} s. After {limit.total_seconds():g} s the "
                "engine behind it, such as a clamd with its MaxScanTime, may call a file clean without having seen all "
                "of it. Look at the setting antivirus_icap_max_scan_time."
            )
        return finding

    def _hear_tag(self, tag: str, options: Options) -> None:
        """Notice that the service knows more than before, or is another one."""
        if tag != options.istag:
            self._options_until = float("-inf")
        if tag:
            before, self._latest_tag = self._latest_tag, tag
            if before not in {"", tag}:
                self._limit.forget()

    def _plan(self, options: Options, size_bytes: int, first_bytes: int, timeout: timedelta | None) -> Plan:
        method = self._method or (Method.REQMOD if Method.REQMOD in options.methods else Method.RESPMOD)
        preview = None
        if options.preview_bytes is not None and size_bytes and self._profile.preview:
            preview = min(options.preview_bytes, LONGEST_PREVIEW_BYTES, first_bytes)
        return Plan(
            request=scan_request(self._address, method, size_bytes, preview),
            preview_bytes=preview,
            method=method,
            profile=self._profile,
            could_say_204=options.allows_204,
            what=f"the ICAP service {self._address} to scan {size_bytes} bytes",
            patience=self._allowance.base,
            time_to_scan=timeout or self._allowance.for_size(size_bytes),
        )

    async def _ask(self, plan: Plan, size_bytes: int, first: bytes, rest: AsyncIterator[bytes]) -> Heard:
        """Use a connection that is open, if there is one; when it turns out to be of no use any more, a new one."""
        kept = await self._kept.take()
        while True:
            connection = kept or await connect(self._address, self._tls)
            exchange = Exchange(connection, plan, size_bytes)
            try:
                heard = await with_sign_of_life(connection, exchange, first, rest)
                await self._check_read(connection, heard)
            except ScannerUnavailable:
                connection.close()
                if kept is not None and exchange.repeatable:
                    kept = None
                    continue
                raise
            except BaseException:
                connection.close()
                raise
            if heard.reusable and connection.is_quiet:
                self._kept.keep(connection)
            else:
                connection.close()
            return heard

    async def _check_read(self, connection: Connection, heard: Heard) -> None:
        """Make sure that a server that calls a file clean has not thrown it away unread.

        Raises:
            ScannerProtocolError: it has.
        """
        if heard.answer.icap.status != 204 or not heard.all_sent:
            return
        await asyncio.sleep(0)
        if heard.answer.is_last:
            await connection.until_ended(_CLOSE_SECONDS)
        if connection.was_reset:
            raise ScannerProtocolError(
                f"the ICAP server {self._address} called a file clean, and threw away bytes of it that it had not read"
            )


def _version(options: Options) -> ScannerVersion:
    return ScannerVersion(engine=options.service, database=options.istag)
