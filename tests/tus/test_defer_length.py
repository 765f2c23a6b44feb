"""Creation with a deferred length."""

from __future__ import annotations

import pytest

from tests.tus.client import BYTES, Client
from tests.tus.conftest import MAX_SIZE, Content, Show
from tests.tus.requirement import requirement
from tests.tus.test_core import NUMBERS_THAT_ARE_NONE


@requirement("defer-length-1", "MUST", "`creation-defer-length` is announced.")
@pytest.mark.any_storage
def test_a_deferred_length_is_announced(client: Client) -> None:
    assert "creation-defer-length" in client.ask("OPTIONS", "/uploads/").words("tus-extension")


@requirement("defer-length-2", "MUST", "`Upload-Defer-Length: 1` creates an upload without a length.")
def test_a_creation_without_a_length(client: Client) -> None:
    answer = client.post({"Upload-Defer-Length": 1})
    assert answer.status == 201
    assert answer["upload-offset"] == "0"


@requirement("defer-length-3", "MUST", "Any other value is refused with 400.")
@pytest.mark.any_storage
@pytest.mark.parametrize("value", ["0", "2", "true", "", "1 1", "-1", "01"])
def test_other_values(client: Client, value: str) -> None:
    assert client.post({"Upload-Defer-Length": value}).status == 400


@requirement("defer-length-4", "MUST", "Length and deferred length together are refused with 400.")
@pytest.mark.any_storage
def test_both_at_once(client: Client) -> None:
    assert client.post({"Upload-Defer-Length": 1, "Upload-Length": 10}).status == 400


@requirement("defer-length-5", "MUST", "While it is not known, HEAD has `Upload-Defer-Length: 1`, and no length.")
def test_head_says_that_it_is_not_known(client: Client) -> None:
    path = client.create(None)
    client.patch(path, 0, b"hello")
    head = client.head(path)
    assert (head["upload-defer-length"], head["upload-offset"]) == ("1", "5")
    assert "upload-length" not in head


@requirement("defer-length-6", "MUST", "A PATCH may name the length; from then on HEAD has it.")
def test_a_patch_names_it(client: Client, content: Content) -> None:
    path = client.create(None)
    assert client.patch(path, 0, b"hello", {"Upload-Length": 10}).status == 204
    head = client.head(path)
    assert head["upload-length"] == "10"
    assert "upload-defer-length" not in head
    assert client.patch(path, 5, b"world").status == 204
    assert content(path) == b"helloworld"


@requirement("defer-length-7", "MUST", "A length that is known does not change; saying it again is fine.")
def test_it_does_not_change(client: Client) -> None:
    for path in (client.create(10), client.create(None)):
        assert client.patch(path, 0, b"hello", {"Upload-Length": 10}).status == 204
        assert client.patch(path, 5, b"x", {"Upload-Length": 11}).status == 400
        assert client.patch(path, 5, b"x", {"Upload-Length": 10}).status == 204
        assert client.head(path)["upload-length"] == "10"


@requirement("defer-length-8", "TRAP", "PATCHes that do not name it add bytes, and never complete the upload.")
def test_patches_that_do_not_name_it(client: Client, show: Show) -> None:
    path = client.create(None)
    for offset in (0, 5):
        assert client.patch(path, offset, b"hello")["upload-offset"] == str(offset + 5)
    assert show(path)["phase"] == "receiving"
    assert "upload-expires" in client.head(path)


@requirement("defer-length-9", "TRAP", "An empty PATCH may name it, and so complete the upload.")
def test_an_empty_patch_names_it(client: Client, content: Content) -> None:
    path = client.create(None)
    client.patch(path, 0, b"hello")
    assert client.patch(path, 5, b"", {"Upload-Length": 5})["upload-offset"] == "5"
    assert content(path) == b"hello"


@requirement("defer-length-10", "TRAP", "A length below what has arrived is refused with 400, and one that is none.")
@pytest.mark.any_storage
@pytest.mark.parametrize("length", ["4", "0", *NUMBERS_THAT_ARE_NONE])
def test_lengths_that_cannot_be(client: Client, length: str) -> None:
    path = client.create(None)
    client.patch(path, 0, b"hello")
    assert client.patch(path, 5, b"x", {"Upload-Length": length}).status == 400
    assert client.head(path)["upload-defer-length"] == "1"


@requirement("defer-length-11", "MUST", "A length above `Tus-Max-Size` is refused with 413, when it is named.")
@pytest.mark.any_storage
def test_too_long_when_it_is_named(client: Client) -> None:
    path = client.create(None)
    assert client.patch(path, 0, b"hello", {"Upload-Length": MAX_SIZE + 1}).status == 413
    assert client.head(path)["upload-defer-length"] == "1"
    assert client.offset(path) == 0


@requirement("defer-length-12", "TRAP", "Bytes above `Tus-Max-Size` are refused with 413, though no length was named.")
@pytest.mark.parametrize("chunked", [False, True])
def test_too_long_without_a_name(client: Client, chunked: bool) -> None:
    path = client.create(None)
    with client.connect() as connection:
        framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(MAX_SIZE + 1)}
        connection.begin("PATCH", path, {**BYTES, "Upload-Offset": 0, **framing})
        body = bytes(MAX_SIZE + 1)
        (connection.chunk if chunked else connection.send)(body)
        if chunked:
            connection.chunk(b"")
        assert connection.answer(to="PATCH").status == 413
    assert client.offset(path) <= MAX_SIZE


@requirement(
    "defer-length-13", "TRAP", "A body longer than the length it names is refused with 413, and names nothing."
)
@pytest.mark.any_storage
def test_a_body_longer_than_what_it_names(client: Client) -> None:
    path = client.create(None)
    assert client.patch(path, 0, b"hello", {"Upload-Length": 4}).status == 413
    assert client.head(path)["upload-defer-length"] == "1"


@requirement("defer-length-14", "TRAP", "A PATCH at a wrong offset does not name the length.")
@pytest.mark.any_storage
def test_a_conflict_names_nothing(client: Client) -> None:
    path = client.create(None)
    assert client.patch(path, 3, b"hello", {"Upload-Length": 8}).status == 409
    assert client.head(path)["upload-defer-length"] == "1"


@requirement("defer-length-15", "MAY", "The creation may bring bytes, with the length deferred.")
def test_a_creation_with_bytes(client: Client, content: Content) -> None:
    answer = client.post({**BYTES, "Upload-Defer-Length": 1}, b"hello")
    assert (answer.status, answer["upload-offset"]) == (201, "5")
    path = client.path(answer)
    assert client.head(path)["upload-defer-length"] == "1"
    assert client.patch(path, 5, b"world", {"Upload-Length": 10}).status == 204
    assert content(path) == b"helloworld"


@requirement("defer-length-16", "TRAP", "A stream that was cut off is continued like any upload.")
def test_a_stream_that_was_cut_off(client: Client, content: Content) -> None:
    path = client.create(None)
    with client.connect() as connection:
        connection.begin_patch(path, {"Transfer-Encoding": "chunked"})
        connection.chunk(b"hello")
    assert client.offset(path) == 5
    client.patch(path, 5, b"world", {"Upload-Length": 10})
    assert content(path) == b"helloworld"
