"""Fields, and the files that they are about."""

from __future__ import annotations

import pytest

from penstock.errors import InvalidRequest
from penstock.http.form_fields import Fields, Wish
from penstock.uploads.metadata import UNKNOWN_TYPE, file_checksum

MD5 = "md5 " + "0" * 32


def test_a_field_is_about_the_next_file() -> None:
    fields = Fields(None)
    fields.add("name", "a.txt")
    fields.add("type", "text/plain")
    fields.add("checksum", MD5)
    fields.add("other", "x")
    first = fields.next("image/png")
    assert first[:2] == ("a.txt", "text/plain")
    checksum = file_checksum(first.metadata)
    assert checksum is not None
    assert f"{checksum.algorithm} {checksum.digest.hex()}" == MD5
    assert fields.next("image/png; x=y") == Wish(None, "image/png", "")
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
