"""Checksums of single requests, and of whole files."""

from __future__ import annotations

import hashlib
import zlib

import pytest

from tests.tus.client import BYTES, Client, b64
from tests.tus.conftest import Content, Show
from tests.tus.requirement import requirement

MIB = 1024 * 1024
HELLO = {
    "sha1": hashlib.sha1(b"hello", usedforsecurity=False).digest(),
    "sha256": hashlib.sha256(b"hello").digest(),
    "sha512": hashlib.sha512(b"hello").digest(),
    "md5": hashlib.md5(b"hello", usedforsecurity=False).digest(),
    "crc32c": bytes.fromhex("9a71bb4c"),
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


# Of a whole file


def named(text: str) -> dict[str, str]:
    return {"Upload-Metadata": f"filename {b64('a.txt')},checksum {b64(text)}"}


FILE_CHECKSUMS = [
    *(f"{algorithm} {digest.hex()}" for algorithm, digest in HELLO.items()),
    f"SHA256:{HELLO['sha256'].hex().upper()}",
    f"adler32 {zlib.adler32(b'hello'):08x}",
]


@requirement("file-checksum-1", "TRAP", "A file that is what its metadata says is let through.")
@pytest.mark.parametrize("text", FILE_CHECKSUMS)
def test_a_file_that_is_what_was_announced(client: Client, content: Content, text: str) -> None:
    path = client.create(5, named(text))
    assert client.patch(path, 0, b"hel").status == 204
    assert client.patch(path, 3, b"lo").status == 204
    assert content(path) == b"hello"


@requirement("file-checksum-2", "TRAP", "A file that is not ends with its last byte: 460, and gone, with the reason.")
@pytest.mark.parametrize("text", FILE_CHECKSUMS)
def test_a_file_that_is_not(client: Client, show: Show, text: str) -> None:
    path = client.create(5, named(text))
    assert client.patch(path, 0, b"hal").status == 204
    assert client.patch(path, 3, b"lo").status == 460
    assert client.head(path).status == 410
    found = show(path)
    assert found["phase"] == "cancelled"
    assert "as was announced" in str(found["reason"])


@requirement("file-checksum-3", "TRAP", "The same holds for a file that comes with its creation.")
def test_a_file_with_its_creation(client: Client, content: Content) -> None:
    right = client.post({**BYTES, "Upload-Length": 5, **named(FILE_CHECKSUMS[0])}, b"hello")
    assert content(client.path(right)) == b"hello"
    assert client.post({**BYTES, "Upload-Length": 5, **named(FILE_CHECKSUMS[0])}, b"hallo").status == 460


@requirement("file-checksum-4", "TRAP", "The same holds for a file that is made of parts.")
def test_a_file_made_of_parts(client: Client, content: Content) -> None:
    one, two = client.partial(b"hel"), client.partial(b"lo")
    right = client.post({"Upload-Concat": f"final;{one} {two}", **named(FILE_CHECKSUMS[1])})
    assert content(client.path(right)) == b"hello"
    assert client.post({"Upload-Concat": f"final;{two} {one}", **named(FILE_CHECKSUMS[1])}).status == 460


@requirement("file-checksum-5", "TRAP", "A checksum that could not be verified is refused with 400 at the creation.")
@pytest.mark.parametrize("text", ["sha3 00", "sha1", "sha1 00", f"sha1 {'0' * 39}", f"sha1 {'x' * 40}", "", "hello"])
def test_a_checksum_that_cannot_be_verified(client: Client, text: str) -> None:
    assert client.post({"Upload-Length": 5, **named(text)}).status == 400


@requirement("file-checksum-6", "TRAP", "That of an empty file is verified as well.")
def test_an_empty_file(client: Client, content: Content) -> None:
    empty = hashlib.sha256(b"").hexdigest()
    assert content(client.create(0, named(f"sha256 {empty}"))) == b""
    assert client.post({"Upload-Length": 0, **named(FILE_CHECKSUMS[1])}).status == 460


@requirement("file-checksum-7", "TRAP", "A part has none of its own, as nobody would look at it: 400.")
def test_a_part_has_none(client: Client) -> None:
    assert client.post({"Upload-Length": 5, "Upload-Concat": "partial", **named(FILE_CHECKSUMS[1])}).status == 400
