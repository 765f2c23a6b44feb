"""clamd's protocol, as values: what to send, and what an answer means. No I/O.

Commands are sent in the `z` form, `zNAME` and a NUL, which also ends each reply; see clamd(8), section COMMANDS.
A scan is answered by one of::

    stream: OK
    stream: Eicar-Test-Signature FOUND
    INSTREAM size limit exceeded. ERROR

For FILDES the subject is `fd[12]`, with clamd's own number, instead of `stream`. The subject of SCAN is the path and
may hold anything, so answers are read from the right. "OK" alone is read strictly: what is not exactly the answer to
the command that we sent is no clean verdict.

What goes wrong has names of its own::

    ScannerUnavailable
    ├── ClamdBrokeOff   no answer: it was stopped, has crashed, or something on the way has cut the connection
    └── ClamdFailed     the answer ERROR: out of memory, no room for the stream, no right to read, ...
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from ..base import ScannerProtocolError, ScannerUnavailable, ScannerVersion

if TYPE_CHECKING:
    from pathlib import Path

INSTREAM = b"zINSTREAM\0"
"""Announces bytes in chunks, each behind its length; `END_OF_STREAM` ends them."""
FILDES = b"zFILDES\0"
"""Announces one more byte, with a file descriptor as SCM_RIGHTS; over a unix socket only."""
VERSION = b"zVERSION\0"
END_OF_STREAM = bytes(4)
CHUNK_HEADER_BYTES = 4
LONGEST_REPLY_BYTES = 64 * 1024
"""More than any reply to these commands; a server that sends more is not clamd."""

_CLEAN = {INSTREAM: re.compile(rb"stream: OK"), FILDES: re.compile(rb"fd\[[0-9]+\]: OK")}
_SCAN = b"zSCAN "
# With `ExtendedDetectionInfo yes` the name is followed by the hash and the size of what was found.
_FOUND = re.compile(r".*: (?P<signature>.+?)(?:\([0-9a-f]{32,128}:[0-9]+\))? FOUND", re.DOTALL)
_TIMED_OUT = b"COMMAND READ TIMED OUT\n"


class ClamdBrokeOff(ScannerUnavailable):
    """clamd closed the connection without an answer, or it broke. Nothing is known of the file."""

    code = "clamd-broke-off"


class ClamdFailed(ScannerUnavailable):
    """clamd answered ERROR: it could not look at the file. It may well be able to look at others."""

    code = "clamd-failed"


def scan_command(path: Path) -> bytes:
    """Return what has clamd open a file by its path, which must be absolute, and as it is without links in it."""
    return _SCAN + bytes(path) + b"\0"


def chunk_header(length_bytes: int) -> bytes:
    """Return what goes before a chunk of INSTREAM: its length, which must not be 0, in network order."""
    return length_bytes.to_bytes(CHUNK_HEADER_BYTES, "big")


class Answer(Enum):
    """The three kinds of answer to a scan."""

    CLEAN = "OK"
    FOUND = "FOUND"
    ERROR = "ERROR"


class ScanReply(msgspec.Struct, frozen=True):
    """One answer to INSTREAM, FILDES or SCAN."""

    answer: Answer
    text: str = ""
    """FOUND: the signature's name. ERROR: clamd's own words. CLEAN: nothing."""

    @property
    def over_stream_limit(self) -> bool:
        """Whether clamd refused the stream because it is longer than its StreamMaxLength."""
        return self.answer is Answer.ERROR and "size limit exceeded" in self.text

    @property
    def stalled(self) -> bool:
        """Whether clamd has given up waiting for more of what we send (its CommandReadTimeout)."""
        return self.answer is Answer.ERROR and self.text == _TIMED_OUT.decode().strip()


def parse_scan_reply(raw: bytes, command: bytes) -> ScanReply:
    """Read everything that clamd sent, in answer to INSTREAM, FILDES or SCAN, until it closed the connection.

    Raises:
        ScannerProtocolError: that is no answer, not a whole one, or more than one.
    """
    if raw == _TIMED_OUT:  # the one reply that ends in a line end even in the z form
        return ScanReply(Answer.ERROR, raw.decode().strip())
    body = _single(raw)
    if _is_clean(body, command):
        return ScanReply(Answer.CLEAN)
    text = body.decode(errors="backslashreplace")
    found = _FOUND.fullmatch(text)
    if found is not None:
        return ScanReply(Answer.FOUND, found["signature"])
    if text.endswith((" ERROR", ": ERROR")) or text == "UNKNOWN COMMAND":
        return ScanReply(Answer.ERROR, text)
    raise _not_understood(raw)


def _is_clean(body: bytes, command: bytes) -> bool:
    if command.startswith(_SCAN):
        return body == command[len(_SCAN) : -1] + b": OK"
    return _CLEAN[command].fullmatch(body) is not None


def conclude(raw: bytes, command: bytes, *, all_sent: bool, closed_cleanly: bool) -> ScanReply:
    """Decide what a conversation about one file has come to.

    clamd looks at a stream only after its last byte, answers once, and closes the connection; an answer from
    something else may come before, or without the bytes ever having been read, which the kernel tells us as a reset.
    A find is believed at any time, a clean verdict only when everything was sent and read.

    Args:
        raw: Everything that was received.
        command: What was sent.
        all_sent: Whether the last byte had been sent when the answer came.
        closed_cleanly: Whether the other side ended the connection, with nothing of ours left unread.

    Raises:
        ClamdBrokeOff: there is no answer.
        ScannerProtocolError: it is not understood, or clean too early.
    """
    if not raw:
        raise ClamdBrokeOff("clamd closed the connection without an answer; it may have been stopped or have crashed")
    reply = parse_scan_reply(raw, command)
    if reply.answer is Answer.CLEAN and not (all_sent and closed_cleanly):
        raise ScannerProtocolError(
            "clamd answered that the file is clean before it had read all of it. Is this address really clamd's?"
        )
    return reply


def parse_version_reply(raw: bytes) -> ScannerVersion:
    """Read the answer to VERSION: `ClamAV 1.4.6/27500/Thu Nov 20 08:30:00 2025`, or only its first part.

    Raises:
        ScannerProtocolError: that is something else.
    """
    text = _single(raw).decode(errors="backslashreplace")
    engine, _, database = text.partition("/")
    if not engine.startswith("ClamAV "):
        raise _not_understood(raw)
    return ScannerVersion(engine=engine, database=database)


def _single(raw: bytes) -> bytes:
    body, end, rest = raw.partition(b"\0")
    if not end or rest:
        raise _not_understood(raw)
    return body


def _not_understood(raw: bytes) -> ScannerProtocolError:
    start = raw[:200]
    return ScannerProtocolError(
        f"clamd answered {start!r}{' and more' if len(raw) > len(start) else ''}, which is not an answer that we know. "
        "Is this address really clamd's?"
    )
