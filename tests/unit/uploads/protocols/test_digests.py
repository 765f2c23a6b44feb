"""Digest fields, as they are written."""

from __future__ import annotations

import base64
import hashlib

import pytest

from penstock.uploads.errors import InvalidDigest, UnsupportedDigest
from penstock.uploads.protocols.checksum import Checksum
from penstock.uploads.protocols.digests import as_metadata, read_digests, repr_digest
from penstock.uploads.protocols.metadata import file_checksum

SHA256, SHA512 = hashlib.sha256(b"hello").digest(), hashlib.sha512(b"hello").digest()
ONE = f"sha-256=:{base64.b64encode(SHA256).decode()}:"
OTHER = f"sha-512=:{base64.b64encode(SHA512).decode()}:"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (ONE, (Checksum("sha256", SHA256),)),
        (OTHER, (Checksum("sha512", SHA512),)),
        (f"{OTHER} ,\t{ONE};x=1", (Checksum("sha256", SHA256), Checksum("sha512", SHA512))),
        (f"md5=:AAAA:, {ONE}", (Checksum("sha256", SHA256),)),
    ],
)
def test_digests_that_are_known_are_found(value: str, found: tuple[Checksum, ...]) -> None:
    assert read_digests("Content-Digest", value) == found


@pytest.mark.parametrize("value", ["", "md5=:AAAA:", "sha256=:AAAA:"])
def test_a_field_without_any_that_is_known(value: str) -> None:
    with pytest.raises(UnsupportedDigest, match=r"Repr-Digest names .* sha-256, sha-512"):
        read_digests("Repr-Digest", value)


@pytest.mark.parametrize(
    "value",
    ["x y", "sha-256=", "sha-256=:AAAA:", "sha-256=1", "sha-256", "sha-256=(:AAAA:)", f"{ONE}, {ONE[:-2]}", "é"],
)
def test_a_field_that_cannot_be_read(value: str) -> None:
    with pytest.raises(InvalidDigest):
        read_digests("Repr-Digest", value)


def test_the_digest_of_a_file_is_kept_as_its_checksum() -> None:
    assert file_checksum(as_metadata(read_digests("Repr-Digest", f"{OTHER}, {ONE}"))) == Checksum("sha256", SHA256)
    assert as_metadata(()) == ""


def test_readers_are_told_the_digest_unless_they_decline_it() -> None:
    known = Checksum("sha256", SHA256)
    for wishes in ("sha-256=1", "sha-512=9", "x y", "sha-256=10"):
        assert repr_digest(known, {"want-repr-digest": wishes}) == {"Repr-Digest": ONE}
    assert repr_digest(known, {}) == {"Repr-Digest": ONE}
    assert repr_digest(known, {"want-repr-digest": "sha-256=0, sha-512=5"}) == {}
    assert repr_digest(None, {}) == repr_digest(Checksum("md5", b""), {}) == {}
