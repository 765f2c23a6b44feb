"""Concatenation, of parts that are complete and of parts that are not."""

from __future__ import annotations

import pytest

from tests.tus.client import BYTES, TUS, Client, Response, b64
from tests.tus.conftest import MAX_SIZE, Content, Show
from tests.tus.requirement import requirement
from tests.tus.test_core import NOWHERE

PARTIAL = {"Upload-Concat": "partial"}
HALF = MAX_SIZE // 2 + 1


def final(client: Client, *paths: str, **headers: str) -> Response:
    return client.post({"Upload-Concat": f"final;{' '.join(paths)}", **headers})


def made_of(client: Client, *paths: str) -> str:
    answer = final(client, *paths)
    assert answer.status == 201, answer
    return client.path(answer)


# Parts


@requirement("concat-1", "MUST", "`concatenation` is announced.")
@pytest.mark.any_storage
def test_concatenation_is_announced(client: Client) -> None:
    assert "concatenation" in client.ask("OPTIONS", "/uploads/").words("tus-extension")


@requirement("concat-2", "MUST", "A part is created and sent like any upload.")
def test_a_part(client: Client) -> None:
    path = client.partial(b"hello")
    assert client.offset(path) == 5


@requirement("concat-3", "MUST", "HEAD of a part has `Upload-Concat: partial`.")
def test_head_of_a_part(client: Client) -> None:
    assert client.head(client.create(5, PARTIAL))["upload-concat"] == "partial"


@requirement("concat-4", "SHOULD", "A part is not processed on its own, however complete it is.")
@pytest.mark.parametrize("body", [b"hello", b""])
def test_a_part_is_not_processed(client: Client, show: Show, body: bytes) -> None:
    assert show(client.partial(body))["phase"] == "receiving"


@requirement("concat-5", "TRAP", "A part cannot be read.")
def test_a_part_is_not_read(client: Client) -> None:
    upload_id = client.partial(b"hello").rpartition("/")[2]
    assert client.ask("GET", f"/api/v1/files/{upload_id}/content", {}).status == 404


@requirement("concat-6", "TRAP", "A part may be created together with its bytes.")
def test_a_part_with_its_bytes(client: Client, content: Content) -> None:
    answer = client.post({**BYTES, **PARTIAL, "Upload-Length": 5}, b"hello")
    assert (answer.status, answer["upload-offset"]) == (201, "5")
    assert content(made_of(client, client.path(answer))) == b"hello"


@requirement("concat-7", "TRAP", "The length of a part may be deferred.")
def test_a_part_without_a_length(client: Client, content: Content) -> None:
    path = client.create(None, PARTIAL)
    client.patch(path, 0, b"hello", {"Upload-Length": 5})
    assert content(made_of(client, path)) == b"hello"


@requirement("concat-8", "TRAP", "A part may be terminated; then no upload can be made of it.")
def test_a_part_that_was_terminated(client: Client) -> None:
    path = client.partial(b"hello")
    assert client.ask("DELETE", path).status == 204
    assert final(client, path).status == 400


@requirement("concat-9", "TRAP", "A part tells when it expires, complete or not: it is not kept for ever.")
def test_a_part_tells_when_it_expires(client: Client) -> None:
    assert "upload-expires" in client.head(client.partial(b"hello"))


# Finals


@requirement("concat-10", "MUST", "A final has the bytes of its parts, in the order in which they are named.")
def test_a_final(client: Client, content: Content) -> None:
    one, two = client.partial(b"hello "), client.partial(b"world")
    assert content(made_of(client, one, two)) == b"hello world"
    assert content(made_of(client, two, one)) == b"worldhello "


@requirement("concat-11", "MUST", "The length of a final is the sum of those of its parts.")
def test_the_length_of_a_final(client: Client) -> None:
    head = client.head(made_of(client, client.partial(b"hello "), client.partial(b"world")))
    assert (head["upload-length"], head["upload-offset"]) == ("11", "11")


@requirement("concat-12", "MUST", "HEAD of a final gives `Upload-Concat` back literally.")
def test_head_of_a_final(client: Client) -> None:
    one, two = client.partial(b"hello "), client.partial(b"world")
    sent = f"final;{one} {client.base}{two}"
    path = client.path(client.post({"Upload-Concat": sent}))
    assert client.head(path)["upload-concat"] == sent


@requirement("concat-13", "MUST", "PATCH of a final is refused with 403, and changes nothing.")
@pytest.mark.parametrize("offset", [0, 5, 10])
def test_patch_of_a_final(client: Client, content: Content, offset: int) -> None:
    path = made_of(client, client.partial(b"hello"))
    assert client.patch(path, offset, b"more").status == 403
    assert content(path) == b"hello"


@requirement("concat-14", "MUST", "A final is created without a length: one that is named is refused with 400.")
@pytest.mark.any_storage
@pytest.mark.parametrize("headers", [{"Upload-Length": "5"}, {"Upload-Length": "6"}, {"Upload-Defer-Length": "1"}])
def test_a_final_with_a_length(client: Client, headers: dict[str, str]) -> None:
    assert final(client, client.partial(b"hello"), **headers).status == 400


@requirement("concat-15", "MUST", "The metadata of a final is its own, and not that of its parts.")
def test_the_metadata_of_a_final(client: Client, show: Show) -> None:
    part = client.create(5, {**PARTIAL, "Upload-Metadata": f"filename {b64('part.bin')}"})
    client.patch(part, 0, b"hello")
    assert "upload-metadata" not in client.head(made_of(client, part))
    sent = f"filename {b64('whole.txt')}"
    path = client.path(final(client, part, **{"Upload-Metadata": sent}))
    assert client.head(path)["upload-metadata"] == sent
    assert show(path)["filename"] == "whole.txt"


@requirement("concat-16", "TRAP", "Parts may be named by relative and by absolute URLs.")
def test_relative_and_absolute_urls(client: Client, content: Content) -> None:
    one, two = client.partial(b"hello "), client.partial(b"world")
    assert content(made_of(client, f"{client.base}{one}", two)) == b"hello world"
    assert content(made_of(client, one, f"https://files.example.org/behind/a/proxy{two}")) == b"hello world"


@requirement("concat-17", "TRAP", "The same part may come twice, and in several finals.")
def test_the_same_part_twice(client: Client, content: Content) -> None:
    one, two = client.partial(b"na "), client.partial(b"batman")
    assert content(made_of(client, one, one, two)) == b"na na batman"
    assert content(made_of(client, one)) == b"na "


@requirement("concat-18", "TRAP", "A final outlives its parts.")
def test_a_final_outlives_its_parts(client: Client, content: Content) -> None:
    part = client.partial(b"hello")
    path = made_of(client, part)
    assert client.ask("DELETE", part).status == 204
    assert client.offset(path) == 5
    assert content(path) == b"hello"


@requirement("concat-19", "TRAP", "The parts outlive their final.")
def test_the_parts_outlive_a_final(client: Client, content: Content) -> None:
    part = client.partial(b"hello")
    first = made_of(client, part)
    assert client.ask("DELETE", first).status == 204
    assert client.head(first).status == 410
    second = made_of(client, part)
    assert second != first
    assert content(second) == b"hello"


@requirement("concat-20", "MUST", "A sum above `Tus-Max-Size` is refused with 413, and nothing is created.")
def test_a_sum_that_is_too_large(client: Client) -> None:
    path = client.partial(bytes(HALF))
    answer = final(client, path, path)
    assert answer.status == 413
    assert "location" not in answer


@requirement("concat-21", "TRAP", "What is no part, or is not there, is refused with 400, and nothing is created.")
@pytest.mark.parametrize("what", ["nowhere", "an upload", "a complete upload", "a final"])
def test_what_is_no_part(client: Client, what: str) -> None:
    part = client.partial(b"hello")
    whole = client.path(client.post({**BYTES, "Upload-Length": 5}, b"hello"))
    others = {
        "nowhere": NOWHERE,
        "an upload": client.create(5),
        "a complete upload": whole,
        "a final": made_of(client, part),
    }
    assert final(client, part, others[what]).status == 400


@requirement("concat-22", "MUST", "A value that is neither `partial` nor a list of parts is refused with 400.")
@pytest.mark.any_storage
@pytest.mark.parametrize(
    "value", ["", "Partial", "partial;", "final", "final;", "final; ", "finals;x", "other", "final,x"]
)
def test_values_that_are_none(client: Client, value: str) -> None:
    assert client.post({"Upload-Length": 5, "Upload-Concat": value}).status == 400
    assert client.post({"Upload-Concat": value}).status == 400


@requirement("concat-23", "TRAP", "URLs that lead elsewhere are refused with 400.")
@pytest.mark.any_storage
@pytest.mark.parametrize(
    "url",
    [
        "/uploads/../../etc/passwd",
        "/uploads/%2e%2e/x",
        "/uploads/" + "0" * 31,
        "/uploads/" + "0" * 33,
        "/uploads/" + "A" * 32,
        "file:///uploads/" + "0" * 32,
        "//evil.example/uploads/" + "0" * 32,
        "0" * 32,
        "/files/" + "0" * 32,
        "/uploads/" + "0" * 32 + "?x",
        "/uploads/" + "0" * 32 + "/",
        "http://user@host/uploads/" + "0" * 32,
    ],
)
def test_urls_that_lead_elsewhere(client: Client, url: str) -> None:
    assert final(client, client.partial(b"hello"), url).status == 400


@requirement("concat-24", "TRAP", "A final takes no body of its own: 400.")
def test_a_final_with_a_body(client: Client) -> None:
    part = client.partial(b"hello")
    assert client.post({**BYTES, "Upload-Concat": f"final;{part}"}, b"more").status == 400


@requirement("concat-25", "TRAP", "Who asks again for the same final, since the answer was lost, gets the same one.")
def test_the_same_final_again(client: Client) -> None:
    one, two = client.partial(b"hello "), client.partial(b"world")
    path = made_of(client, one, two)
    assert made_of(client, one, two) == path
    assert made_of(client, two, one) != path
    other = client.path(final(client, one, two, **{"Upload-Metadata": f"filename {b64('other.txt')}"}))
    assert other != path


@requirement("concat-26", "TRAP", "A final of parts without bytes is complete, and empty.")
def test_a_final_of_nothing(client: Client, content: Content) -> None:
    path = made_of(client, client.partial(b""))
    assert client.offset(path) == 0
    assert content(path) == b""


@requirement("concat-27", "TRAP", "A final of many parts, of all sizes.")
def test_a_final_of_many_parts(client: Client, content: Content) -> None:
    bodies = [bytes([number]) * (number * 1001) for number in range(40)]
    paths = [client.partial(body) for body in bodies]
    assert content(made_of(client, *paths)) == b"".join(bodies)


# Parts that are not complete


@requirement("concat-unfinished-1", "MUST", "`concatenation-unfinished` is announced.")
@pytest.mark.any_storage
def test_unfinished_parts_are_announced(client: Client) -> None:
    assert "concatenation-unfinished" in client.ask("OPTIONS", "/uploads/").words("tus-extension")


@requirement("concat-unfinished-2", "MAY", "A final may be created while its parts are still on their way in.")
def test_a_final_of_unfinished_parts(client: Client, content: Content) -> None:
    one, two = client.partial(b"hello ", sent=2), client.partial(b"world", sent=0)
    path = made_of(client, one, two)
    assert client.patch(two, 0, b"world").status == 204
    assert "upload-offset" not in client.head(path)
    assert client.patch(one, 2, b"llo ").status == 204
    assert content(path) == b"hello world"
    assert client.offset(path) == 11


@requirement("concat-unfinished-3", "MUST", "HEAD of a final has no `Upload-Offset` until its parts are complete.")
def test_an_unfinished_final_has_no_offset(client: Client) -> None:
    answer = final(client, client.partial(b"hello", sent=3))
    assert answer.status == 201
    assert "upload-offset" not in answer
    head = client.head(client.path(answer))
    assert head.status == 200
    assert "upload-offset" not in head
    assert "upload-defer-length" not in head
    assert head["upload-length"] == "5"


@requirement("concat-unfinished-4", "TRAP", "An unfinished final takes no bytes either, and can be terminated.")
def test_an_unfinished_final_is_terminated(client: Client) -> None:
    part = client.partial(b"hello", sent=3)
    path = made_of(client, part)
    assert client.patch(path, 0, b"hello").status == 403
    assert client.ask("DELETE", path).status == 204
    assert client.patch(part, 3, b"lo").status == 204
    assert client.head(path).status == 410


@requirement("concat-unfinished-5", "TRAP", "A part whose length is not known cannot be used yet: 400.")
def test_a_part_of_unknown_length(client: Client) -> None:
    assert final(client, client.create(None, PARTIAL)).status == 400


@requirement("concat-unfinished-6", "TRAP", "An unfinished final tells when it expires.")
def test_an_unfinished_final_expires(client: Client) -> None:
    assert "upload-expires" in client.head(made_of(client, client.partial(b"hello", sent=3)))


@requirement("concat-28", "TRAP", "The method override works for a final as well.")
def test_a_final_by_override(client: Client) -> None:
    part = client.partial(b"hello")
    sent = {**TUS, "Upload-Concat": f"final;{part}", "X-HTTP-Method-Override": "POST"}
    assert client.ask("PUT", "/uploads/", sent).status == 201
