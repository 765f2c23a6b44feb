"""Creation, and creation with upload."""

from __future__ import annotations

import re

import pytest

from tests.tus.client import BYTES, TUS, Client, b64
from tests.tus.conftest import MAX_SIZE, Content, Show
from tests.tus.requirement import requirement
from tests.tus.test_core import NUMBERS_THAT_ARE_NONE


@requirement("creation-1", "MUST", "`creation` is announced.")
@pytest.mark.any_storage
def test_creation_is_announced(client: Client) -> None:
    assert "creation" in client.ask("OPTIONS", "/uploads/").words("tus-extension")


@requirement("creation-2", "MUST", "A creation is answered with 201 and a `Location`.")
def test_a_creation(client: Client) -> None:
    answer = client.post()
    assert answer.status == 201
    assert client.head(client.path(answer)).status == 200


@requirement("creation-3", "TRAP", "`Location` is absolute, under the name by which the server was asked.")
@pytest.mark.any_storage
def test_the_location_is_absolute(client: Client) -> None:
    for host in (f"127.0.0.1:{client.port}", "files.example.org", "[::1]:8080"):
        answer = client.post({"Upload-Length": 5, "Host": host})
        assert re.fullmatch(re.escape(f"http://{host}/uploads/") + "[0-9a-f]{32}", answer["location"])


@requirement("creation-4", "TRAP", "What anybody may write into `X-Forwarded-…` does not get into `Location`.")
@pytest.mark.any_storage
def test_forged_addresses_are_ignored(client: Client) -> None:
    forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example"}
    assert client.post({"Upload-Length": 5, **forged})["location"].startswith(f"{client.base}/uploads/")


@requirement("creation-13", "TRAP", "Behind a proxy that is trusted, `Location` is the address that clients see.")
@pytest.mark.any_storage
@pytest.mark.parametrize(
    "said",
    [
        {"X-Forwarded-Host": "files.example.org", "X-Forwarded-Proto": "https"},
        {"Forwarded": "host=evil.example, for=192.0.2.1;host=files.example.org;proto=https"},
    ],
)
def test_behind_a_proxy(client: Client, proxy: Client, said: dict[str, str]) -> None:
    location = proxy.post({"Upload-Length": 5, **said})["location"]
    assert location.startswith("https://files.example.org/uploads/")
    assert client.head(location.removeprefix("https://files.example.org")).status == 200


@requirement("creation-5", "TRAP", "A `Host` that is none does not get into `Location`.")
@pytest.mark.any_storage
def test_a_strange_host(client: Client) -> None:
    answer = client.post({"Upload-Length": 5, "Host": "a b<script>"})
    assert answer.status == 400 or answer["location"].startswith("/uploads/")


@requirement("creation-6", "MUST", "`Upload-Length` is a whole number that is not negative; else 400.")
@pytest.mark.any_storage
@pytest.mark.parametrize("length", NUMBERS_THAT_ARE_NONE)
def test_a_length_that_is_none(client: Client, length: str) -> None:
    assert client.post({"Upload-Length": length}).status == 400


@requirement("creation-7", "MUST", "A creation without any length is refused with 400.")
@pytest.mark.any_storage
def test_no_length(client: Client) -> None:
    assert client.post({}).status == 400


@requirement("creation-8", "MUST", "A length above `Tus-Max-Size` is refused with 413, and the size itself is taken.")
@pytest.mark.any_storage
def test_the_largest_size(client: Client) -> None:
    client.ask("DELETE", client.create(MAX_SIZE))
    answer = client.post({"Upload-Length": MAX_SIZE + 1})
    assert answer.status == 413
    assert "location" not in answer


@requirement("creation-9", "MUST", "An upload of no bytes is complete at once, without a PATCH.")
def test_an_empty_upload(client: Client, content: Content) -> None:
    path = client.create(0)
    head = client.head(path)
    assert (head["upload-offset"], head["upload-length"]) == ("0", "0")
    assert content(path) == b""


@requirement("creation-10", "TRAP", "A creation with the collection's address without its slash is the same.")
@pytest.mark.any_storage
def test_the_collection_without_a_slash(client: Client) -> None:
    assert client.ask("POST", "/uploads", {**TUS, "Upload-Length": 5}).status == 201


@requirement("creation-11", "TRAP", "Addresses cannot be guessed: no two are alike, or near each other.")
@pytest.mark.any_storage
def test_addresses_cannot_be_guessed(client: Client) -> None:
    names = [int(client.create(1).rpartition("/")[2], 16) for _ in range(16)]
    assert len(set(names)) == 16
    assert min(abs(a - b) for a, b in zip(sorted(names), sorted(names)[1:], strict=False)) > 2**64


@requirement("creation-12", "TRAP", "`Upload-Offset` in the 201 says how much has arrived.")
@pytest.mark.any_storage
def test_the_answer_tells_the_offset(client: Client) -> None:
    assert client.post()["upload-offset"] == "0"


# Upload-Metadata


@requirement("metadata-1", "MUST", "HEAD gives the metadata back as it came.")
@pytest.mark.any_storage
def test_metadata_comes_back(client: Client) -> None:
    sent = f"filename {b64('Übung 1.pdf')},filetype {b64('application/pdf')},key,bin {b64(bytes(range(256)))}"
    assert client.head(client.create(5, {"Upload-Metadata": sent}))["upload-metadata"] == sent


@requirement("metadata-2", "MUST", "Metadata is optional: without any, HEAD has none.")
@pytest.mark.any_storage
def test_no_metadata(client: Client) -> None:
    for sent in ({}, {"Upload-Metadata": ""}):
        assert "upload-metadata" not in client.head(client.create(5, sent))


@requirement("metadata-3", "MUST", "A key without a value is fine.")
@pytest.mark.any_storage
@pytest.mark.parametrize("sent", ["is_confidential", "a YQ==,is_confidential", "is_confidential,a YQ==", "a "])
def test_a_key_alone(client: Client, sent: str) -> None:
    assert client.head(client.create(5, {"Upload-Metadata": sent}))["upload-metadata"] == sent.rstrip()


@requirement("metadata-4", "MUST", "A key that is there twice is refused with 400.")
@pytest.mark.any_storage
def test_a_key_twice(client: Client) -> None:
    assert client.post({"Upload-Length": 5, "Upload-Metadata": "a YQ==,a YQ=="}).status == 400


@requirement("metadata-5", "MUST", "A value that is not base64 is refused with 400.")
@pytest.mark.any_storage
@pytest.mark.parametrize("value", ["YQ", "!!!!", "YQ==YQ==", "a b", "=", "YQ=", "Y Q=="])
def test_a_value_that_is_not_base64(client: Client, value: str) -> None:
    assert client.post({"Upload-Length": 5, "Upload-Metadata": f"key {value}"}).status == 400


@requirement("metadata-6", "MUST", "A key is not empty, and plain ASCII without blank or comma; else 400.")
@pytest.mark.any_storage
@pytest.mark.parametrize("sent", [",", "a YQ==,", ",a YQ==", "\xe4 YQ==", "a\x7f YQ=="])
def test_a_key_that_is_none(client: Client, sent: str) -> None:
    assert client.post({"Upload-Length": 5, "Upload-Metadata": sent}).status == 400


@requirement("metadata-7", "TRAP", "Blanks after the commas, as people write them, do no harm.")
@pytest.mark.any_storage
def test_blanks_after_commas(client: Client, show: Show) -> None:
    path = client.create(5, {"Upload-Metadata": f"filename {b64('a.txt')}, filetype {b64('text/plain')}"})
    assert (show(path)["filename"], show(path)["media_type"]) == ("a.txt", "text/plain")


@requirement("metadata-8", "TRAP", "A file name that leads elsewhere, or ends a line, is refused with 400.")
@pytest.mark.any_storage
@pytest.mark.parametrize(
    "name", ["a\r\nX-Evil: 1", "a\0b", "..", "../../etc/passwd", "a/b", "a\\b", "x" * 256, "", "con"]
)
def test_names_that_are_none(client: Client, name: str) -> None:
    assert client.post({"Upload-Length": 5, "Upload-Metadata": f"filename {b64(name)}"}).status == 400


@requirement("metadata-9", "TRAP", "Arbitrary bytes are a value like any other.")
@pytest.mark.any_storage
def test_binary_values(client: Client) -> None:
    sent = f"thumbnail {b64(bytes(range(256)) * 4)}"
    assert client.head(client.create(5, {"Upload-Metadata": sent}))["upload-metadata"] == sent


@requirement("metadata-10", "TRAP", "More metadata than is kept is refused, not cut off.")
@pytest.mark.any_storage
def test_too_much_metadata(client: Client) -> None:
    assert client.post({"Upload-Length": 5, "Upload-Metadata": f"key {b64(bytes(20_000))}"}).status in {400, 431}


# Creation With Upload


@requirement("with-upload-1", "MUST", "`creation-with-upload` is announced.")
@pytest.mark.any_storage
def test_creation_with_upload_is_announced(client: Client) -> None:
    assert "creation-with-upload" in client.ask("OPTIONS", "/uploads/").words("tus-extension")


@requirement("with-upload-2", "MUST", "The bytes of the creation are kept, and `Upload-Offset` tells how many.")
def test_a_creation_with_some_bytes(client: Client, content: Content) -> None:
    answer = client.post({**BYTES, "Upload-Length": 10}, b"hello")
    assert (answer.status, answer["upload-offset"]) == (201, "5")
    assert client.patch(client.path(answer), 5, b"world").status == 204
    assert content(client.path(answer)) == b"helloworld"


@requirement("with-upload-3", "MUST", "A creation with all of the bytes completes the upload.")
def test_a_creation_with_all_bytes(client: Client, content: Content) -> None:
    answer = client.post({**BYTES, "Upload-Length": 5}, b"hello")
    assert (answer.status, answer["upload-offset"]) == (201, "5")
    assert content(client.path(answer)) == b"hello"


@requirement("with-upload-4", "MUST", "A body of another media type is refused with 415, and nothing is created.")
@pytest.mark.any_storage
@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {}])
def test_a_creation_with_a_body_of_another_type(client: Client, headers: dict[str, str]) -> None:
    answer = client.post({"Upload-Length": 5, **headers}, b"hello")
    assert answer.status == 415
    assert "location" not in answer


@requirement("with-upload-5", "TRAP", "A media type without a body is nothing to complain about.")
@pytest.mark.any_storage
@pytest.mark.parametrize("media_type", ["text/plain", BYTES["Content-Type"]])
def test_a_stray_media_type(client: Client, media_type: str) -> None:
    answer = client.post({"Upload-Length": 5, "Content-Type": media_type})
    assert (answer.status, answer["upload-offset"]) == (201, "0")


@requirement("with-upload-6", "TRAP", "More bytes than announced are refused with 413, and nothing is created.")
@pytest.mark.any_storage
def test_a_creation_with_too_many_bytes(client: Client) -> None:
    answer = client.post({**BYTES, "Upload-Length": 4}, b"hello")
    assert answer.status == 413
    assert "location" not in answer


@requirement("with-upload-7", "TRAP", "A chunked body is taken with the creation.")
def test_a_creation_with_a_chunked_body(client: Client, content: Content) -> None:
    with client.connect() as connection:
        connection.begin("POST", "/uploads/", {**BYTES, "Upload-Length": 5, "Transfer-Encoding": "chunked"})
        for piece in (b"he", b"llo", b""):
            connection.chunk(piece)
        answer = connection.answer(to="POST")
    assert (answer.status, answer["upload-offset"]) == (201, "5")
    assert content(client.path(answer)) == b"hello"


@requirement("with-upload-8", "MAY", "A client that expects it is asked to go on before it sends the bytes.")
def test_a_creation_that_waits(client: Client) -> None:
    with client.connect() as connection:
        head = {**BYTES, "Upload-Length": 5, "Content-Length": 5, "Expect": "100-continue"}
        connection.begin("POST", "/uploads/", head)
        assert connection.answer(to="POST").status == 100
        connection.send(b"hello")
        assert connection.answer(to="POST")["upload-offset"] == "5"
