"""Fields, and the files that they are about."""

from __future__ import annotations

import pytest

from penstock.errors import InvalidRequest
from penstock.http.form_fields import Fields, Wish
from penstock.uploads.protocols.metadata import UNKNOWN_TYPE, file_checksum

MD5 = "md5 " + "0" * 32


def test_a_field_is_about_the_next_file() -> None:
    fields = Fields(None)
    fields.add("name", "a.txt")
    fields.add("type", "text/plain")
    fields.add("checksum", MD5)
    fields.add("other", "x")
    first = fields.next("image/png")
    assert (first.name, first.media_type) == ("a.txt", "text/plain")
    checksum = file_checksum(first.metadata)
    assert checksum is not None
    assert f"{checksum.algorithm} {checksum.digest.hex()}" == MD5
    assert fields.next("image/png; x=y") == Wish(None, None, "", "image/png", "")
    assert fields.next("nonsense").media_type == UNKNOWN_TYPE
    fields.check_used()


def test_the_space_is_for_all_files() -> None:
    fields = Fields(None)
    fields.add("space", "lab")
    assert fields.space == "lab"
    fields.add("space", "lab")
    assert (fields.space, Fields(None).space, Fields("mine").space) == ("lab", "default", "mine")


@pytest.mark.parametrize(
    ("space", "added"),
    [
        ("mine", [("space", "other")]),
        (None, [("space", "a"), ("space", "b")]),
        (None, [("space", "")]),
        (None, [("name", "a"), ("name", "a")]),
        (None, [("checksum", "sha3 00")]),
        (None, [("path", "a/b"), ("path", "c")]),
        (None, [("path", "a/"), ("path", "c/")]),
        (None, [("path", "a/"), ("path", "c")]),
        (None, [("path", "a/b"), ("name", "c")]),
        (None, [("name", "c"), ("path", "a/b")]),
    ],
)
def test_what_cannot_be(space: str | None, added: list[tuple[str, str]]) -> None:
    fields = Fields(space)
    for name, value in added[:-1]:
        fields.add(name, value)
    with pytest.raises(InvalidRequest):
        fields.add(*added[-1])


def test_what_comes_too_late() -> None:
    fields = Fields(None)
    assert fields.space == "default"
    with pytest.raises(InvalidRequest, match="before the first"):
        fields.add("space", "lab")
    fields.add("name", "a")
    with pytest.raises(InvalidRequest, match="after the last file"):
        fields.check_used()
    late = Fields(None)
    late.add("path", "a/")
    with pytest.raises(InvalidRequest, match="'path' came after the last file"):
        late.check_used()


def test_a_path_is_about_the_next_file_and_a_folder_about_all_that_follow() -> None:
    fields = Fields(None)

    def where(*added: tuple[str, str], filename: str | None = "own.txt") -> tuple[str | None, str | None]:
        for name, value in added:
            fields.add(name, value)
        return fields.next("").whereabouts(filename)

    assert where() == ("own.txt", None)
    assert where(("path", "a/b.txt")) == ("own.txt", "a/b.txt")
    assert where() == ("own.txt", None)
    assert where(("path", "a/")) == ("own.txt", "a/own.txt")
    assert where(("name", "named.txt")) == ("named.txt", "a/named.txt")
    assert where(("path", "c/d.txt")) == ("own.txt", "c/d.txt")
    assert where() == ("own.txt", "a/own.txt")
    assert where(filename=None) == (None, "a/")
    assert where(("path", "")) == ("own.txt", None)
    fields.check_used()
