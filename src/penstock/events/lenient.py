"""The slow and exact way to read JSON as Go does; `gojson.Decoder` comes here with what is unusual.

The rules, for which the Go source and the captured reactions of the Go services are the reference:

- Keys match without regard to case, in Go's way: U+017F counts as s, U+212A as k. Unknown keys are skipped.
- Of a repeated key the last one counts; a repeated object is merged into the first.
- null empties a pointer, a map or a list, and leaves everything else as it was. Missing keys read as zero
values. - Each byte that is not UTF-8, and each lone surrogate escape, becomes U+FFFD. - Bytes are base64
with padding, in which line ends are skipped, or a list of numbers.
"""

from __future__ import annotations

import base64
import binascii
import copy
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, NoReturn, TypeAlias, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")

_SURROGATES: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class JsonObject:
    """A JSON object as it was written: repeated keys and their order are still there."""

    pairs: list[tuple[str, Any]]

    def last(self, name: str) -> Any:
        """The last value whose key matches `name` in Go's way; None if it is null or there is none."""
        folded = _fold(name)
        return next((value for key, value in reversed(self.pairs) if _fold(key) == folded), None)


Tree: TypeAlias = Any
"""What `parse` makes of JSON: None, bool, int, float, str, list, and `JsonObject` for objects."""

_ReadValue: TypeAlias = Callable[[Tree, Any], Any]
"""Brings a value that is not null into the form that msgspec converts; takes what the same key had before."""


def parse(data: bytes) -> Tree:
    """Read one JSON text without losing anything that the rules above need.

    Raises:
        ValueError: not JSON, or nested too deeply.
    """
    try:
        return json.loads(
            data.decode("utf-8", "surrogateescape"),
            object_pairs_hook=JsonObject,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _finite(text: str) -> float:
    """A number that fits a float, as Go demands; Python would make it infinite."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"number out of range: {text[:64]}")
    return number


def _refuse_constant(name: str) -> NoReturn:
    """NaN and Infinity are no JSON, although Python reads them."""
    raise ValueError(f"not JSON: {name}")


def _fold(key: str) -> str:
    """What two keys have in common that Go takes for the same."""
    return key.lower().replace("\u017f", "s")


def _clean(text: str) -> str:
    """Replace what cannot be encoded."""
    return _SURROGATES.sub("\ufffd", text)


class Reader(Generic[T]):
    """Reads one type of struct from a `Tree`."""

    def __init__(self, struct: type[T]) -> None:
        """Prepare for `struct`.

        Raises:
            TypeError: it, or a struct within it, does not forbid unknown fields.
        """
        self._struct: Final = struct
        self._read: Final = _reader(inspect.type_info(struct))

    def read(self, tree: Tree) -> T:
        """Convert a whole text; null reads as an empty object.

        Raises:
            ValueError: Go would refuse it.
        """
        try:
            values = self._read(JsonObject([]) if tree is None else tree, None)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        return msgspec.convert(values, self._struct)


def _reader(kind: inspect.Type) -> _ReadValue:
    """The function that reads values of a type."""
    kind = _without_none(kind)
    match kind:
        case inspect.StructType():
            return _struct_reader(kind)
        case inspect.DictType():
            return _map_reader(kind)
        case inspect.VarTupleType() | inspect.ListType():
            return _list_reader(kind)
        case inspect.BytesType():
            return _read_bytes
        case _:
            return _read_plain


def _without_none(kind: inspect.Type) -> inspect.Type:
    """The type itself, without the None of an optional one and without a constraint's wrapping."""
    if isinstance(kind, inspect.UnionType):
        others = [member for member in kind.types if not isinstance(member, inspect.NoneType)]
        if len(others) == 1:
            return others[0]
    return kind


def _accepts_none(kind: inspect.Type) -> bool:
    """Whether null is a value of its own for this type, as for a Go pointer or interface."""
    if isinstance(kind, inspect.UnionType):
        return kind.includes_none
    return isinstance(kind, (inspect.AnyType, inspect.NoneType))


def _zero(kind: inspect.Type) -> Any:
    """Go's zero value, in the form that msgspec converts."""
    if _accepts_none(kind):
        return None
    match kind:
        case inspect.StrType():
            return ""
        case inspect.BoolType():
            return False
        case inspect.IntType() | inspect.FloatType():
            return 0
        case inspect.BytesType():
            return b""
        case inspect.VarTupleType() | inspect.ListType():
            return []
        case inspect.StructType():
            return _struct_reader(kind)(JsonObject([]), None)
        case _:
            return {}


@dataclass(frozen=True, slots=True)
class _Field:
    """What reading needs to know about one field of a struct."""

    name: str
    read: _ReadValue
    null: Any
    """What null makes of it, or `_KEEP`."""


_KEEP: Final = object()
"""Null leaves the field as it was."""


def _on_null(kind: inspect.Type) -> Any:
    """What null makes of a field of this type."""
    if _accepts_none(kind):
        return None
    containers = (inspect.DictType, inspect.VarTupleType, inspect.ListType, inspect.BytesType)
    return _zero(kind) if isinstance(kind, containers) else _KEEP


def _struct_reader(kind: inspect.StructType) -> _ReadValue:
    if not kind.forbid_unknown_fields:
        raise TypeError(f"{kind.cls.__name__} must be declared with forbid_unknown_fields=True")
    fields = {
        _fold(field.encode_name): _Field(field.encode_name, _reader(field.type), _on_null(field.type))
        for field in kind.fields
    }
    zeros = {field.encode_name: _zero(field.type) for field in kind.fields if field.required}

    def read(value: Tree, before: Any) -> Any:
        if not isinstance(value, JsonObject):
            return _read_plain(value, None)
        values = before if isinstance(before, dict) else copy.deepcopy(zeros)  # what is read goes into them
        for key, item in value.pairs:
            field = fields.get(_fold(key))
            if field is None:
                continue
            if item is not None:
                values[field.name] = field.read(item, values.get(field.name))
            elif field.null is not _KEEP:
                values[field.name] = copy.deepcopy(field.null)
        return values

    return read


def _map_reader(kind: inspect.DictType) -> _ReadValue:
    read_item, zero = _reader(kind.value_type), _zero(kind.value_type)

    def read(value: Tree, before: Any) -> Any:
        if not isinstance(value, JsonObject):
            return _read_plain(value, None)
        values = before if isinstance(before, dict) else {}
        for key, item in value.pairs:
            values[_clean(key)] = zero if item is None else read_item(item, None)
        return values

    return read


def _list_reader(kind: inspect.VarTupleType | inspect.ListType) -> _ReadValue:
    read_item, zero = _reader(kind.item_type), _zero(kind.item_type)

    def read(value: Tree, before: Any) -> Any:
        if not isinstance(value, list):
            return _read_plain(value, None)
        return [zero if item is None else read_item(item, None) for item in value]

    return read


def _read_plain(value: Tree, before: Any) -> Any:
    """A value without a type of its own; whether it fits its field is for msgspec to say."""
    match value:
        case str():
            return _clean(value)
        case JsonObject():
            return {_clean(key): _read_plain(item, None) for key, item in value.pairs}
        case list():
            return [_read_plain(item, None) for item in value]
        case _:
            return value


def _read_bytes(value: Tree, before: Any) -> Any:
    """Base64, or a list of numbers."""
    match value:
        case str():
            try:
                return base64.b64decode(value.replace("\r", "").replace("\n", ""), validate=True)
            except (binascii.Error, ValueError) as error:
                raise ValueError(f"not base64 with padding: {error}") from error
        case list():
            return bytes(0 if number is None else _byte(number) for number in value)
        case _:
            return _read_plain(value, None)


def _byte(number: Tree) -> int:
    """One number of a list that stands for bytes."""
    if type(number) is not int or not 0 <= number <= 255:
        raise ValueError("not a list of bytes")
    return number
