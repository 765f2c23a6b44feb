from __future__ import annotations

import base64

import pytest

from penstock.cli.transfer import tus
from penstock.cli.transfer.tus import Meaning


def test_creation_names_the_file_in_metadata() -> None:
    headers = tus.creation(5, {"filename": "Übung.txt", "space": "default", "relativePath": ""})
    pairs = dict(pair.split(" ") for pair in headers["Upload-Metadata"].split(","))
    assert {key: base64.b64decode(value).decode() for key, value in pairs.items()} == {
        "filename": "Übung.txt",
        "space": "default",
    }
    assert headers["Upload-Length"] == "5"
    assert headers["Tus-Resumable"] == "1.0.0"
    assert headers["Content-Length"] == "0"


def test_a_name_that_is_no_text_is_sent_as_the_bytes_it_is() -> None:
    header = tus.creation(0, {"filename": "caf\udce9"})["Upload-Metadata"]
    assert base64.b64decode(header.split(" ")[1]) == b"caf\xe9"


def test_continuation_says_where_and_how_much() -> None:
    assert tus.continuation(7, 3) == {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": "7",
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": "3",
    }


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        (200, Meaning.DONE),
        (201, Meaning.DONE),
        (204, Meaning.DONE),
        (404, Meaning.GONE),
        (410, Meaning.GONE),
        *((status, Meaning.AGAIN) for status in (408, 409, 423, 425, 429, 500, 502, 503, 504)),
        *((status, Meaning.REFUSED) for status in (301, 400, 401, 403, 405, 412, 413, 415, 460, 501, 507)),
    ],
)
def test_each_status_has_one_meaning(status: int, meant: Meaning) -> None:
    assert tus.meaning(status) is meant


@pytest.mark.parametrize("text", ["", "+5", "-1", " 5", "5.0", "1_0", "²", "٣", "9" * 20])
def test_an_offset_is_plain_digits_or_none(text: str) -> None:
    assert tus.offset_in({"Upload-Offset": text}) is None
    assert tus.offset_in({"Upload-Offset": "12"}) == 12


def test_pauses() -> None:
    assert tus.pause_in({"Retry-After": "7"}) == 7.0
    assert tus.pause_in({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}) == 0.0
    assert tus.pause_in({}) == 0.0
