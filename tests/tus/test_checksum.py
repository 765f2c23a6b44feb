"""Checksums of single requests, and of whole files."""

from __future__ import annotations

import hashlib
import zlib

import pytest

from tests.tus.client import BYTES, Client, Response, b64
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
@pytest.mark.any_storage
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
    assert client.patch(path, 5, b"", wrong).status == 460, "no bytes have a checksum as well"
    assert content(path) == b"hello"


@requirement("checksum-4", "MUST", "An algorithm that is not known is refused with 400.")
@pytest.mark.any_storage
@pytest.mark.parametrize("algorithm", ["sha3", "SHA-1", "none", "", "SHA1"])
def test_unknown_algorithms(client: Client, algorithm: str) -> None:
    path = client.create(5)
    sent = {"Upload-Checksum": f"{algorithm} {b64(HELLO['sha1'])}"}
    assert client.patch(path, 0, b"hello", sent).status == 400
    assert client.offset(path) == 0


@requirement("checksum-5", "TRAP", "A digest that is missing, or not base64, is refused with 400.")
@pytest.mark.any_storage
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


# After the body


SENT_LATER = {**BYTES, "Upload-Offset": 0, "Transfer-Encoding": "chunked", "Trailer": "Upload-Checksum"}


def trailed(client: Client, path: str, pieces: tuple[bytes, ...], fields: bytes, **headers: str) -> Response:
    """Send a chunked PATCH with fields after its body."""
    with client.connect() as connection:
        connection.begin("PATCH", path, {**SENT_LATER, **headers})
        for piece in pieces:
            connection.chunk(piece)
        connection.send(b"0\r\n" + fields + b"\r\n")
        return connection.answer(to="PATCH")


def later(text: str) -> bytes:
    return f"Upload-Checksum: {text}\r\n".encode()


@requirement("checksum-trailer-1", "MUST", "`checksum-trailer` is announced, and `checksum` with it.")
@pytest.mark.any_storage
def test_trailers_are_announced(client: Client) -> None:
    assert client.ask("OPTIONS", "/uploads/").words("tus-extension") >= {"checksum", "checksum-trailer"}


@requirement("checksum-trailer-2", "MUST", "A checksum may come after the body, by every algorithm that is announced.")
@pytest.mark.parametrize("algorithm", HELLO)
def test_a_checksum_after_the_body(client: Client, content: Content, algorithm: str) -> None:
    path = client.create(5)
    answer = trailed(client, path, (b"hel", b"lo"), later(f"{algorithm} {b64(HELLO[algorithm])}"))
    assert (answer.status, answer["upload-offset"]) == (204, "5")
    assert content(path) == b"hello"


@requirement(
    "checksum-trailer-3", "MUST", "A body with another checksum after it is refused with 460, without a trace."
)
@pytest.mark.parametrize("algorithm", HELLO)
def test_another_checksum_after_the_body(client: Client, content: Content, algorithm: str) -> None:
    path = client.create(5)
    right = later(f"{algorithm} {b64(HELLO[algorithm])}")
    assert trailed(client, path, (b"hallo",), right).status == 460
    assert client.offset(path) == 0
    assert trailed(client, path, (b"hello",), right).status == 204
    assert content(path) == b"hello"


@requirement(
    "checksum-trailer-4", "MUST", "What is announced and cannot be read, or is not known, is refused with 400."
)
@pytest.mark.parametrize("sent", ["sha3 YQ==", "sha1", "sha1 !!!", "", "SHA1 qvTGHdzF6KLavt4PO0gs2a6pQ00="])
def test_checksums_after_the_body_that_cannot_be_read(client: Client, sent: str) -> None:
    path = client.create(5)
    assert trailed(client, path, (b"hello",), later(sent)).status == 400
    assert client.offset(path) == 0


@requirement("checksum-trailer-5", "TRAP", "A checksum that is announced and does not come is refused with 400.")
@pytest.mark.parametrize("fields", [b"", b"X-Other: sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=\r\n"])
def test_a_checksum_that_does_not_come(client: Client, fields: bytes) -> None:
    path = client.create(5)
    assert trailed(client, path, (b"hello",), fields).status == 400
    assert client.offset(path) == 0


@requirement("checksum-trailer-6", "TRAP", "A body that is cut off before its checksum leaves no trace.")
def test_a_body_that_is_cut_off_before_its_checksum(client: Client, content: Content) -> None:
    path = client.create(2 * MIB)
    for end in (b"", b"0\r\n", b"0\r\nUpload-Checksum: sha1 qvTG"):
        with client.connect() as connection:
            connection.begin("PATCH", path, SENT_LATER)
            connection.chunk(bytes(2 * MIB))
            connection.send(end)
        assert client.offset(path) == 0
    body = bytes(2 * MIB)
    assert trailed(client, path, (body,), later(sha1(body)["Upload-Checksum"])).status == 204
    assert content(path) == body


@requirement(
    "checksum-trailer-7", "TRAP", "A creation may have its checksum after its body; a wrong one creates nothing."
)
def test_a_creation_with_a_checksum_after_its_body(client: Client, content: Content) -> None:
    for body, status in ((b"hello", 201), (b"hallo", 460)):
        with client.connect() as connection:
            head = {**BYTES, "Upload-Length": 5, "Transfer-Encoding": "chunked", "Trailer": "Upload-Checksum"}
            connection.begin("POST", "/uploads/", head)
            connection.chunk(body)
            connection.send(b"0\r\n" + later(f"sha1 {b64(HELLO['sha1'])}") + b"\r\n")
            answer = connection.answer(to="POST")
        assert answer.status == status
        assert ("location" in answer) == (status == 201)
        if status == 201:
            assert content(client.path(answer)) == b"hello"


@requirement(
    "checksum-trailer-8", "TRAP", "A trailer that cannot come, since the body has a length, is refused with 400."
)
@pytest.mark.any_storage
def test_a_trailer_of_a_body_with_a_length(client: Client) -> None:
    path = client.create(5)
    assert client.patch(path, 0, b"hello", {"Trailer": "Upload-Checksum"}).status == 400
    assert client.offset(path) == 0


@requirement("checksum-trailer-9", "TRAP", "Two checksums, before and after the body, are both looked at.")
@pytest.mark.parametrize(("before", "after"), [(b"hello", b"hallo"), (b"hallo", b"hello")])
def test_a_checksum_before_and_after(client: Client, before: bytes, after: bytes) -> None:
    path = client.create(5)
    assert trailed(client, path, (b"hello",), later(sha1(after)["Upload-Checksum"]), **sha1(before)).status == 460
    assert client.offset(path) == 0


@requirement(
    "checksum-trailer-10", "TRAP", "Two checksums after the body are refused with 400: nobody knows which counts."
)
def test_two_checksums_after_the_body(client: Client) -> None:
    path = client.create(5)
    right = later(f"sha1 {b64(HELLO['sha1'])}")
    assert trailed(client, path, (b"hello",), right + right).status == 400
    assert client.offset(path) == 0


# Digest fields (RFC 9530)


def digests(field: str, body: bytes, algorithm: str = "sha-256") -> dict[str, str]:
    digest = hashlib.new(algorithm.replace("-", ""), body).digest()
    return {field: f"{algorithm}=:{b64(digest)}:"}


@requirement(
    "digest-1", "TRAP", "`Content-Digest` is that of the body: another one is refused with 400, without a trace."
)
@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
def test_a_content_digest(client: Client, content: Content, algorithm: str) -> None:
    path = client.create(10)
    assert client.patch(path, 0, b"hello", digests("Content-Digest", b"hallo", algorithm)).status == 400
    assert client.offset(path) == 0
    assert client.patch(path, 0, b"hello", digests("Content-Digest", b"hello", algorithm)).status == 204
    assert client.patch(path, 5, b"world", digests("Content-Digest", b"helloworld", algorithm)).status == 400
    assert client.patch(path, 5, b"world", digests("Content-Digest", b"world", algorithm)).status == 204
    assert content(path) == b"helloworld"


@requirement("digest-2", "TRAP", "`Repr-Digest` with the last bytes is that of the whole file.")
def test_a_digest_of_the_whole_file(client: Client, content: Content) -> None:
    path = client.create(10)
    assert client.patch(path, 0, b"hello").status == 204
    assert client.patch(path, 5, b"world", digests("Repr-Digest", b"world")).status == 400
    assert client.offset(path) == 5
    assert client.patch(path, 5, b"world", digests("Repr-Digest", b"helloworld")).status == 204
    assert content(path) == b"helloworld"


@requirement("digest-3", "TRAP", "Both may come after the body.")
def test_digests_after_the_body(client: Client, content: Content) -> None:
    path = client.create(10)
    assert client.patch(path, 0, b"hello").status == 204
    named = {"Trailer": "Content-Digest, Repr-Digest"}

    def fields(body: bytes, whole: bytes) -> bytes:
        sent = {**digests("Content-Digest", body), **digests("Repr-Digest", whole)}
        return "".join(f"{name}: {value}\r\n" for name, value in sent.items()).encode()

    offset = {"Upload-Offset": "5"}
    for body, whole in ((b"world", b"world"), (b"helloworld", b"helloworld")):
        assert trailed(client, path, (b"world",), fields(body, whole), **named, **offset).status == 400
        assert client.offset(path) == 5
    assert trailed(client, path, (b"world",), fields(b"world", b"helloworld"), **named, **offset).status == 204
    assert content(path) == b"helloworld"


@requirement(
    "digest-4", "TRAP", "A digest that cannot be read or verified is refused with 400, and says what is known."
)
@pytest.mark.any_storage
@pytest.mark.parametrize(
    "sent", ["md5=:XUFAKrxLKna5cZ2REBfFkg==:", "", "sha-256=:YQ==:", "sha-256=1", "sha-256", "x y"]
)
def test_digests_that_cannot_be_verified(client: Client, sent: str) -> None:
    path = client.create(5)
    assert client.patch(path, 0, b"hello", {"Content-Digest": sent}).status == 400
    assert client.offset(path) == 0


@requirement("digest-5", "TRAP", "A creation may have digests of its body and its file; wrong ones create nothing.")
@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
def test_a_creation_with_digests(client: Client, content: Content, field: str) -> None:
    for body in (b"hello", b""):
        head = {**BYTES, "Upload-Length": len(body)}
        answer = client.post({**head, **digests(field, b"hallo")}, body)
        assert answer.status == 400
        assert "location" not in answer
        if body or field == "Content-Digest":
            assert content(client.path(client.post({**head, **digests(field, body)}, body))) == body


@requirement(
    "digest-6", "TRAP", "`Repr-Digest` of a file that does not come with its creation is refused, not forgotten."
)
@pytest.mark.any_storage
def test_a_digest_of_a_file_that_comes_later(client: Client) -> None:
    assert client.post({"Upload-Length": 5, **digests("Repr-Digest", b"hello")}).status == 400


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
@pytest.mark.any_storage
@pytest.mark.parametrize("text", ["sha3 00", "sha1", "sha1 00", f"sha1 {'0' * 39}", f"sha1 {'x' * 40}", "", "hello"])
def test_a_checksum_that_cannot_be_verified(client: Client, text: str) -> None:
    assert client.post({"Upload-Length": 5, **named(text)}).status == 400


@requirement("file-checksum-6", "TRAP", "That of an empty file is verified as well.")
def test_an_empty_file(client: Client, content: Content) -> None:
    empty = hashlib.sha256(b"").hexdigest()
    assert content(client.create(0, named(f"sha256 {empty}"))) == b""
    assert client.post({"Upload-Length": 0, **named(FILE_CHECKSUMS[1])}).status == 460


@requirement("file-checksum-7", "TRAP", "A part has none of its own, as nobody would look at it: 400.")
@pytest.mark.any_storage
def test_a_part_has_none(client: Client) -> None:
    assert client.post({"Upload-Length": 5, "Upload-Concat": "partial", **named(FILE_CHECKSUMS[1])}).status == 400
