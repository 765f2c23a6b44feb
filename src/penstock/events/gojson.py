"""JSON as Go's encoding/json writes and reads it, for the events and for the records of the stores.

`dumps` gives the bytes that a Go service would write. `Decoder` accepts what a Go service accepts: it tries
the quick and strict way first, which takes JSON as it is normally written, and asks `lenient` about
anything else.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import msgspec

from . import lenient

T = TypeVar("T")

# Maps in alphabetical order, structs in the order of their fields: as Go does.
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")

_READ_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def dumps(value: object) -> bytes:
    r"""Encode a struct, or anything else that msgspec can, byte for byte as Go would.

    Compact; `<`, `>`, `&`, U+2028 and U+2029 escaped as `\u003c` and so on; maps sorted by key. One
    difference remains: a whole number held in a float keeps its `.0`.

    Raises:
        UnicodeEncodeError: a string contains a lone surrogate.
    """
    return _escape(_ENCODER.encode(value))


def _escape(data: bytes) -> bytes:
    """Escape what Go escapes for the sake of HTML and old JavaScript; JSON has it in strings only."""
    if b"<" in data:
        data = data.replace(b"<", rb"\u003c")
    if b">" in data:
        data = data.replace(b">", rb"\u003e")
    if b"&" in data:
        data = data.replace(b"&", rb"\u0026")
    # Finding two bytes in a row takes longer than the rest together, so first ask what is nearly free.
    if not data.isascii() and b"\xe2\x80" in data:
        data = data.replace(b"\xe2\x80\xa8", rb"\u2028").replace(b"\xe2\x80\xa9", rb"\u2029")
    return data


class Decoder(Generic[T]):
    """Reads one type of struct from JSON and accepts exactly what Go's decoder would.

    That is: keys in any order and case, unknown and missing keys, null for anything (it leaves a value at
    its zero value), broken UTF-8 (becomes U+FFFD). A number in quotes, 5.0 for an integer or a negative
    size is refused, by Go and here.

    One difference: of an object that is repeated under its usual name, the last replaces the first; Go merges them.

    The struct, and those within it, must be declared with `forbid_unknown_fields=True`: an unknown key is
    what tells the quick way that somebody writes names in another case.
    """

    def __init__(self, struct: type[T]) -> None:
        """Prepare for `struct`.

        Raises:
            TypeError: it, or a struct within it, does not forbid unknown fields.
        """
        self._strict: Final = msgspec.json.Decoder(struct)
        self._lenient: Final = lenient.Reader(struct)

    def decode(self, data: bytes) -> T:
        """Read one JSON text.

        Raises:
            ValueError: Go would refuse it; the message says why and where, as a path such as
            `$.ExecutingUser.id`.
        """
        try:
            return self._strict.decode(data)
        except _READ_ERRORS:
            return self._lenient.read(lenient.parse(data))
