from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidRequest
from penstock.uploads.errors import BadHeader, TooLarge, UnsupportedBody, VersionMismatch
from penstock.uploads.protocols import tus
from penstock.uploads.upload import Phase, Upload

BODY = {"content-type": tus.BODY_TYPE}
FINAL = f"final;/uploads/{'0' * 32}"
MD5 = base64.b64encode(b"md5 " + b"0" * 32).decode()
NOW = datetime(2026, 3, 1, 12, 30, 5, 999_000, tzinfo=UTC)


def upload(**changes: object) -> Upload:
    values = {"id": "0" * 32, "filename": "a", "size_bytes": 10, "created_at": NOW, "expires_at": NOW, **changes}
    return Upload(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["0.2.2", "1.0", "1.0.0, 1.0.0", "", " 1.0.0", "2.0.0"])
def test_another_version_is_refused(version: str) -> None:
    with pytest.raises(VersionMismatch, match=r"Send Tus-Resumable: 1\.0\.0"):
        tus.check_version({"tus-resumable": version})


def test_a_version_must_be_named() -> None:
    with pytest.raises(VersionMismatch, match="no Tus-Resumable header"):
        tus.check_version({})
    tus.check_version({"tus-resumable": "1.0.0"})


@pytest.mark.parametrize("text", ["0", "7", "007", "9" * 18])
def test_numbers(text: str) -> None:
    assert tus.number({"upload-offset": text}, "Upload-Offset") == int(text)


@pytest.mark.parametrize(
    "text", ["", " 5", "5 ", "+5", "-1", "1_000", "0x10", "1.0", "1e3", "²", "٣", "5\n", "1, 1", "9" * 19, "nan"]
)
def test_what_python_takes_for_a_number_is_none(text: str) -> None:
    with pytest.raises(BadHeader, match="not a whole number"):
        tus.number({"upload-offset": text}, "Upload-Offset")


@given(st.text())
def test_any_text_is_a_number_or_refused(text: str) -> None:
    try:
        assert 0 <= tus.number({"n": text}, "N") < 10**18
    except BadHeader:
        return
    assert text.isascii()
    assert text.isdigit()


@pytest.mark.parametrize(
    ("method", "override", "meant"),
    [("POST", None, "POST"), ("POST", "PATCH", "PATCH"), ("GET", "delete", "DELETE"), ("PUT", "HEAD", "HEAD")],
)
def test_the_method_can_be_overridden(method: str, override: str | None, meant: str) -> None:
    headers = {} if override is None else {"x-http-method-override": override}
    assert tus.method_of(method, headers) == meant


@pytest.mark.parametrize("override", ["", "PATCH, PATCH", "PA TCH", "X" * 21])
def test_an_override_must_be_a_method(override: str) -> None:
    with pytest.raises(BadHeader, match="not a method"):
        tus.method_of("POST", {"x-http-method-override": override})


def test_a_creation_without_a_body() -> None:
    wanted = tus.creation({"upload-length": "5", "content-type": "text/plain"}, 0)
    assert (wanted.size_bytes, wanted.with_body) == (5, False)


@pytest.mark.parametrize("length", [3, 5, None])
def test_a_creation_with_a_body(length: int | None) -> None:
    assert tus.creation({"upload-length": "5", **BODY}, length).with_body


@pytest.mark.parametrize(
    ("headers", "length", "error"),
    [
        ({}, 0, BadHeader),
        ({"upload-length": "-1"}, 0, BadHeader),
        ({"upload-defer-length": "2"}, 0, BadHeader),
        ({"upload-length": "5", "upload-defer-length": "1"}, 0, BadHeader),
        ({"upload-length": "5", "upload-concat": FINAL}, 0, BadHeader),
        ({"upload-defer-length": "1", "upload-concat": FINAL}, 0, BadHeader),
        ({"upload-concat": FINAL, **BODY}, 3, BadHeader),
        ({"upload-concat": "partial"}, 0, BadHeader),
        ({"upload-length": "5", "upload-concat": "partial", "upload-metadata": f"checksum {MD5}"}, 0, BadHeader),
        ({"upload-length": "5", "content-type": "text/plain"}, 3, UnsupportedBody),
        ({"upload-length": "5"}, None, UnsupportedBody),
        ({"upload-length": "5", **BODY}, 6, TooLarge),
        ({"upload-length": "5", "upload-metadata": "a YQ==,a YQ=="}, 0, BadHeader),
    ],
)
def test_a_creation_that_cannot_be(headers: dict[str, str], length: int | None, error: type[InvalidRequest]) -> None:
    with pytest.raises(error):
        tus.creation(headers, length)


def test_creations_without_a_length_of_their_own() -> None:
    assert tus.creation({"upload-defer-length": "1"}, 0).size_bytes is None
    part = tus.creation({"upload-length": "5", "upload-concat": "partial", **BODY}, 5)
    assert (part.concat, part.is_final, part.size_bytes) == ("partial", False, 5)
    final = tus.creation({"upload-concat": FINAL, "upload-metadata": f"checksum {MD5}"}, 0)
    assert (final.concat, final.is_final, final.size_bytes) == (FINAL, True, None)


def test_the_status_of_parts_and_of_what_is_made_of_them() -> None:
    assert tus.status_headers(upload(concat="partial"), 3)["Upload-Concat"] == "partial"
    waiting = tus.status_headers(upload(concat=FINAL), 0)
    assert (waiting["Upload-Concat"], waiting["Upload-Length"]) == (FINAL, "10")
    assert "Upload-Offset" not in waiting
    assert tus.status_headers(upload(concat=FINAL, phase=Phase.PROCESSING), 10)["Upload-Offset"] == "10"


def test_a_length_that_is_not_known_is_deferred() -> None:
    assert tus.status_headers(upload(size_bytes=None), 3)["Upload-Defer-Length"] == "1"
    assert tus.continuation({"upload-offset": "5", "upload-length": "7", **BODY}).size_bytes == 7
    assert tus.continuation({"upload-offset": "5", **BODY}).size_bytes is None


def test_a_continuation() -> None:
    assert tus.continuation({"upload-offset": "5", **BODY}) == (5, None)


@pytest.mark.parametrize("sent", ["", "application/octet-stream", "text/plain; x=application/offset+octet-stream"])
def test_a_continuation_declares_its_body(sent: str) -> None:
    with pytest.raises(UnsupportedBody, match=r"Send the bytes as application/offset\+octet-stream"):
        tus.continuation({"upload-offset": "5", "content-type": sent})


@pytest.mark.parametrize("sent", ["Application/Offset+Octet-Stream", "application/offset+octet-stream ; charset=x"])
def test_media_types_are_compared_as_such(sent: str) -> None:
    assert tus.continuation({"upload-offset": "5", "content-type": sent}).offset == 5


def test_options_tell_what_there_is() -> None:
    assert tus.options_headers(None) == {
        "Tus-Version": "1.0.0",
        "Tus-Extension": "creation,creation-with-upload,creation-defer-length,termination,expiration,checksum,"
        "checksum-trailer,concatenation,concatenation-unfinished",
        "Tus-Checksum-Algorithm": "crc32,crc32c,md5,sha1,sha256,sha512",
    }
    assert tus.options_headers(100)["Tus-Max-Size"] == "100"


def test_only_unfinished_uploads_expire() -> None:
    assert tus.expiry_headers(upload()) == {"Upload-Expires": "Sun, 01 Mar 2026 12:30:05 GMT"}
    assert tus.expiry_headers(upload(phase=Phase.PROCESSING)) == {}
    assert tus.expiry_headers(upload(expires_at=None)) == {}


def test_the_status_repeats_what_was_sent() -> None:
    assert tus.status_headers(upload(metadata="a YQ==,b", expires_at=None), 7) == {
        "Upload-Offset": "7",
        "Cache-Control": "no-store",
        "Upload-Length": "10",
        "Upload-Metadata": "a YQ==,b",
    }
    assert "Upload-Length" not in tus.status_headers(upload(size_bytes=None), 7)
