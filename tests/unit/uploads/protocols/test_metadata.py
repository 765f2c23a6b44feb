from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.uploads.errors import BadHeader
from penstock.uploads.protocols.metadata import LONGEST_BYTES, UNKNOWN_TYPE, checked_space, media_type_of, read_metadata


def pair(key: str, value: str | bytes) -> str:
    raw = value.encode() if isinstance(value, str) else value
    return f"{key} {base64.b64encode(raw).decode()}"


def test_names_types_and_spaces_are_read() -> None:
    header = ",".join([pair("filename", "Übung.pdf"), pair("filetype", "Application/PDF"), pair("space", "lab")])
    found = read_metadata(header)
    assert found == ("Übung.pdf", "application/pdf", "lab", None, header, None)


def test_the_other_names_that_clients_use_are_read() -> None:
    found = read_metadata(f"{pair('name', 'a.txt')}, {pair('type', 'text/plain')}")
    assert (found.filename, found.media_type) == ("a.txt", "text/plain")


def test_filename_and_filetype_come_first() -> None:
    header = ",".join([pair("name", "b"), pair("filename", "a"), pair("type", "x/b"), pair("filetype", "x/a")])
    assert read_metadata(header)[:2] == ("a", "x/a")


@pytest.mark.parametrize("header", ["", " ", "is_confidential", "key ", pair("other", b"\xff\xfe\0")])
def test_metadata_may_say_nothing_to_us(header: str) -> None:
    found = read_metadata(header)
    assert found == (None, UNKNOWN_TYPE, "default", None, header, None)


def test_an_empty_name_is_not_the_same_as_none() -> None:
    assert read_metadata("filename").filename == ""


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("a YQ==,a YQ==", "twice"),
        (",", "empty"),
        ("a YQ==,", "empty"),
        (",a YQ==", "empty"),
        ("schlüssel YQ==", "plain ASCII"),
        ("a YQ", "not base64"),
        ("a Y!Q=", "not base64"),
        ("a YQ== YQ==", "not base64"),
        ("a YQ-_", "not base64"),
        ("filename /w==", "not UTF-8"),
        ("a " + "A" * LONGEST_BYTES, "more than"),
    ],
)
def test_what_cannot_be_read_is_refused(header: str, reason: str) -> None:
    with pytest.raises(BadHeader, match=reason):
        read_metadata(header)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,20}", fullmatch=True), st.binary(max_size=200), max_size=5))
def test_any_binary_value_is_kept_as_sent(values: dict[str, bytes]) -> None:
    for name in ("filename", "name", "filetype", "type", "space"):
        values.pop(name, None)
    header = ",".join(pair(key, value) for key, value in values.items())
    assert read_metadata(header).raw == header


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("text/plain; charset=utf-8", "text/plain"),
        ("IMAGE/PNG", "image/png"),
        ("", UNKNOWN_TYPE),
        ("text", UNKNOWN_TYPE),
        ("text/plain\r\nX: y", UNKNOWN_TYPE),
        ("a/b/c", UNKNOWN_TYPE),
        ("text/<script>", UNKNOWN_TYPE),
    ],
)
def test_a_media_type_is_one_or_neutral(sent: str, kept: str) -> None:
    assert media_type_of(sent) == kept


@pytest.mark.parametrize("space", ["", "a\nb", "a\0b", "x" * 201, "a\x9bb", "a\u2028b", "\u202ea"])
def test_a_space_has_a_printable_name(space: str) -> None:
    with pytest.raises(BadHeader, match=r"200 characters|control character|turns the direction"):
        checked_space(space)


@pytest.mark.parametrize(
    ("path", "filename", "meant"),
    [
        ("a/b.txt", "own.txt", "a/b.txt"),
        ("a/", "own.txt", "a/own.txt"),
        ("a/", None, "a/"),
        ("", "own.txt", None),
        (None, "own.txt", None),
    ],
)
def test_a_path_that_ends_with_a_slash_is_a_folder(path: str | None, filename: str | None, meant: str | None) -> None:
    said = {"path": path, "filename": filename}
    found = read_metadata(",".join(pair(key, value) for key, value in said.items() if value is not None))
    assert (found.path, found.filename) == (meant, filename)
