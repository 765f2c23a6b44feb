"""The checksum of a whole file, as clients write it."""

from __future__ import annotations

import hashlib
import zlib

import pytest

from penstock.uploads.errors import BadHeader
from penstock.uploads.protocols.integrity import FILE_ALGORITHMS, Adler32, read_file_checksum

SHA1 = hashlib.sha1(b"hello", usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("text", [f"sha1 {SHA1}", f"SHA1 {SHA1.upper()}", f"sha-1:{SHA1}", f" sha1 {SHA1} "])
def test_the_ways_in_which_clients_write_it(text: str) -> None:
    assert read_file_checksum(text) == ("sha1", bytes.fromhex(SHA1))


@pytest.mark.parametrize(
    "text", ["", "sha1", SHA1, f"sha1 {SHA1}0", f"sha1 {SHA1[:-2]}zz", f"sha3 {SHA1}", "sha1 \u0660"]
)
def test_what_cannot_be_verified_is_refused(text: str) -> None:
    with pytest.raises(BadHeader, match="checksum"):
        read_file_checksum(text)


@pytest.mark.parametrize("algorithm", FILE_ALGORITHMS)
def test_digests_have_the_size_that_is_said(algorithm: str) -> None:
    found = FILE_ALGORITHMS[algorithm]()
    found.update(b"hello")
    assert len(found.digest()) == found.digest_size


def test_adler32_in_pieces() -> None:
    found = Adler32()
    for piece in (b"hel", b"", b"lo"):
        found.update(piece)
    assert found.digest() == zlib.adler32(b"hello").to_bytes(4, "big")
