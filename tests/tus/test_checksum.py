"""Checksums of single requests, and of whole files."""

from __future__ import annotations

import hashlib
import zlib

import pytest

from tests.tus.client import BYTES, Client, b64
from tests.tus.conftest import Content
from tests.tus.requirement import requirement

MIB = 1024 * 1024
HELLO = {
    "sha1": hashlib.sha1(b"hello", usedforsecurity=False).digest(),
    "sha256": hashlib.sha256(b"hello").digest(),
    "sha512": hashlib.sha512(b"hello").digest(),
    "md5": hashlib.md5(b"hello", usedforsecurity=False).digest(),
    "crc32": zlib.crc32(b"hello").to_bytes(4, "big"),
}


def sha1(body: bytes) -> dict[str, str]:
    return {"Upload-Checksum": f"sha1 {b64(hashlib.sha1(body, usedforsecurity=False).digest())}"}


@requirement("checksum-1", "MUST", "`checksum` is announced, with its algorithms.")
def test_checksums_are_announced(client: Client) -> None:
    answer = client.ask("OPTIONS", "/uploads/")
    assert "checksum" in answer.words("tus-extension")
    assert answer.words("tus-checksum-algorithm") >= HELLO.keys()


@requirement("checksum-2", "MUST", "sha1 is known; so are all that are announced.")
def test_every_algorithm_that_is_announced_works(client: Client) -> None:
    announced = client.ask("OPTIONS", "/uploads/").words("tus-checksum-algorithm")
    assert announced == HELLO.keys()
    for algorithm, digest in HELLO.items():
        path = client.create(5)
        assert client.patch(path, 0, b"hello", {"Upload-Checksum": f"{algorithm} {b64(digest)}"}).status == 204


@requirement("checksum-3", "MUST", "A body with another checksum is refused with 460, and leaves no trace.")
@pytest.mark.parametrize("algorithm", HELLO)
def test_another_checksum(client: Client, content: Content, algorithm: str) -> None:
    path = client.create(5)
    wrong = {"Upload-Checksum": f"{algorithm} {b64(HELLO[algorithm])}"}
    assert client.patch(path, 0, b"hallo", wrong).status == 460
    assert client.offset(path) == 0
    assert client.patch(path, 0, b"hello", wrong).status == 204
    assert content(path) == b"hello"


@requirement("checksum-4", "MUST", "An algorithm that is not known is refused with 400.")
@pytest.mark.parametrize("algorithm", ["sha3", "SHA-1", "none", "", "SHA1"])
def test_unknown_algorithms(client: Client, algorithm: str) -> None:
    path = client.create(5)
    sent = {"Upload-Checksum": f"{algorithm} {b64(HELLO['sha1'])}"}
    assert client.patch(path, 0, b"hello", sent).status == 400
    assert client.offset(path) == 0


@requirement("checksum-5", "TRAP", "A digest that is missing, or not base64, is refused with 400.")
@pytest.mark.parametrize("sent", ["sha1", "sha1 ", "sha1 !!!", "sha1 YQ", ""])
def test_malformed_checksums(client: Client, sent: str) -> None:
    path = client.create(5)
    assert client.patch(path, 0, b"hello", {"Upload-Checksum": sent}).status == 400
    assert client.offset(path) == 0


@requirement("checksum-6", "TRAP", "A digest of another length than the algorithm's is a mismatch: 460.")
def test_a_digest_of_another_length(client: Client) -> None:
    path = client.create(5)
    assert client.patch(path, 0, b"hello", {"Upload-Checksum": f"sha1 {b64(b'short')}"}).status == 460
    assert client.offset(path) == 0


@requirement("checksum-7", "TRAP", "A large body with a wrong checksum leaves no trace either.")
def test_a_large_body_leaves_no_trace(client: Client) -> None:
    body = bytes(5 * MIB)
    path = client.create(len(body))
    assert client.patch(path, 0, body, sha1(b"other")).status == 460
    assert client.offset(path) == 0


@requirement("checksum-8", "TRAP", "A body with a checksum that is cut off leaves no trace.")
def test_a_cut_off_body_leaves_no_trace(client: Client) -> None:
    path = client.create(2 * MIB)
    with client.connect() as connection:
        sent = {**BYTES, "Upload-Offset": 0, "Content-Length": 2 * MIB, **sha1(bytes(2 * MIB))}
        connection.begin("PATCH", path, sent)
        connection.send(bytes(MIB + 1))
    assert client.offset(path) == 0


@requirement("checksum-9", "TRAP", "The checksum is that of the request, not of all bytes up to there.")
def test_the_checksum_is_of_this_request(client: Client, content: Content) -> None:
    path = client.create(10)
    assert client.patch(path, 0, b"hello", sha1(b"hello")).status == 204
    assert client.patch(path, 5, b"world", sha1(b"helloworld")).status == 460
    assert client.patch(path, 5, b"world", sha1(b"world")).status == 204
    assert content(path) == b"helloworld"


@requirement("checksum-10", "TRAP", "A creation with a body may have a checksum; a wrong one creates nothing.")
def test_a_creation_with_a_checksum(client: Client) -> None:
    assert client.post({**BYTES, "Upload-Length": 5, **sha1(b"hello")}, b"hello").status == 201
    answer = client.post({**BYTES, "Upload-Length": 5, **sha1(b"hallo")}, b"hello")
    assert answer.status == 460
    assert "location" not in answer


@requirement("checksum-11", "TRAP", "A chunked body may have a checksum.")
def test_a_chunked_body_with_a_checksum(client: Client) -> None:
    path = client.create(5)
    with client.connect() as connection:
        connection.begin("PATCH", path, {**BYTES, "Upload-Offset": 0, "Transfer-Encoding": "chunked", **sha1(b"hello")})
        for piece in (b"hel", b"lo", b""):
            connection.chunk(piece)
        assert connection.answer(to="PATCH").status == 204


@requirement("checksum-12", "TRAP", "`checksum-trailer` is announced only by a server that reads trailers.")
def test_trailers_are_not_announced(client: Client) -> None:
    assert "checksum-trailer" not in client.ask("OPTIONS", "/uploads/").words("tus-extension")
