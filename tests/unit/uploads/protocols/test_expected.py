"""What the bytes of a request must hash to."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import pytest

from penstock.uploads.errors import BadHeader, ChecksumMismatch, DigestMismatch, MissingTrailer
from penstock.uploads.protocols.checksum import ALGORITHMS
from penstock.uploads.protocols.expected import TUS_FIELDS, Expected, Tally, expected_of

FIELDS = (*TUS_FIELDS, "Repr-Digest")


def digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def sha1(body: bytes) -> str:
    return f"sha1 {base64.b64encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode()}"


def expected(headers: Mapping[str, str], trailers: Mapping[str, str] | None = None) -> Expected:
    found = expected_of(headers, FIELDS, chunked=trailers is not None, trailers=lambda: trailers or {})
    assert found is not None
    return found


def tally(what: Expected, *, earlier: bytes = b"", body: bytes = b"hello") -> Tally:
    found = Tally(what, from_start=not earlier)
    if found.wants_earlier:
        found.add_earlier(earlier)
    found.add(body)
    return found


def test_of_most_requests_nothing_is_expected() -> None:
    assert expected_of({"trailer": "X-Other"}, FIELDS, chunked=False, trailers=dict) is None


def test_all_that_is_said_has_to_be_right() -> None:
    headers = {"upload-checksum": sha1(b"hello"), "content-digest": digest(b"hello"), "trailer": "repr-digest ,X"}
    tally(expected(headers, {"repr-digest": digest(b"hello")})).check(complete=True)
    for wrong in ("upload-checksum", "content-digest"):
        changed = headers | {wrong: sha1(b"x") if wrong == "upload-checksum" else digest(b"x")}
        with pytest.raises(ChecksumMismatch):
            tally(expected(changed, {"repr-digest": digest(b"hello")})).check(complete=True)
    with pytest.raises(DigestMismatch, match="of the file"):
        tally(expected(headers, {"repr-digest": digest(b"x")})).check(complete=True)


def test_the_digest_of_a_file_counts_when_it_is_complete() -> None:
    whole = expected({"repr-digest": digest(b"say hello"), "content-digest": digest(b"hello")})
    tally(whole, earlier=b"say ").check(complete=True)
    for earlier in (b"", b"sag "):
        tally(whole, earlier=earlier).check(complete=False)
        with pytest.raises(DigestMismatch):
            tally(whole, earlier=earlier).check(complete=True)


def test_only_what_may_be_asked_for_is_computed() -> None:
    known = expected({"content-digest": digest(b"")})
    assert known.algorithms(whole=False) == {"sha256"}
    assert not known.algorithms(whole=True)
    later = expected({"trailer": "Upload-Checksum, Repr-Digest"}, {})
    assert later.algorithms(whole=False) == ALGORITHMS.keys()
    assert later.algorithms(whole=True) == {"sha256", "sha512"}
    assert not Tally(known, from_start=False).wants_earlier
    assert Tally(later, from_start=False).wants_earlier


def test_what_is_announced_has_to_come() -> None:
    with pytest.raises(MissingTrailer):
        tally(expected({"trailer": "Content-Digest"}, {"content-digests": ""})).check(complete=True)
    with pytest.raises(BadHeader, match="chunked"):
        expected({"trailer": "Content-Digest"})


def test_no_bytes_at_all() -> None:
    expected({"content-digest": digest(b""), "upload-checksum": sha1(b"")}).check_nothing()
    with pytest.raises(DigestMismatch):
        expected({"content-digest": digest(b"hello")}).check_nothing()
    with pytest.raises(BadHeader, match="no body"):
        expected({"trailer": "content-digest"}, {}).check_nothing()
