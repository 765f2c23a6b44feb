from __future__ import annotations

import base64
import hashlib
import zlib

import pytest

from penstock.uploads.errors import ChecksumMismatch, UnsupportedChecksum
from penstock.uploads.protocols.checksum import ALGORITHMS, Checksum, mismatch, read_checksum

BODY = b"hello world"


def test_the_mandatory_algorithm_and_more_are_there() -> None:
    assert list(ALGORITHMS) == ["crc32", "crc32c", "md5", "sha1", "sha256", "sha512"]


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_digests_are_those_of_hashlib(algorithm: str) -> None:
    computing = ALGORITHMS[algorithm]()
    computing.update(BODY[:5])
    computing.update(BODY[5:])
    assert computing.digest() == hashlib.new(algorithm, BODY).digest()


def test_crc32c_is_that_of_iscsi_in_network_order() -> None:
    computing = ALGORITHMS["crc32c"]()
    for piece in (b"1234", b"", b"56789"):
        computing.update(piece)
    assert computing.digest() == bytes.fromhex("e3069283")  # RFC 3720, and every catalogue of checksums


def test_crc32_is_that_of_zip_in_network_order() -> None:
    computing = ALGORITHMS["crc32"]()
    computing.update(BODY[:5])
    computing.update(BODY[5:])
    assert computing.digest() == zlib.crc32(BODY).to_bytes(4, "big") == bytes.fromhex("0d4a1185")


def test_the_example_of_the_protocol_is_read() -> None:
    found = read_checksum("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=")
    assert found == Checksum("sha1", hashlib.sha1(BODY, usedforsecurity=False).digest())


@pytest.mark.parametrize(
    "header", ["", "sha1", "SHA1 AAAA", "sha3 AAAA", "crc64 AAAAAA==", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0", "md5 !!!="]
)
def test_what_cannot_be_computed_or_read_is_refused(header: str) -> None:
    with pytest.raises(UnsupportedChecksum, match=r"Upload-Checksum: .*\."):
        read_checksum(header)


def test_a_digest_of_the_wrong_size_matches_no_body() -> None:
    with pytest.raises(ChecksumMismatch, match="no sha256 digest"):
        read_checksum(f"sha256 {base64.b64encode(bytes(20)).decode()}")


def test_a_mismatch_names_both() -> None:
    error = mismatch(Checksum("crc32", b"\0\0\0\0"), b"\x0d\x4a\x11\x85")
    assert "DUoRhQ==" in str(error)
    assert "AAAAAA==" in str(error)
    assert "send the same bytes again" in str(error)
