from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import unquote

import pytest

from penstock.errors import NotFound
from penstock.http.content import check_readable, disposition, served_type
from penstock.http.put import name_of, space_of
from penstock.uploads.errors import BadHeader, Gone
from penstock.uploads.file_errors import StillProcessing
from penstock.uploads.protocols.names import UnsafeName
from penstock.uploads.upload import Phase, Upload


@pytest.mark.parametrize(
    ("phase", "error"),
    [
        (Phase.RECEIVING, NotFound),
        (Phase.PROCESSING, StillProcessing),
        (Phase.REJECTED, Gone),
        (Phase.DELETED, Gone),
        (Phase.CANCELLED, Gone),
        (Phase.EXPIRED, Gone),
    ],
)
def test_only_released_files_are_read(phase: Phase, error: type[Exception]) -> None:
    upload = Upload(id="0" * 32, filename="a.txt", phase=phase, reason="why", created_at=datetime.now(UTC))
    with pytest.raises(error, match=r"a\.txt .*" + ("why" if error is Gone else "")):
        check_readable(upload)


def test_released_files_are() -> None:
    check_readable(Upload(id="0" * 32, filename="a", phase=Phase.RELEASED, created_at=datetime.now(UTC)))


@pytest.mark.parametrize(
    "name", ["a.txt", "a b.txt", 'q"uo\\te.txt', "Übung.pdf", "数据.csv", "a;b=c.txt", "100%.txt", "'"]
)
def test_a_browser_saves_the_file_under_its_name(name: str) -> None:
    kind, plain, extended = disposition(name).split("; ")
    assert kind == "attachment"
    assert plain.startswith('filename="')
    # Recipients prefer this one (RFC 6266, 4.3); its value is made of characters that stand for themselves (RFC 8187).
    encoded = extended.removeprefix("filename*=UTF-8''")
    assert re.fullmatch(r"[A-Za-z0-9._~%-]+", encoded)
    assert unquote(encoded) == name


def test_clients_that_know_only_ascii_get_a_name_without_tricks() -> None:
    assert disposition('é"\\%.pdf').startswith('attachment; filename="____.pdf"; ')


@pytest.mark.parametrize(
    "active",
    [
        "text/html",
        "application/xhtml+xml",
        "image/svg+xml",
        "text/xml",
        "text/javascript",
        "application/ecmascript",
        "text/css",
        "application/wasm",
        "TEXT/HTML",
    ],
)
def test_what_a_browser_could_run_is_served_as_bytes(active: str) -> None:
    assert served_type(active) == "application/octet-stream"


@pytest.mark.parametrize("harmless", ["image/png", "application/pdf", "text/plain", "application/zip"])
def test_other_types_are_kept(harmless: str) -> None:
    assert served_type(harmless) == harmless


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"/files/a.txt", "a.txt"),
        (b"/files/%C3%9Cbung%201.pdf", "Übung 1.pdf"),
        (b"/files/100%25.txt?space=x", "100%.txt"),
        (b"/files/a/b", "a/b"),
        (b"/files/%252e", "%2e"),
        (b"/files/", ""),
    ],
)
def test_a_name_is_decoded_once(raw: bytes, name: str) -> None:
    assert name_of({"raw_path": raw, "path": "ignored"}) == name


@pytest.mark.parametrize(
    "raw", [b"/files/..%2F..%2Fetc", b"/files/a%2fb", b"/files/%ff", b"/files/100%.txt", b"/files/%zz"]
)
def test_a_name_that_cannot_be_decoded_is_refused(raw: bytes) -> None:
    with pytest.raises(UnsafeName):
        name_of({"raw_path": raw, "path": ""})


def test_the_space_is_in_the_query() -> None:
    assert space_of({"query_string": b""}) == "default"
    assert space_of({"query_string": b"space=lab%201&x=y"}) == "lab 1"
    for query in (b"space=", b"space=a%0ab"):
        with pytest.raises(BadHeader):
            space_of({"query_string": query})
