from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from penstock.uploads.errors import BadHeader, InconsistentLength
from penstock.uploads.protocols import resumable
from penstock.uploads.protocols.resumable import Dialect

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "version"),
    [("3", 3), ("10", 10), ("6;x=y", 6), ("2", None), ("11", None), ("6.0", None), ("?1", None), ("six", None)],
)
def test_the_version(said: str, version: int | None) -> None:
    assert resumable.dialect_of({"upload-draft-interop-version": said}).version == version


@pytest.mark.parametrize("name", ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"])
def test_through_a_proxy_only_whoever_passes_them_on_is_sent_interim_responses(name: str) -> None:
    spoken = {"upload-draft-interop-version": "6"}
    assert resumable.dialect_of(spoken).informs
    assert not resumable.dialect_of({**spoken, name: "x"}).informs
    assert resumable.dialect_of({**spoken, name: "x", "penstock-interim": "pass"}).informs


@pytest.mark.parametrize(
    ("headers", "complete"),
    [
        ({"upload-complete": "?1"}, True),
        ({"upload-complete": "?0"}, False),
        ({"upload-complete": "?1;why=now"}, True),
        ({"upload-complete": "true"}, None),
        ({"upload-complete": "1"}, None),
        ({"upload-complete": "?1, ?0"}, None),
        ({"upload-incomplete": "?0"}, None),
        ({}, None),
        ({"upload-draft-interop-version": "3", "upload-incomplete": "?0"}, True),
        ({"upload-draft-interop-version": "3", "upload-incomplete": "?1"}, False),
        ({"upload-draft-interop-version": "3", "upload-complete": "?1"}, None),
    ],
)
def test_whether_a_request_completes_its_upload(headers: dict[str, str], complete: bool | None) -> None:
    assert resumable.completes(headers) is complete


@pytest.mark.parametrize(
    ("headers", "meant"),
    [
        ({"upload-draft-interop-version": "99"}, True),
        ({"upload-complete": "?0"}, True),
        ({"content-type": "application/partial-upload"}, True),
        ({"content-type": "application/octet-stream", "upload-offset": "0"}, False),
    ],
)
def test_whether_a_request_is_one_of_this_protocol(headers: dict[str, str], meant: bool) -> None:
    assert resumable.is_meant(headers) is meant


@pytest.mark.parametrize(
    ("headers", "body_bytes", "length"),
    [
        ({"upload-complete": "?1"}, 5, 15),
        ({"upload-complete": "?1", "upload-length": "15"}, 5, 15),
        ({"upload-complete": "?1"}, None, None),
        ({"upload-complete": "?1", "upload-length": "15"}, None, 15),
        ({"upload-complete": "?0"}, 5, None),
        ({"upload-complete": "?0", "upload-length": "99"}, 5, 99),
        ({"upload-complete": "?0", "upload-length": "?1"}, 5, None),
    ],
)
def test_the_length_that_a_request_tells(headers: dict[str, str], body_bytes: int | None, length: int | None) -> None:
    typed = {**headers, "content-type": "Application/Partial-Upload ; a=b"}
    assert resumable.append(typed, 10, body_bytes).length == length


@pytest.mark.parametrize("complete", ["?0", "?1"])
@pytest.mark.parametrize("body_bytes", [5, None])
def test_a_length_that_is_too_small(complete: str, body_bytes: int | None) -> None:
    headers = {"upload-complete": complete, "upload-length": "9", "content-type": resumable.PARTIAL_TYPE}
    with pytest.raises(InconsistentLength, match="Upload-Length is 9"):
        resumable.append(headers, 10, body_bytes)


def test_a_request_must_say_whether_it_is_the_last_one() -> None:
    with pytest.raises(BadHeader, match="Upload-Complete is missing"):
        resumable.creation({}, 0)


@pytest.mark.parametrize("offset", ["", "-1", "?1", "1.5", "a", "1000000000000000"])
def test_an_offset_is_a_whole_number(offset: str) -> None:
    with pytest.raises(BadHeader, match="Upload-Offset"):
        resumable.offset_of({"upload-offset": offset})


@pytest.mark.parametrize(
    ("version", "told"),
    [(5, None), (6, "max-size=9, expires=60"), (7, "max-size=9, max-age=60"), (None, "max-size=9, max-age=60")],
)
def test_limits(version: int | None, told: str | None) -> None:
    header = resumable.limits(9, NOW + timedelta(minutes=1), NOW, Dialect(version))
    assert header.get("Upload-Limit") == told
    assert resumable.limits(None, None, NOW, Dialect(version)) == {}


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('inline; filename="a b.bin"', "a b.bin"),
        ("inline; filename=\"e.txt\"; filename*=UTF-8''%e2%82%ac.txt", "€.txt"),
        ("inline", None),
        ("attachment; filename=x", "x"),
    ],
)
def test_the_name_of_a_file(disposition: str, name: str | None) -> None:
    assert resumable.filename_of({"content-disposition": disposition}) == name
    assert resumable.filename_of({}) is None
