"""The body of a form (`multipart/form-data`, RFC 7578), read piece by piece: never more of it than has just arrived.

What is between the parts' own bytes is bounded: how many parts there are, how long their headers and fields are, and
what is before the first and after the last of them. So a client can send as much as it likes only as a file.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from multipart import (  # type: ignore[import-untyped]  # has annotations, but no py.typed
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    content_disposition_unquote,
    parse_options_header,
)

from ..uploads.errors import BadForm, FormTooLarge, Idle, UnsupportedBody
from ..uploads.locking.locks import IDLE
from ..uploads.protocols.names import UnsafeName

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import timedelta

    from .asgi import Body

FORM_TYPE: Final = "multipart/form-data"
MOST_PARTS: Final = 1000
_HEADER_BYTES: Final = 4096
_HEADERS: Final = 8
_FIELD_BYTES: Final = 64 * 1024
"""How long all values of a form are together, that are no files."""
_OTHER_BYTES: Final = 4 * 1024 * 1024
"""How long everything is together that is not a part's own: boundaries, headers, and what is around the parts."""
_BOUNDARY: Final = re.compile(r"[!-~ ]{0,69}[!-~]", re.ASCII)
_UNENCODED: Final = ("7bit", "8bit", "binary")
_QUOTED: Final = re.compile(r'"(?:\\.|[^"\\])*"')
_EXTENDED: Final = re.compile(r"filename\*\s*=\s*utf-8'[^']*'(?P<value>[^;\s\"]+)", re.ASCII | re.IGNORECASE)


class Part(NamedTuple):
    """What a part's headers say; its bytes follow."""

    field: str
    filename: str | None
    """None: it is no file, but the value of a field."""
    media_type: str
    length: int | None
    """How many bytes it has; None: it does not say, as most."""


class FormBody:
    """Reads the parts one after the other.

    Args:
        body: the request's.
        boundary: what separates the parts.
        idle: how long a client may send nothing between files.
    """

    def __init__(self, body: Body, boundary: str, idle: timedelta = IDLE) -> None:
        self._body = body
        self._idle_seconds = idle.total_seconds()
        self._parser = PushMultipartParser(
            boundary, max_header_size=_HEADER_BYTES, max_header_count=_HEADERS, max_segment_count=MOST_PARTS
        )
        self._events: deque[MultipartSegment | bytes | None] = deque()
        self._failure: BadForm | None = None
        self._ended = False
        self._in_part = False
        self._other_bytes = 0
        self._field_bytes = 0

    async def part(self) -> Part | None:
        """Return the next part, once its headers are there; None when all have been read. Call `skip` before.

        Raises:
            BadForm: what has come is no form, or not all of it is.
            Disconnected, Idle: no more of it comes.
        """
        while True:
            event = await self._next_in_time()
            if event is _END:
                return None
            if isinstance(event, MultipartSegment):
                self._in_part = True
                _check_plain(event)
                return _part(event)

    async def value(self) -> str:
        """Return what is left of a part that is no file.

        Raises:
            BadForm, Disconnected, Idle: as `part`.
        """
        found = b""
        while isinstance(event := await self._next_in_time(), bytes):
            self._field_bytes += len(event)
            if self._field_bytes > _FIELD_BYTES:
                raise FormTooLarge(
                    f"the fields of the form have more than {_FIELD_BYTES} bytes. Send less beside files."
                )
            found += event
        try:
            return found.decode()
        except UnicodeDecodeError as error:
            raise BadForm(f"the field {found[:40]!r} is not UTF-8. Encode it so.") from error

    async def rest(self) -> AsyncIterator[bytes]:
        """Yield what is left of a part. Whoever is interrupted may go on with `skip`.

        Raises:
            BadForm, Disconnected: as `part`.
        """
        while isinstance(event := await self._next(), bytes):
            yield event

    async def skip(self, most_bytes: int) -> int | None:
        """Read what is left of a part and forget it; return how much it was. None: it is more than `most_bytes`.

        Raises:
            BadForm, Disconnected, Idle: as `part`.
        """
        skipped = 0
        while self._in_part and isinstance(event := await self._next_in_time(), bytes):
            skipped += len(event)
            if skipped > most_bytes:
                return None
        return skipped

    async def _next_in_time(self) -> MultipartSegment | bytes | _End | None:
        try:
            async with asyncio.timeout(self._idle_seconds):
                return await self._next()
        except TimeoutError as error:
            raise Idle(
                f"nothing of the form arrived for {self._idle_seconds:g} s. Files that were there in whole are kept."
            ) from error

    async def _next(self) -> MultipartSegment | bytes | _End | None:
        """Return the headers of a part, bytes of it, or None at its end."""
        while not self._events:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return _END
            self._parse(await self._body.read())
        event = self._events.popleft()
        if event is None:
            self._in_part = False
        return event

    def _parse(self, chunk: bytes) -> None:
        """Parse what has arrived; what was right before a mistake still counts."""
        self._ended = not chunk
        self._other_bytes += len(chunk)
        try:
            if self._ended:
                self._parser.close()
            for event in self._parser.parse(chunk) if chunk else ():
                if isinstance(event, bytes):
                    self._other_bytes -= len(event)
                self._events.append(event)
        except ParserLimitReached as error:
            self._failure = FormTooLarge(
                f"the form has more than {MOST_PARTS} parts, or a part's headers are too long."
            )
            self._failure.__cause__ = error
        except MultipartError as error:
            self._failure = BadForm(f"the form cannot be read: {error}. Only files that were there in whole are kept.")
            self._failure.__cause__ = error
        if self._other_bytes > _OTHER_BYTES:
            self._failure = FormTooLarge(f"the form has more than {_OTHER_BYTES} bytes that belong to no part of it.")


class _End:
    """Comes after the last event."""


_END: Final = _End()


def boundary_of(content_type: str) -> str:
    """Return what separates the parts of a form.

    Raises:
        UnsupportedBody: the body is no form, or does not say.
    """
    kind, options = parse_options_header(content_type)
    boundary: str = options.get("boundary", "")
    if kind != FORM_TYPE or not _BOUNDARY.fullmatch(boundary):
        raise UnsupportedBody(
            f"Content-Type: {content_type[:80] or '(none)'}. Send files as {FORM_TYPE} with a boundary, one with PUT "
            "/files/{name}, or use tus at /uploads/."
        )
    return boundary


def _check_plain(segment: MultipartSegment) -> None:
    """Make sure that a part's headers can be read in one way only, and that its bytes are those of its file.

    Raises:
        BadForm: one is there twice, or they are encoded (deprecated by RFC 7578, section 4.7).
    """
    names = [name for name, _ in segment.headerlist]
    if len(set(names)) < len(names):
        raise BadForm("a part of the form has a header twice. Send it once.")
    encoding: str = segment.header("Content-Transfer-Encoding", "binary")
    if encoding.lower() not in _UNENCODED:
        raise BadForm(f"Content-Transfer-Encoding: {encoding[:40]!r} is not decoded. Send the bytes as they are.")


def _part(segment: MultipartSegment) -> Part:
    disposition: str = segment.header("Content-Disposition", "")
    # Not as the library would: that takes what looks like a path of Windows for its last part.
    _, options = parse_options_header(disposition, unquote=lambda text, _: content_disposition_unquote(text, False))
    filename: str | None = options.get("filename")
    if extended := _EXTENDED.search(_QUOTED.sub('""', disposition)):
        filename = _decoded(extended["value"])
    length: str | None = segment.header("Content-Length")
    return Part(
        options.get("name", ""), filename, segment.header("Content-Type", ""), None if length is None else int(length)
    )


def _decoded(encoded: str) -> str:
    try:
        return unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError as error:
        raise UnsafeName(f"filename* {encoded[:80]!r} is not UTF-8. Encode it so.") from error
