from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given

from penstock.events.gojson import Decoder, dumps
from tests.unit.events.strategies import json_values


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="pascal"):
    name: str
    size: int = 0


class Careless(msgspec.Struct, frozen=True):
    name: str = ""


class Nested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    inner: Careless | None = None


def as_go(value: Any) -> bytes:
    """The rule of the protocol's description, in terms of Python's json."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def without_floats(value: Any) -> Any:
    """Python's json and msgspec write some floats differently (1e+16, 1e16); both are right."""
    match value:
        case float():
            return str(value)
        case list():
            return [without_floats(item) for item in value]
        case dict():
            return {key: without_floats(item) for key, item in value.items()}
        case _:
            return value


@given(json_values)
def test_bytes_are_those_of_the_protocol(value: Any) -> None:
    assert dumps(without_floats(value)) == as_go(without_floats(value))


@given(json_values)
def test_what_is_written_reads_back(value: Any) -> None:
    assert json.loads(dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("<", rb"\u003c"),
        (">", rb"\u003e"),
        ("&", rb"\u0026"),
        ("\u2028", rb"\u2028"),
        ("\u2029", rb"\u2029"),
        ("\u2027\u202a\u00e2", "\u2027\u202a\u00e2".encode()),
        ("\b\f\n\r\t", rb"\b\f\n\r\t"),
        ("\0\x01\x1f", rb"\u0000\u0001\u001f"),
        ('"\\/', rb"\"\\/"),
        ("\x7fé😀", "\x7fé😀".encode()),
    ],
)
def test_each_kind_of_character_is_written_as_go_does(text: str, written: bytes) -> None:
    assert dumps(text) == b'"' + written + b'"'


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        dumps("\ud800")


@pytest.mark.parametrize(
    "text",
    [
        b'{"Name":"a","Size":1}',
        b'{"Size":1,"Name":"a"}',
        b'{"name":"a","SIZE":1}',
        b'{"Name":"a","Size":1,"StartTime":"later"}',
        b' {\n"Name" : "a",\t"Size":1}\r\n',
    ],
)
def test_the_usual_and_the_unusual_read_the_same(text: bytes) -> None:
    assert Decoder(Record).decode(text) == Record("a", 1)


def test_missing_keys_read_as_zero_values() -> None:
    assert Decoder(Record).decode(b"{}") == Record("", 0)


@pytest.mark.parametrize("text", [b"", b"[]", b'{"Name":5}', b'{"Name":"a"', b'{"Name":"a"}x', b"\xff"])
def test_what_does_not_fit_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        Decoder(Record).decode(text)


@pytest.mark.parametrize("struct", [Careless, Nested])
def test_a_struct_that_would_overlook_keys_is_refused(struct: type[Any]) -> None:
    with pytest.raises(TypeError, match="Careless"):
        Decoder(struct)
