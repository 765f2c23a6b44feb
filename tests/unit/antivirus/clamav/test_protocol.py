"""The reading of clamd's answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.antivirus import ScannerProtocolError, ScannerUnavailable, ScannerVersion
from penstock.antivirus.clamav.protocol import (
    FILDES,
    INSTREAM,
    Answer,
    ScanReply,
    chunk_header,
    conclude,
    parse_scan_reply,
    parse_version_reply,
    scan_command,
)

SCAN = scan_command(Path("/a: OK"))
SUBJECTS = {INSTREAM: rb"stream", FILDES: rb"fd\[[0-9]+\]", SCAN: rb"/a: OK"}
COMMANDS = st.sampled_from(list(SUBJECTS))
# Pieces of real answers in any order come closer to being one than random bytes do.
NEARLY_REPLIES = st.lists(
    st.sampled_from(
        [b"stream", b"fd[12]", b"/a: OK", b": ", b"OK", b"X", b" FOUND", b" ERROR", b"\0", b"\n", b" ", b"\xff"]
    )
    | st.binary(max_size=5),
    max_size=8,
).map(b"".join)
RAW = NEARLY_REPLIES | st.binary()


@pytest.mark.parametrize(
    ("command", "raw", "reply"),
    [
        (INSTREAM, b"stream: OK\0", ScanReply(Answer.CLEAN)),
        (FILDES, b"fd[12]: OK\0", ScanReply(Answer.CLEAN)),
        (INSTREAM, b"stream: Eicar-Test-Signature FOUND\0", ScanReply(Answer.FOUND, "Eicar-Test-Signature")),
        (FILDES, b"fd[9]: Eicar.UNOFFICIAL FOUND\0", ScanReply(Answer.FOUND, "Eicar.UNOFFICIAL")),
        (FILDES, b"/a: b: ERROR/c FOUND: Eicar FOUND\0", ScanReply(Answer.FOUND, "Eicar")),
        (
            INSTREAM,
            b"stream: Eicar-Signature(44d88612fea8a8f36de82e1278abb02f:68) FOUND\0",
            ScanReply(Answer.FOUND, "Eicar-Signature"),
        ),
        (INSTREAM, b"stream: name\xff(1) FOUND\0", ScanReply(Answer.FOUND, "name\\xff(1)")),
        (
            INSTREAM,
            b"INSTREAM size limit exceeded. ERROR\0",
            ScanReply(Answer.ERROR, "INSTREAM size limit exceeded. ERROR"),
        ),
        (INSTREAM, b"UNKNOWN COMMAND\0", ScanReply(Answer.ERROR, "UNKNOWN COMMAND")),
        (INSTREAM, b"COMMAND READ TIMED OUT\n", ScanReply(Answer.ERROR, "COMMAND READ TIMED OUT")),
        (SCAN, b"/a: OK: OK\0", ScanReply(Answer.CLEAN)),
        (SCAN, b"/a: OK: Eicar FOUND\0", ScanReply(Answer.FOUND, "Eicar")),
        (
            SCAN,
            b"/a: OK: File path check failure: No such file or directory. ERROR\0",
            ScanReply(Answer.ERROR, "/a: OK: File path check failure: No such file or directory. ERROR"),
        ),
        (FILDES, b"fd[-1]: lstat() failed: x. ERROR\0", ScanReply(Answer.ERROR, "fd[-1]: lstat() failed: x. ERROR")),
    ],
)
def test_answers(command: bytes, raw: bytes, reply: ScanReply) -> None:
    assert parse_scan_reply(raw, command) == reply


def test_only_the_limit_of_streams_is_one() -> None:
    assert parse_scan_reply(b"INSTREAM size limit exceeded. ERROR\0", INSTREAM).over_stream_limit
    assert not parse_scan_reply(b"Can't allocate memory ERROR\0", INSTREAM).over_stream_limit
    assert not parse_scan_reply(b"stream: size limit exceeded FOUND\0", INSTREAM).over_stream_limit


@given(raw=RAW, command=COMMANDS)
@example(raw=b"stream: OK", command=INSTREAM)
@example(raw=b"stream: OK\n", command=INSTREAM)
@example(raw=b"stream: OK\0\0", command=INSTREAM)
@example(raw=b"fd[12]: OK\0", command=INSTREAM)
@example(raw=b"stream: OK\0", command=FILDES)
@example(raw="fd[١]: OK\0".encode(), command=FILDES)
@example(raw=b"stream: X FOUND\nstream: OK\0", command=INSTREAM)
@example(raw=b"/a: OK\0", command=SCAN)
@example(raw=b"/a: OK: OK\0", command=SCAN)
@example(raw=b"/b: OK\0", command=SCAN)
def test_nothing_but_the_exact_words_is_clean(raw: bytes, command: bytes) -> None:
    subject = SUBJECTS[command]
    try:
        reply = parse_scan_reply(raw, command)
    except ScannerProtocolError:
        clean = False
    else:
        clean = reply.answer is Answer.CLEAN
        assert clean == (not reply.text)
    assert clean == bool(re.fullmatch(subject + rb": OK\0", raw))


@given(raw=RAW, command=COMMANDS, all_sent=st.booleans(), closed_cleanly=st.booleans())
@example(raw=b"stream: OK\0", command=INSTREAM, all_sent=True, closed_cleanly=True)
@example(raw=b"stream: OK\0", command=INSTREAM, all_sent=False, closed_cleanly=True)
@example(raw=b"stream: OK\0", command=INSTREAM, all_sent=True, closed_cleanly=False)
@example(raw=b"stream: X FOUND\0", command=INSTREAM, all_sent=False, closed_cleanly=False)
def test_clean_needs_all_bytes_sent_and_read(
    raw: bytes, command: bytes, *, all_sent: bool, closed_cleanly: bool
) -> None:
    try:
        reply = conclude(raw, command, all_sent=all_sent, closed_cleanly=closed_cleanly)
    except ScannerUnavailable:
        assert raw == b""
    except ScannerProtocolError:
        assert raw != b""
    else:
        assert reply == parse_scan_reply(raw, command)
        assert reply.answer is not Answer.CLEAN or (all_sent and closed_cleanly)


@given(signature=st.text(st.characters(codec="ascii", exclude_characters=" :()\0\n"), min_size=1))
def test_every_name_comes_through(signature: str) -> None:
    reply = parse_scan_reply(f"stream: {signature} FOUND\0".encode(), INSTREAM)
    assert reply == ScanReply(Answer.FOUND, signature)


@pytest.mark.parametrize(
    ("raw", "version"),
    [
        (b"ClamAV 1.4.6\0", ScannerVersion("ClamAV 1.4.6")),
        (
            b"ClamAV 1.4.6/27500/Thu Nov 20 08:30:00 2025\0",
            ScannerVersion("ClamAV 1.4.6", "27500/Thu Nov 20 08:30:00 2025"),
        ),
    ],
)
def test_versions(raw: bytes, version: ScannerVersion) -> None:
    assert parse_version_reply(raw) == version


@given(raw=st.binary())
@example(raw=b"ClamAV 1.4.6")
@example(raw=b"UNKNOWN COMMAND\0")
def test_no_version_is_made_up(raw: bytes) -> None:
    if not re.fullmatch(rb"ClamAV [^\0]*\0", raw):
        with pytest.raises(ScannerProtocolError):
            parse_version_reply(raw)


def test_a_long_answer_is_not_repeated_in_full() -> None:
    with pytest.raises(ScannerProtocolError) as error:
        parse_scan_reply(b"x" * 100_000, INSTREAM)
    assert len(str(error.value)) < 500


def test_a_stream_that_stalled_is_told_from_other_errors() -> None:
    assert parse_scan_reply(b"COMMAND READ TIMED OUT\n", INSTREAM).stalled
    assert not parse_scan_reply(b"Can't allocate memory ERROR\0", INSTREAM).stalled
    assert not parse_scan_reply(b"stream: COMMAND READ TIMED OUT FOUND\0", INSTREAM).stalled


def test_paths_are_sent_as_their_bytes() -> None:
    assert scan_command(Path("/a b\udcff/ü")) == b"zSCAN /a b\xff/\xc3\xbc\0"


def test_the_header_of_a_chunk_is_its_length_in_network_order() -> None:
    assert chunk_header(0x01020304) == b"\1\2\3\4"
