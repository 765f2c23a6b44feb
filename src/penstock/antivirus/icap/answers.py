"""Reads what an ICAP server answers: heads, the head of an HTTP message inside, chunked bodies. No I/O.

An answer is a head, and perhaps the heads of an HTTP message and its body. `AnswerReader` takes it in pieces of any
size.
"""

from __future__ import annotations

import re

import msgspec

from ..base import ScannerProtocolError

LONGEST_HEAD_BYTES = 64 * 1024
"""More than any head; a server that sends more is not to be talked to."""

_STATUS_LINE = re.compile(r"(?P<protocol>ICAP|HTTP)/\d\.\d (?P<status>\d{3})(?: (?P<reason>.*))?")
_FIELD = re.compile(r"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*(?P<value>.*)", re.DOTALL)
_PART = re.compile(r"\s*(?P<name>(?:req|res|opt|null)-(?:hdr|body))\s*=\s*(?P<offset>\d{1,9})\s*")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"\s*([0-9A-Fa-f]{1,15})\s*(?:;[^\n]*)?")
_LONGEST_LINE_BYTES = 4096


class Fields(msgspec.Struct, frozen=True):
    """The fields of a head, in their order."""

    pairs: tuple[tuple[str, str], ...] = ()
    """Name as it was written, and value; lines of a folded one are separated by a line end."""

    def get(self, name: str) -> str | None:
        """Return the value of a field, those of several joined by commas; None when there is none."""
        values = [value for key, value in self.pairs if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    def words(self, name: str) -> set[str]:
        """Return the parts of a value between commas, in small letters."""
        return {word.strip().lower() for word in (self.get(name) or "").split(",") if word.strip()}


class Head(msgspec.Struct, frozen=True):
    """The beginning of an ICAP answer, or of an HTTP answer inside of it."""

    status: int
    reason: str
    fields: Fields


class Answer(msgspec.Struct, frozen=True):
    """What the server said, up to the body that may follow."""

    icap: Head
    parts: tuple[str, ...] = ()
    """What is encapsulated, in order, such as `res-hdr`, `res-body`."""
    http: Head | None = None
    """The head of the HTTP answer that is encapsulated."""

    @property
    def has_body(self) -> bool:
        """Whether a body follows."""
        return bool(self.parts) and self.parts[-1] != "null-body" and self.parts[-1].endswith("-body")

    @property
    def is_last(self) -> bool:
        """Whether the server closes the connection after this answer."""
        return "close" in self.icap.fields.words("Connection")


class AnswerReader:
    """Takes what a server sends until it makes an answer."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._looked_at = 0
        self._head: Head | None = None
        self._parts: tuple[tuple[str, int], ...] = ()

    def feed(self, data: bytes) -> Answer | None:
        """Take some bytes; return the answer once it is there.

        Raises:
            ScannerProtocolError: this becomes no answer.
        """
        self._buffer += data
        if self._head is None:
            end = _END_OF_HEAD.search(self._buffer, max(0, self._looked_at - 3))
            self._looked_at = len(self._buffer)
            if (end.end() if end else len(self._buffer)) > LONGEST_HEAD_BYTES:
                raise _not_understood(bytes(self._buffer), "its head is too long")
            if end is None:
                self._check_beginning()
                return None
            self._head = parse_head(bytes(self._buffer[: end.start()]), "ICAP")
            self._parts = _parts_of(self._head.fields.get("Encapsulated"))
            del self._buffer[: end.end()]
        return self._with_encapsulated(self._head)

    @property
    def rest(self) -> bytes:
        """What came behind the answer: a body, or another answer."""
        return bytes(self._buffer)

    def _check_beginning(self) -> None:
        """Notice at once that this is another protocol: it may never send an empty line."""
        if not b"ICAP/".startswith(self._buffer[:5]):
            raise _not_understood(bytes(self._buffer), "it is not ICAP")

    def _with_encapsulated(self, head: Head) -> Answer | None:
        if not self._parts:
            return Answer(head)
        ends = [offset for _, offset in self._parts[1:]]
        names = tuple(name for name, _ in self._parts)
        length = self._parts[-1][1]
        if names[-1].endswith("-hdr"):  # no end is told: to the empty line
            found = _END_OF_HEAD.search(self._buffer, length)
            if found is None:
                if len(self._buffer) > LONGEST_HEAD_BYTES:
                    raise _not_understood(bytes(self._buffer), "its head is too long")
                return None
            length = found.end()
        if len(self._buffer) < length:
            return None
        http = None
        for (name, begin), end in zip(self._parts, [*ends, length], strict=True):
            if name == "res-hdr":
                http = parse_head(bytes(self._buffer[begin:end]).rstrip(b"\r\n"), "HTTP")
        del self._buffer[:length]
        return Answer(head, names, http)


def parse_head(block: bytes, protocol: str) -> Head:
    """Read a status line and fields, without the empty line at their end.

    Raises:
        ScannerProtocolError: that is something else.
    """
    first, *rest = [line.removesuffix("\r") for line in block.decode("utf-8", "backslashreplace").split("\n")]
    found = _STATUS_LINE.fullmatch(first)
    if found is None or found["protocol"] != protocol:
        raise _not_understood(block, f"this is no status line of {protocol}")
    unfolded: list[str] = []
    for line in rest:
        if line[:1] in (" ", "\t") and unfolded:
            unfolded[-1] += "\n" + line.strip()
        else:
            unfolded.append(line)
    pairs = []
    for line in unfolded:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise _not_understood(block, "there is a line in it that is no field")
        pairs.append((field["name"], field["value"].strip()))
    return Head(int(found["status"]), (found["reason"] or "").strip(), Fields(tuple(pairs)))


class ChunkReader:
    """Takes a chunked body in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._in_chunk = False
        self.ended = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take some bytes; return what of the body is in them. `ended` is true once the last chunk was seen.

        Raises:
            ScannerProtocolError: this is no chunked body.
        """
        found: list[bytes] = []
        self._buffer += data
        while self._buffer and not self.ended:
            if self._left:
                piece, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
                self._left -= len(piece)
                found.append(piece)
                continue
            line, end, rest = self._buffer.partition(b"\n")
            if not end:
                if len(self._buffer) > _LONGEST_LINE_BYTES:
                    raise _not_understood(self._buffer, "a chunk has no size")
                break
            self._buffer = rest
            self._take_line(line.removesuffix(b"\r"))
        return found

    def _take_line(self, line: bytes) -> None:
        if self._in_chunk:
            if line:
                raise _not_understood(line, "a chunk does not end where it should")
            self._in_chunk = False
            return
        size = _CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise _not_understood(line, "a chunk has no size")
        self._left = int(size[1], 16)
        self._in_chunk = True
        self.ended = self._left == 0


def _parts_of(encapsulated: str | None) -> tuple[tuple[str, int], ...]:
    if encapsulated is None:
        return ()
    parts: list[tuple[str, int]] = []
    for text in encapsulated.split(","):
        found = _PART.fullmatch(text)
        if found is None:
            raise ScannerProtocolError(f"the ICAP server encapsulates {encapsulated[:200]!r}, which is not understood")
        parts.append((found["name"], int(found["offset"])))
    offsets = [offset for _, offset in parts]
    bodies = [name for name, _ in parts[:-1] if name.endswith("-body")]
    if offsets[0] != 0 or offsets != sorted(offsets) or offsets[-1] > LONGEST_HEAD_BYTES or bodies:
        raise ScannerProtocolError(f"the ICAP server encapsulates {encapsulated[:200]!r}, which cannot be")
    return tuple(parts)


def _not_understood(raw: bytes, why: str) -> ScannerProtocolError:
    start = raw[:200]
    return ScannerProtocolError(
        f"the ICAP server sent {start!r}{' and more' if len(raw) > len(start) else ''}: {why}. "
        "Is this address really that of an ICAP server?"
    )
