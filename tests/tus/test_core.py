"""The core protocol: OPTIONS, HEAD, PATCH, versions and errors."""

from __future__ import annotations

import pytest

from tests.tus.client import BYTES, TUS, Client
from tests.tus.conftest import MAX_SIZE, Content
from tests.tus.requirement import requirement

NOWHERE = "/uploads/" + "0" * 32
NUMBERS_THAT_ARE_NONE = [
    "",
    "-1",
    "+5",
    " ",
    "1_000",
    "5.0",
    "0x5",
    "\xb2",
    "\xbd",
    "1" * 19,
    "NaN",
    "five",
    "5 5",
    "5,5",
]

# OPTIONS


@requirement("core-options-1", "MUST", "OPTIONS is answered with 200 or 204 and `Tus-Version`; here with 200.")
@pytest.mark.any_storage
def test_options_name_the_versions(client: Client) -> None:
    answer = client.ask("OPTIONS", "/uploads/", {})
    assert answer.status == 200
    assert answer["tus-version"] == "1.0.0"


@requirement("core-options-2", "SHOULD", "OPTIONS names the extensions, separated by commas and without blanks.")
@pytest.mark.any_storage
def test_options_name_the_extensions(client: Client) -> None:
    extensions = client.ask("OPTIONS", "/uploads/")["tus-extension"].split(",")
    assert len(extensions) == len(set(extensions))
    assert all(word == word.strip() and word for word in extensions)


@requirement("core-options-3", "MUST", "`Tus-Max-Size` is a number of bytes, and the one that is kept to.")
@pytest.mark.any_storage
def test_options_name_the_largest_size(client: Client) -> None:
    assert client.ask("OPTIONS", "/uploads/")["tus-max-size"] == str(MAX_SIZE)


@requirement("core-options-4", "SHOULD", "A client needs no `Tus-Resumable` for OPTIONS, and a wrong one is no matter.")
@pytest.mark.any_storage
@pytest.mark.parametrize("headers", [{}, TUS, {"Tus-Resumable": "0.2.2"}])
def test_options_are_for_every_version(client: Client, headers: dict[str, str]) -> None:
    assert client.ask("OPTIONS", "/uploads/", headers).status == 200


@requirement("core-options-5", "TRAP", "OPTIONS on an upload's own address says the same, and touches nothing.")
@pytest.mark.any_storage
def test_options_on_an_upload(client: Client) -> None:
    path = client.create()
    for target in (path, NOWHERE, "/uploads"):
        assert client.ask("OPTIONS", target)["tus-extension"] == client.ask("OPTIONS", "/uploads/")["tus-extension"]
    assert client.offset(path) == 0


# Tus-Resumable


@requirement("core-version-1", "MUST", "Every answer has `Tus-Resumable`, errors included.")
@pytest.mark.any_storage
@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("OPTIONS", "/uploads/", {}),
        ("POST", "/uploads/", TUS),
        ("HEAD", NOWHERE, TUS),
        ("PATCH", NOWHERE, {**BYTES, "Upload-Offset": "0"}),
        ("DELETE", NOWHERE, TUS),
        ("GET", NOWHERE, TUS),
        ("PUT", "/uploads/", TUS),
        ("PROPFIND", NOWHERE, TUS),
        ("HEAD", "/uploads/no/such/place", TUS),
        ("HEAD", "/uploads/%00", TUS),
        ("POST", "/uploads/", {}),
        ("POST", "/uploads/", {**TUS, "X-HTTP-Method-Override": "!"}),
    ],
)
def test_every_answer_names_the_version(client: Client, method: str, target: str, headers: dict[str, str]) -> None:
    assert client.ask(method, target, headers)["tus-resumable"] == "1.0.0"


@requirement("core-version-2", "MUST", "Another version is refused with 412 and the `Tus-Version` there is.")
@pytest.mark.any_storage
@pytest.mark.parametrize("version", ["0.2.2", "1.0", "1.0.1", "1.0.0,1.0.0", "", "v1.0.0"])
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
def test_other_versions_are_refused(client: Client, method: str, version: str) -> None:
    path = "/uploads/" if method == "POST" else client.create()
    headers = {**BYTES, "Tus-Resumable": version, "Upload-Length": 5, "Upload-Offset": 0}
    answer = client.ask(method, path, headers)
    assert answer.status == 412
    assert answer["tus-version"] == "1.0.0"


@requirement("core-version-3", "MUST", "A request without `Tus-Resumable` is refused in the same way, HEAD too.")
@pytest.mark.any_storage
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
def test_a_missing_version_is_refused(client: Client, method: str) -> None:
    path = "/uploads/" if method == "POST" else client.create()
    answer = client.ask(method, path, {"Upload-Length": 5, "Upload-Offset": 0, "Content-Type": BYTES["Content-Type"]})
    assert answer.status == 412
    assert answer["tus-version"] == "1.0.0"


@requirement("core-version-4", "MUST", "A request of another version is not processed: it changes nothing.")
@pytest.mark.any_storage
def test_another_version_changes_nothing(client: Client) -> None:
    path = client.create()
    assert client.patch(path, 0, b"hello", {"Tus-Resumable": "0.2.2"}).status == 412
    assert client.ask("DELETE", path, {"Tus-Resumable": "0.2.2"}).status == 412
    assert client.offset(path) == 0


@requirement("core-version-5", "TRAP", "The version is looked at before the body: nobody is asked to send it in vain.")
@pytest.mark.any_storage
def test_the_version_comes_before_the_body(client: Client) -> None:
    path = client.create()
    with client.connect() as connection:
        connection.begin("PATCH", path, {**BYTES, "Tus-Resumable": "2.0.0", "Upload-Offset": 0, "Content-Length": 5})
        assert connection.answer(to="PATCH").status == 412
    assert client.offset(path) == 0


# HEAD


@requirement("core-head-1", "MUST", "HEAD has `Upload-Offset`, also when it is 0.")
def test_head_tells_the_offset_of_an_empty_upload(client: Client) -> None:
    answer = client.head(client.create())
    assert answer.status == 200
    assert answer["upload-offset"] == "0"


@requirement("core-head-2", "MUST", "HEAD has `Upload-Offset` also when the upload is complete.")
def test_head_tells_the_offset_of_a_complete_upload(client: Client) -> None:
    path = client.create(5)
    client.patch(path, 0, b"hello")
    assert client.offset(path) == 5


@requirement("core-head-3", "MUST", "HEAD has `Upload-Length` when it is known.")
@pytest.mark.any_storage
def test_head_tells_the_length(client: Client) -> None:
    assert client.head(client.create(7))["upload-length"] == "7"


@requirement("core-head-4", "MUST", "HEAD forbids caches to keep it: `Cache-Control: no-store`.")
@pytest.mark.any_storage
def test_head_is_not_cached(client: Client) -> None:
    assert "no-store" in client.head(client.create()).words("cache-control")


@requirement("core-head-5", "MUST", "HEAD of what is not there is 404, 410 or 403, without `Upload-Offset`.")
@pytest.mark.any_storage
def test_head_of_nothing(client: Client) -> None:
    answer = client.head(NOWHERE)
    assert answer.status == 404
    assert "upload-offset" not in answer


@requirement("core-head-6", "TRAP", "The answer to HEAD promises no body.")
@pytest.mark.any_storage
def test_head_promises_no_body(client: Client) -> None:
    path = client.create()
    with client.connect() as connection:
        for target in (path, NOWHERE):
            answer = connection.exchange("HEAD", target, TUS)
            assert "content-length" not in answer or answer["content-length"] == "0" or answer.status == 404
            assert connection.quiet()


@requirement("core-head-7", "TRAP", "HEAD never tells an offset that the next PATCH is not given.")
def test_head_is_true_while_somebody_sends(client: Client) -> None:
    path = client.create(20)
    with client.connect() as connection:
        connection.begin_patch(path, {"Content-Length": 20})
        connection.send(b"0123456789")
        offset = client.offset(path)
        assert client.patch(path, offset, b"x" * (20 - offset)).status == 204


# PATCH


@requirement("core-patch-1", "MUST", "PATCH adds the bytes at the offset; 204 tells the new one.")
def test_patch_appends(client: Client, content: Content) -> None:
    path = client.create(10)
    first = client.patch(path, 0, b"hello")
    assert (first.status, first["upload-offset"]) == (204, "5")
    second = client.patch(path, 5, b"world")
    assert (second.status, second["upload-offset"]) == (204, "10")
    assert content(path) == b"helloworld"


@requirement("core-patch-2", "MUST", "Another media type is refused with 415, and nothing is kept.")
@pytest.mark.any_storage
@pytest.mark.parametrize("media_type", ["application/octet-stream", "text/plain", "", "application/offset", "*/*"])
def test_patch_needs_its_media_type(client: Client, media_type: str) -> None:
    path = client.create()
    assert client.patch(path, 0, b"hello", {"Content-Type": media_type}).status == 415
    assert client.offset(path) == 0


@requirement("core-patch-3", "SHOULD", "A missing media type is refused with 415.")
@pytest.mark.any_storage
def test_patch_without_a_media_type(client: Client) -> None:
    path = client.create()
    assert client.ask("PATCH", path, {**TUS, "Upload-Offset": 0}, b"hello").status == 415
    assert client.offset(path) == 0


@requirement("core-patch-4", "MUST", "A wrong offset is refused with 409, and nothing changes.")
@pytest.mark.parametrize("offset", [0, 4, 6, 10, 10**17])
def test_patch_at_another_offset(client: Client, offset: int) -> None:
    path = client.create()
    client.patch(path, 0, b"hello")
    assert client.patch(path, offset, b"x").status == 409
    assert client.offset(path) == 5


@requirement("core-patch-5", "TRAP", "A 409 tells the right offset.")
def test_a_conflict_tells_the_offset(client: Client) -> None:
    path = client.create()
    client.patch(path, 0, b"hello")
    assert client.patch(path, 3, b"x")["upload-offset"] == "5"


@requirement("core-patch-6", "TRAP", "A wrong offset of a complete upload is 409 too, not 403 or 410.")
@pytest.mark.parametrize("offset", [0, 4, 6])
def test_patch_of_a_complete_upload(client: Client, offset: int) -> None:
    path = client.create(5)
    client.patch(path, 0, b"hello")
    assert client.patch(path, offset, b"x").status == 409


@requirement("core-patch-7", "MUST", "PATCH of what is not there is 404, or 410 for what was.")
@pytest.mark.any_storage
def test_patch_of_nothing(client: Client) -> None:
    answer = client.patch(NOWHERE, 0, b"hello")
    assert answer.status == 404
    assert "upload-offset" not in answer


@requirement("core-patch-8", "MUST", "`Upload-Offset` is a whole number that is not negative; else 400.")
@pytest.mark.any_storage
@pytest.mark.parametrize("offset", NUMBERS_THAT_ARE_NONE)
def test_patch_with_an_offset_that_is_none(client: Client, offset: str) -> None:
    path = client.create()
    assert client.patch(path, offset, b"hello").status == 400
    assert client.offset(path) == 0


@requirement("core-patch-9", "MUST", "A PATCH without `Upload-Offset` is refused with 400.")
@pytest.mark.any_storage
def test_patch_without_an_offset(client: Client) -> None:
    path = client.create()
    assert client.ask("PATCH", path, BYTES, b"hello").status == 400
    assert client.offset(path) == 0


@requirement("core-patch-10", "TRAP", "A body that is longer than the upload is refused with 413, unread.")
@pytest.mark.any_storage
def test_patch_beyond_the_end(client: Client) -> None:
    path = client.create(5)
    with client.connect() as connection:
        head = {**BYTES, "Upload-Offset": 0, "Content-Length": 6, "Expect": "100-continue"}
        connection.begin("PATCH", path, head)
        assert connection.answer(to="PATCH").status == 413
    assert client.offset(path) == 0


@requirement("core-patch-11", "TRAP", "A chunked body that goes on beyond the end is refused with 413.")
def test_patch_beyond_the_end_in_chunks(client: Client) -> None:
    path = client.create(5)
    with client.connect() as connection:
        connection.begin("PATCH", path, {**BYTES, "Upload-Offset": 0, "Transfer-Encoding": "chunked"})
        for piece in (b"hel", b"lo!", b""):
            connection.chunk(piece)
        assert connection.answer(to="PATCH").status == 413
    assert client.offset(path) in {0, 5}


@requirement("core-patch-12", "MAY", "A chunked body, which does not tell its length, is taken.")
def test_patch_in_chunks(client: Client, content: Content) -> None:
    path = client.create(10)
    with client.connect() as connection:
        connection.begin("PATCH", path, {**BYTES, "Upload-Offset": 0, "Transfer-Encoding": "chunked"})
        for piece in (b"hello", b"worl", b"d", b""):
            connection.chunk(piece)
        assert connection.answer(to="PATCH")["upload-offset"] == "10"
    assert content(path) == b"helloworld"


@requirement("core-patch-13", "TRAP", "An empty PATCH at the right offset is fine, and changes nothing.")
def test_an_empty_patch(client: Client) -> None:
    path = client.create(5)
    assert client.patch(path, 0).status == 204
    client.patch(path, 0, b"hello")
    last = client.patch(path, 5)
    assert (last.status, last["upload-offset"]) == (204, "5")


@requirement("core-patch-14", "SHOULD", "As much as possible of a body that was cut off is kept.")
def test_a_body_that_was_cut_off(client: Client, content: Content) -> None:
    path = client.create(10)
    with client.connect() as connection:
        connection.begin_patch(path, {"Content-Length": 10})
        connection.send(b"hello")
    assert client.offset(path) == 5
    client.patch(path, 5, b"world")
    assert content(path) == b"helloworld"


@requirement("core-patch-15", "TRAP", "The same holds for a chunked body that was cut off.")
def test_a_chunked_body_that_was_cut_off(client: Client) -> None:
    path = client.create(10)
    with client.connect() as connection:
        connection.begin_patch(path, {"Transfer-Encoding": "chunked"})
        connection.chunk(b"hello")
    assert client.offset(path) == 5


@requirement("core-patch-16", "TRAP", "The same holds when the connection was reset.")
def test_a_body_that_was_reset(client: Client) -> None:
    path = client.create(10)
    connection = client.connect()
    connection.begin_patch(path, {"Content-Length": 10})
    connection.send(b"hello")
    offset = client.offset(path)  # asks the other request to let go, which takes what has arrived
    connection.reset()
    assert offset == client.offset(path) == 5


@requirement("core-patch-17", "TRAP", "The media type may be written in capitals, and have parameters.")
def test_the_media_type_is_read_as_http_has_it(client: Client) -> None:
    path = client.create(5)
    sent = {"Content-Type": "Application/Offset+Octet-Stream; charset=binary"}
    assert client.patch(path, 0, b"hello", sent).status == 204


@requirement("core-patch-18", "TRAP", "A header that is there twice is not half read: 400.")
@pytest.mark.any_storage
def test_an_offset_that_is_said_twice(client: Client) -> None:
    path = client.create()
    with client.connect() as connection:
        connection.send(
            f"PATCH {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nUpload-Offset: 0\r\n"
            "Content-Type: application/offset+octet-stream\r\nContent-Length: 1\r\n\r\nx".encode()
        )
        assert connection.answer(to="PATCH").status == 400
    assert client.offset(path) == 0


# Methods


@requirement("core-override-1", "MUST", "`X-HTTP-Method-Override` is the method, whatever the real one.")
def test_the_override_is_the_method(client: Client) -> None:
    path = client.create(5)
    patched = client.ask("POST", path, {**BYTES, "Upload-Offset": 0, "X-HTTP-Method-Override": "PATCH"}, b"hello")
    assert (patched.status, patched["upload-offset"]) == (204, "5")
    assert client.ask("POST", path, {**TUS, "X-HTTP-Method-Override": "HEAD"})["upload-offset"] == "5"
    assert client.ask("GET", path, {**TUS, "X-HTTP-Method-Override": "DELETE"}).status == 204


@requirement("core-override-2", "TRAP", "An override that is no method is 400, and one that is not served 405.")
@pytest.mark.any_storage
def test_strange_overrides(client: Client) -> None:
    path = client.create()
    assert client.ask("PATCH", path, {**TUS, "X-HTTP-Method-Override": "NO SUCH"}).status == 400
    assert client.ask("PATCH", path, {**TUS, "X-HTTP-Method-Override": "PUT"}).status == 405


@requirement("core-override-3", "TRAP", "The override works from any method, PUT too, and is read in any case.")
@pytest.mark.any_storage
@pytest.mark.parametrize("method", ["POST", "PUT", "GET", "PATCH", "OPTIONS"])
def test_an_override_from_any_method(client: Client, method: str) -> None:
    path = client.create()
    assert client.ask(method, path, {**TUS, "X-HTTP-Method-Override": "delete"}).status == 204
    assert client.head(path).status == 410


@requirement("core-method-1", "TRAP", "A method that an address does not take is 405, with those that it does.")
@pytest.mark.any_storage
@pytest.mark.parametrize(
    ("method", "target"), [("GET", NOWHERE), ("PUT", NOWHERE), ("PATCH", "/uploads/"), ("PROPFIND", "/uploads/")]
)
def test_other_methods(client: Client, method: str, target: str) -> None:
    answer = client.ask(method, target)
    assert answer.status == 405
    assert "options" in answer.words("allow")


# Addresses


@requirement("core-id-1", "TRAP", "A malformed ID is 404 like any other that there is none of.")
@pytest.mark.any_storage
@pytest.mark.parametrize(
    "name",
    ["x", "0" * 31, "0" * 33, "A" * 32, "..%2f..%2fetc%2fpasswd", "%00", "a%0d%0ab", "%ff" * 32, "../x"],
)
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
def test_malformed_ids(client: Client, method: str, name: str) -> None:
    assert client.ask(method, f"/uploads/{name}", {**BYTES, "Upload-Offset": 0}).status == 404


@requirement("core-id-2", "TRAP", "An upload has one address: no slash behind it, no other path before it.")
@pytest.mark.any_storage
def test_an_upload_has_one_address(client: Client) -> None:
    path = client.create()
    for target in (f"{path}/", path.replace("/uploads/", "/uploads"), path.replace("/uploads/", "/uploads//")):
        assert client.head(target).status == 404, target


@requirement("core-id-3", "TRAP", "A query behind the address is no part of it.")
@pytest.mark.any_storage
def test_a_query_does_not_matter(client: Client) -> None:
    assert client.head(f"{client.create()}?x=/../y").status == 200
