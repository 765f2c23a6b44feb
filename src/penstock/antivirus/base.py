"""The port for virus scanners: looks at all bytes of one file and says what it found.

A scanner fails closed. `Verdict.CLEAN` is only ever an explicit answer of the engine about every byte that it was
given; silence, an error, an answer that we do not understand and bytes that were not looked at are something else.

Errors, beside `penstock.errors.Unavailable`, which they all are, for all of them may pass by themselves::

    Unavailable
    ├── ScannerUnavailable      no connection, or it went away, or the engine says that it failed
    │   ├── ScannerUnreachable  no connection: it has not seen a byte
    │   └── SelfTestFailed      it answers, but does not find what it must find
    ├── ScannerProtocolError    it answered something that is not an answer
    ├── ScanTimeout             it did not answer in time
    └── SourceUnreadable        the bytes, not the scanner, were the trouble
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import msgspec

from ..errors import Unavailable


class Verdict(StrEnum):
    """What a scan says of a file. Which of them let it pass is not the scanner's business."""

    CLEAN = "clean"
    """The engine has looked at every byte and says that nothing is wrong."""
    INFECTED = "infected"
    """The engine found something, and `ScanReport.signature` names it."""
    UNSCANNABLE = "unscannable"
    """The engine says that it could not look inside: encrypted, damaged, or nested too deeply."""
    TOO_LARGE = "too_large"
    """The file is larger than the engine looks at; it was not, or not wholly, scanned. Trying again does not help."""


class ScannerVersion(msgspec.Struct, frozen=True):
    """What answers, and what it knows."""

    engine: str
    """Name and version of the engine, such as `ClamAV 1.4.6`."""
    database: str = ""
    """Version of the signatures as the engine tells it; "" when it does not."""


class ScanReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one scan, with everything that a person needs who doubts it later."""

    verdict: Verdict
    scanner: str
    """`Scanner.name` of who said so."""
    signature: str = ""
    """Name of what was found, as the engine calls it; "" when there is none."""
    engine_version: str = ""
    """See `ScannerVersion.engine`; "" when the engine was not asked."""
    database_version: str = ""
    """See `ScannerVersion.database`; "" when unknown."""
    bytes_scanned: int = 0
    """How many bytes the verdict is about: for CLEAN and INFECTED all of the source (an engine may stop looking at
    its first find); 0 where the engine did not look, or we do not know how far."""
    duration: timedelta = timedelta(0)
    """From the call to the verdict, waiting for a free place at the scanner included."""
    detail: str = ""
    """One sentence for people where the rest does not explain itself, "" otherwise."""
    noted: tuple[str, ...] = ()
    """What the engine noticed that does not count as an infection, by its own names."""


class Circuit(StrEnum):
    """Whether a scanner is asked."""

    CLOSED = "closed"
    """It is."""
    OPEN = "open"
    """It is not, for a while, because it has failed too often in a row."""
    PROBING = "probing"
    """It is asked by one request, whose end decides."""


class PlaceState(msgspec.Struct, frozen=True):
    """How one of several engines is that stand in for each other."""

    address: str
    """Where it is."""
    problem: str = ""
    """Why it is not asked, in a sentence; empty when it is."""


class ScannerState(msgspec.Struct, frozen=True, kw_only=True):
    """How a scanner is, as far as that is known without asking it."""

    scanner: str
    """`Scanner.name`."""
    circuit: Circuit = Circuit.CLOSED
    failures: int = 0
    """How many requests in a row have failed."""
    last_error: str = ""
    """What the latest of them said."""
    outdated: str = ""
    """Why it still works with rules that are not the present ones, in a sentence; "" when it does not."""
    places: tuple[PlaceState, ...] = ()
    """The engines that share its work; () where there is one."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """Bytes that lie in a regular file on this machine; a scanner may hand its descriptor on."""

    path: Path


@dataclass(frozen=True, slots=True)
class ByteStream:
    """Bytes that come from elsewhere. They are read once, from beginning to end, in pieces of any size.

    An error that the iterable raises ends the scan and reaches the caller as it is.
    """

    pieces: AsyncIterable[bytes]
    again: Callable[[], AsyncIterable[bytes]] | None = None
    """Reads the same bytes from the beginning once more, for a scanner of which a part has failed in the middle. None:
    they can be had only once."""


Source = LocalFile | ByteStream
"""Where a scanner gets the bytes from."""


class ScannerUnavailable(Unavailable):
    """The scanner cannot be reached, went away in the middle, or says itself that it failed. Nothing is known."""

    code = "scanner-unavailable"


class ScannerUnreachable(ScannerUnavailable):
    """There is no connection to the scanner, so that nothing of the file can have been the trouble."""


class SelfTestFailed(ScannerUnavailable):
    """The scanner answers but misses the EICAR test file, or finds it in harmless bytes. Do not use it."""

    code = "scanner-self-test-failed"


class ScannerProtocolError(Unavailable):
    """The scanner answered something that we do not understand, or before it can have seen all bytes."""

    code = "scanner-protocol-error"


class ScanTimeout(Unavailable):
    """The scanner gave no verdict in time. Nothing is known."""

    code = "scan-timeout"


class SourceUnreadable(Unavailable):
    """The bytes could not be read, are not as many as announced, or changed while they were scanned."""

    code = "scan-source-unreadable"


@runtime_checkable
class SupportsStates(Protocol):
    """A scanner that can tell how it is."""

    def states(self) -> Sequence[ScannerState]:
        """Return how each scanner is of which this one consists."""
        ...


@runtime_checkable
class SupportsTryNow(Protocol):
    """A scanner that is left alone at times."""

    def try_now(self) -> None:
        """Have the next request made even if it is left alone just now: somebody has seen it work."""
        ...


@runtime_checkable
class SupportsLimitProof(Protocol):
    """A scanner that has to be seen to look at files as large as it is said to, lately."""

    async def limit_proved(self, size_bytes: int | None = None) -> None:
        """Return when that is so up to `size_bytes` (None: the whole limit); raises like `Scanner.self_test`."""
        ...


class Scanner(Protocol):
    """Looks for malware in one file at a time; may be used for several files at once."""

    name: str
    """Short and constant, such as `clamav`; part of reports, logs and metrics."""

    async def __aenter__(self) -> Self:
        """Check what can be checked without the engine.

        Raises:
            penstock.errors.ConfigurationError: the scanner cannot work as it is set up.
        """
        ...

    async def __aexit__(self, *exc_info: object) -> None:
        """Let go of connections and processes. Scans that still run end with an error."""
        ...

    async def scan(self, source: Source, *, size_bytes: int, timeout: timedelta | None = None) -> ScanReport:
        """Look at all bytes of `source` and return the engine's verdict.

        Memory stays constant, whatever the size. A file over the engine's limit is reported as `TOO_LARGE`, without
        its bytes having been read where that is known before. The report's verdict is about exactly the bytes of
        `source`: whoever hands in the beginning of a file gets a verdict about its beginning.

        Args:
            source: Where the bytes are.
            size_bytes: How many there are. More or fewer than that are an error, not a verdict.
            timeout: How long the engine may take, reading `source` included. None: as long as a healthy one would
                take for this size, which leaves out the time that reading a `ByteStream` takes.

        Raises:
            ScannerUnavailable: the scanner is not there, went away, or failed.
            ScannerProtocolError: the answer was not understood.
            ScanTimeout: no answer in time.
            SourceUnreadable: the bytes are not there, not all, or too many.
        """
        ...

    async def version(self) -> ScannerVersion:
        """Ask the engine what it is and what it knows.

        Raises:
            ScannerUnavailable: the scanner is not there.
            ScannerProtocolError: the answer was not understood.
            ScanTimeout: no answer in time.
        """
        ...

    async def self_test(self) -> None:
        """Prove that EICAR is found and harmless bytes are clean; return only when both hold.

        Raises:
            SelfTestFailed: one of the two does not hold.
            ScannerUnavailable: the scanner is not there.
            ScannerProtocolError: an answer was not understood.
            ScanTimeout: no answer in time.
        """
        ...
