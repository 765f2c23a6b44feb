"""Forms (`multipart/form-data`, RFC 7578) as files are pushed in: some short fields, then one file, in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from multipart import (  # type: ignore[import-untyped]  # has annotations, but no py.typed
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from ..errors import PenstockError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_FIELDS: Final = 20
_FIELD_BYTES: Final = 4096
_HEADER_BYTES: Final = 4096


class BadForm(PenstockError):
    """What has come is not a form with a file, or not all of it."""

    code = "bad-pushed-form"


class Field(NamedTuple):
    """A field that is no file."""

    name: str
    value: str


async def form_parts(content_type: str, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[Field | bytes, None]:
    """Yield the fields that come before the file, then its bytes. It ends when all of the form was there.

    Raises:
        BadForm: it is none, or has anything after its one file.
    """
    kind, options = parse_options_header(content_type)
    boundary: str = options.get("boundary", "")
    if kind != "multipart/form-data" or not boundary:
        raise BadForm("send multipart/form-data with a boundary")
    parser = PushMultipartParser(boundary, max_header_size=_HEADER_BYTES, max_header_count=8, max_segment_count=_FIELDS)
    reader = _Reader()
    try:
        async for chunk in body:
            for event in parser.parse(chunk):
                if (found := reader.take(event)) is not None:
                    yield found
        parser.close()
    except MultipartError as error:
        raise BadForm(f"the form cannot be read, or broke off: {error}") from error
    if not reader.has_file:
        raise BadForm("there is no file in the form")


class _Reader:
    """Tells fields from the file."""

    def __init__(self) -> None:
        self.has_file = False
        self._field: str | None = None
        self._value = b""

    def take(self, event: MultipartSegment | bytes | None) -> Field | bytes | None:
        """Return what an event of the parser makes complete."""
        if isinstance(event, MultipartSegment):
            if self.has_file:
                raise BadForm("there is something after the file")
            self.has_file = event.filename is not None
            self._field, self._value = None if self.has_file else str(event.name), b""
        elif self._field is None:
            return event or None
        elif event is None:
            return Field(self._field, self._value.decode("utf-8", "replace"))
        elif len(self._value) + len(event) > _FIELD_BYTES:
            raise BadForm(f"the field {self._field[:40]!r} is longer than {_FIELD_BYTES} bytes")
        else:
            self._value += event
        return None
