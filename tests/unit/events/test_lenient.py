from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.events.lenient import JsonObject, Reader, parse
from penstock.events.types import BytesReceived, OpaqueEntry, PostprocessingStepFinished, User


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    a: str = ""
    b: int = 0


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field of each kind that reading treats differently; the first ones have no default."""

    text: str
    flag: bool
    number: int
    fraction: float
    data: bytes
    inner: Inner
    words: tuple[str, ...]
    names: list[str]
    table: dict[str, int]
    maybe: Inner | None
    either: int | str | None
    anything: Any = "default"
    kelvins: int = 7


ZERO = Outer("", False, 0, 0.0, b"", Inner(), (), [], {}, None, None)


def read(text: str | bytes, struct: type[Any] = Outer) -> Any:
    return Reader(struct).read(parse(text.encode() if isinstance(text, str) else text))


def change(**values: Any) -> Outer:
    return msgspec.structs.replace(ZERO, **values)


@pytest.mark.parametrize("text", ["{}", "null", '{"unknown":{"deep":[1]}}'])
def test_missing_keys_read_as_zero_values(text: str) -> None:
    assert read(text) == ZERO


@pytest.mark.parametrize("text", ['{"inner":{"a":"x"}}', '{"table":null,"table":{"a":1},"names":null}'])
def test_nothing_of_one_text_is_left_in_the_next(text: str) -> None:
    reader = Reader(Outer)
    assert reader.read(parse(text.encode())) != ZERO
    assert reader.read(parse(b"{}")) == ZERO
    assert reader.read(parse(b'{"table":null}')) == ZERO


@pytest.mark.parametrize(
    "text",
    [
        '{"text":null,"flag":null,"number":null,"fraction":null,"data":null,"inner":null,"words":null}',
        '{"names":null,"table":null,"maybe":null,"either":null,"kelvins":null}',
    ],
)
def test_null_leaves_zero_values(text: str) -> None:
    assert read(text) == ZERO


def test_null_keeps_what_a_plain_field_had_and_empties_the_rest() -> None:
    text = (
        '{"text":"t","flag":true,"number":1,"fraction":0.5,"inner":{"a":"x"},"data":"AA==","words":["w"],'
        '"names":["n"],"table":{"k":1},"maybe":{"a":"y"},"either":1,"anything":1,'
        '"text":null,"flag":null,"number":null,"fraction":null,"inner":null,"data":null,"words":null,'
        '"names":null,"table":null,"maybe":null,"either":null,"anything":null}'
    )
    kept = change(text="t", flag=True, number=1, fraction=0.5, inner=Inner("x"), anything=None)
    assert read(text) == kept


@pytest.mark.parametrize("key", ["kelvins", "KELVINS", "Kelvins", "\u212aelvin\u017f"])
def test_keys_match_in_any_case_as_go_folds_it(key: str) -> None:
    assert read(f'{{"{key}":1}}') == change(kelvins=1)


@pytest.mark.parametrize("key", ["kelvıns", "kelvinß", "kelvins ", ""])
def test_other_keys_are_unknown(key: str) -> None:
    assert read(f'{{"{key}":1}}') == ZERO


def test_of_repeated_keys_the_last_one_counts_in_whatever_case() -> None:
    assert read('{"number":1,"NUMBER":2,"number":3,"Number":4}') == change(number=4)
    assert read('{"anything":{"a":1},"anything":{"b":2}}') == change(anything={"b": 2})


def test_repeated_objects_are_merged() -> None:
    assert read('{"maybe":{"a":"x"},"MAYBE":{"b":2}}') == change(maybe=Inner("x", 2))
    assert read('{"inner":{"a":"x"},"inner":{"b":2}}') == change(inner=Inner("x", 2))
    assert read('{"table":{"a":1,"b":1},"table":{"b":2}}') == change(table={"a": 1, "b": 2})
    assert read('{"maybe":{"a":"x"},"maybe":null,"maybe":{"b":2}}') == change(maybe=Inner("", 2))


def test_null_within_lists_and_maps_is_a_zero_value() -> None:
    assert read('{"words":["a",null],"names":[null],"table":{"k":null}}') == change(
        words=("a", ""), names=[""], table={"k": 0}
    )
    user = read('{"opaque":{"map":{"gone":null,"kept":{"value":"AA=="}}}}', User)
    assert user.opaque.map == {"gone": None, "kept": OpaqueEntry(value=b"\0")}


@pytest.mark.parametrize("written", ['"aGk="', '"aG\\nk=\\r\\n"', "[104,105]"])
def test_bytes_are_base64_or_numbers(written: str) -> None:
    assert read(f'{{"data":{written}}}') == change(data=b"hi")
    assert read('{"data":[null,255]}') == change(data=b"\0\xff")


@pytest.mark.parametrize(
    "written", ['"aGk"', '"aG k="', '"_-8="', "[256]", "[-1]", "[1.0]", "[true]", '["a"]', "5", "{}", "true"]
)
def test_other_bytes_are_refused(written: str) -> None:
    with pytest.raises(ValueError):
        read(f'{{"data":{written}}}')


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (b"a\xffb", "a\ufffdb"),
        (b"\xe2\x82", "\ufffd\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (rb"\ud800", "\ufffd"),
        (rb"\udc00\ud800x", "\ufffd\ufffdx"),
        (rb"\ud83d\ude00", "😀"),
    ],
)
def test_broken_text_is_repaired_as_go_does(written: bytes, text: str) -> None:
    assert read(b'{"text":"' + written + b'"}') == change(text=text)
    assert read(b'{"anything":{"' + written + b'":["' + written + b'"]}}') == change(anything={text: [text]})
    assert read(b'{"words":["' + written + b'"]}') == change(words=(text,))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}{}",
        "{'text':1}",
        '{"text":"a",}',
        '{"text":"a\nb"}',
        '{"number":NaN}',
        '{"anything":Infinity}',
        '{"anything":-Infinity}',
        '{"anything":1e999}',
        '{"number":' + "9" * 5000 + "}",
        "\ufeff{}",
        "[" * 200_000,
        '{"anything":' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read(text)


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("text", "5"),
        ("text", "true"),
        ("text", "[]"),
        ("text", "{}"),
        ("flag", "1"),
        ("flag", '"true"'),
        ("number", "5.0"),
        ("number", "1e2"),
        ("number", '"5"'),
        ("number", "true"),
        ("fraction", '"0.5"'),
        ("inner", "[]"),
        ("inner", '"x"'),
        ("inner", '{"a":1}'),
        ("maybe", "5"),
        ("words", '"x"'),
        ("words", "[1]"),
        ("words", "{}"),
        ("names", "{}"),
        ("table", "[]"),
        ("table", '{"k":"1"}'),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_and_the_place_named(field: str, written: str) -> None:
    with pytest.raises(ValueError, match=rf"\$\.{field}"):
        read(f'{{"{field}":{written}}}')


@pytest.mark.parametrize("text", ["[]", "5", '"x"', "true"])
def test_only_an_object_is_a_struct(text: str) -> None:
    with pytest.raises(ValueError):
        read(text)


def test_a_number_without_decimals_is_a_fraction_too() -> None:
    assert read('{"fraction":1}') == change(fraction=1.0)


def test_deep_nesting_is_refused_where_the_quick_way_gives_up() -> None:
    payload = b'{"UploadID":"u","Result":' + b"[" * 3000 + b"]" * 3000 + b"}"
    with pytest.raises(ValueError):
        read(payload, PostprocessingStepFinished)


def test_a_tree_is_asked_for_the_last_of_a_key() -> None:
    tree = parse(b'{"Result":1,"result":2,"Other":3,"Null":4,"Null":null}')
    assert isinstance(tree, JsonObject)
    assert tree.last("Result") == 2
    assert tree.last("Null") is None
    assert tree.last("Missing") is None


def test_an_event_without_its_required_keys_is_still_read() -> None:
    assert read("{}", BytesReceived) == BytesReceived(upload_id="")
