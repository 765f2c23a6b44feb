"""What HTTP wants of any server, where upload servers fail; and requests that meet each other."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from tests.tus.client import BYTES, TUS, Client, Response
from tests.tus.conftest import Content
from tests.tus.requirement import requirement

MIB = 1024 * 1024

# Frames


@requirement("http-frame-1", "TRAP", "A 204 has no `Content-Length`, and its connection serves on.")
def test_one_connection_serves_on(client: Client) -> None:
    path = client.create(10)
    with client.connect() as connection:
        for offset in (0, 5):
            answer = connection.exchange("PATCH", path, {**BYTES, "Upload-Offset": offset}, b"hello")
            assert answer.status == 204
            assert "content-length" not in answer
        assert connection.exchange("HEAD", path, TUS)["upload-offset"] == "10"


@requirement(
    "http-frame-2", "TRAP", "After a refused body the connection is closed or drained: no body is read as a request."
)
def test_a_refused_body_is_no_request(client: Client) -> None:
    path, victim = client.create(), client.create()
    smuggled = f"DELETE {victim} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n\r\n".encode()
    with client.connect() as connection:
        assert connection.exchange("PATCH", path, {**BYTES, "Upload-Offset": 3}, smuggled).status == 409
        assert connection.quiet() or connection.closed()
    assert client.head(victim).status == 200


@requirement("http-frame-3", "TRAP", "A client that only listens after it has sent everything sees why it was refused.")
@pytest.mark.any_storage
def test_a_refusal_is_seen_after_a_large_body(client: Client) -> None:
    path = client.create(10)
    with client.connect() as connection:
        connection.begin("PATCH", path, {**BYTES, "Upload-Offset": 0, "Content-Length": 4 * MIB})
        connection.send(bytes(4 * MIB))
        assert connection.answer(to="PATCH").status == 413


@requirement("http-frame-4", "TRAP", "A request with both lengths, which others read in two ways, does not add a byte.")
def test_two_lengths(client: Client) -> None:
    path = client.create()
    with client.connect() as connection:
        connection.begin(
            "PATCH", path, {**BYTES, "Upload-Offset": 0, "Content-Length": 5, "Transfer-Encoding": "chunked"}
        )
        connection.send(b"0\r\n\r\nDELETE")
        with_both = connection.answer(to="PATCH")
        assert with_both.status in {204, 400}
    assert client.offset(path) == 0


@requirement("http-frame-5", "TRAP", "A `Content-Length` that is no number is 400.")
@pytest.mark.any_storage
@pytest.mark.parametrize("length", ["-5", "+5", "5, 6", "0x5", "five"])
def test_lengths_that_are_none(client: Client, length: str) -> None:
    path = client.create()
    with client.connect() as connection:
        connection.begin("PATCH", path, {**BYTES, "Upload-Offset": 0, "Content-Length": length})
        assert connection.answer(to="PATCH").status == 400
    assert client.offset(path) == 0


# Expect


@requirement("http-continue-1", "MUST", "A client that expects it is asked to go on when all is right.")
def test_go_on(client: Client) -> None:
    path = client.create(5)
    with client.connect() as connection:
        connection.begin("PATCH", path, {**BYTES, "Upload-Offset": 0, "Content-Length": 5, "Expect": "100-continue"})
        assert connection.answer(to="PATCH").status == 100
        connection.send(b"hello")
        assert connection.answer(to="PATCH").status == 204


@requirement("http-continue-2", "TRAP", "No 100 comes before a refusal.")
@pytest.mark.any_storage
@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"Upload-Offset": 3}, 409),
        ({"Tus-Resumable": "0.2.2"}, 412),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Length": 99}, 413),
        ({"Upload-Checksum": "nothing aGVsbG8="}, 400),
    ],
)
def test_no_going_on_before_a_refusal(client: Client, wrong: dict[str, str | int], status: int) -> None:
    path = client.create()
    head = {**BYTES, "Upload-Offset": 0, "Content-Length": 5, "Expect": "100-continue", **wrong}
    with client.connect() as connection:
        connection.begin("PATCH", path, head)
        assert connection.answer(to="PATCH").status == status


# Two at once


@requirement("lock-1", "TRAP", "A new PATCH takes over from one that stands still, and the bytes of both fit together.")
def test_a_stalled_request_is_taken_over(client: Client, content: Content) -> None:
    path = client.create(10)
    with client.connect() as stalled:
        stalled.begin_patch(path, {"Content-Length": 10})
        stalled.send(b"hello")
        offset = client.offset(path)
        assert client.patch(path, offset, b"helloworld"[offset:]).status == 204
        with suppress(OSError):  # late bytes: the connection may be gone
            stalled.send(b"XXXXX")
    assert content(path) == b"helloworld"


@requirement("lock-2", "TRAP", "Of two PATCHes for one offset, one is answered with 204.")
def test_two_for_one_offset(client: Client, content: Content) -> None:
    path = client.create(5)
    answers: list[Response] = []

    def send(body: bytes) -> None:
        answers.append(client.patch(path, 0, body))

    threads = [threading.Thread(target=send, args=(body,)) for body in (b"aaaaa", b"bbbbb")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status for answer in answers) == [204, 409]
    assert content(path) in {b"aaaaa", b"bbbbb"}


@requirement("lock-3", "TRAP", "DELETE takes over from a PATCH, whose bytes leave no trace.")
def test_delete_while_somebody_sends(client: Client) -> None:
    path = client.create(10)
    with client.connect() as sending:
        sending.begin_patch(path, {"Content-Length": 10})
        sending.send(b"hello")
        assert client.ask("DELETE", path).status == 204
        assert client.head(path).status == 410


@requirement("lock-4", "TRAP", "The request that was taken over is answered with 409 or 423, not with silence.")
def test_who_was_taken_over_hears_of_it(client: Client) -> None:
    path = client.create(10)
    with client.connect() as sending:
        sending.begin("PATCH", path, {**BYTES, "Upload-Offset": 0, "Content-Length": 10})
        sending.send(b"hello")
        client.offset(path)
        assert sending.answer(to="PATCH").status in {409, 423}


# Browsers


ORIGIN = {"Origin": "https://app.example.org"}
PREFLIGHT = {**ORIGIN, "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "tus-resumable"}
REQUEST_HEADERS = {
    *("authorization", "content-type", "tus-resumable", "upload-offset", "upload-length", "upload-metadata"),
    *("upload-checksum", "upload-concat", "upload-defer-length", "x-http-method-override", "x-request-id"),
}
RESPONSE_HEADERS = {
    *("location", "link", "upload-offset", "upload-length", "upload-metadata", "upload-expires", "upload-concat"),
    *("upload-defer-length", "tus-version", "tus-resumable", "tus-max-size", "tus-extension", "retry-after"),
    "tus-checksum-algorithm",
}


@requirement("cors-1", "TRAP", "A browser's preflight is answered on the collection.")
@pytest.mark.any_storage
def test_preflight(client: Client) -> None:
    answer = client.ask("OPTIONS", "/uploads/", {**PREFLIGHT, "Access-Control-Request-Method": "POST"})
    assert answer.status == 200
    assert answer["access-control-allow-origin"] in {"*", ORIGIN["Origin"]}
    assert {"post", "head", "patch", "delete", "options"} <= answer.words("access-control-allow-methods")


@requirement("cors-2", "TRAP", "A preflight is answered on the address of an upload, which needs one more often.")
@pytest.mark.any_storage
def test_preflight_on_an_upload(client: Client) -> None:
    answer = client.ask("OPTIONS", client.create(), PREFLIGHT)
    assert answer.status == 200
    assert answer["access-control-allow-origin"] in {"*", ORIGIN["Origin"]}
    assert int(answer["access-control-max-age"]) > 0


@requirement("cors-3", "TRAP", "A preflight allows every header of tus, and Authorization.")
@pytest.mark.any_storage
def test_preflight_allows_all_headers(client: Client) -> None:
    allowed = client.ask("OPTIONS", "/uploads/", PREFLIGHT).words("access-control-allow-headers")
    assert allowed >= REQUEST_HEADERS, REQUEST_HEADERS - allowed


@requirement("cors-4", "TRAP", "Scripts may read every header of tus, those of extensions included.")
@pytest.mark.any_storage
def test_headers_are_exposed(client: Client) -> None:
    answer = client.ask("POST", "/uploads/", {**TUS, **ORIGIN, "Upload-Length": 5})
    exposed = answer.words("access-control-expose-headers")
    assert exposed >= RESPONSE_HEADERS, RESPONSE_HEADERS - exposed


@requirement("cors-5", "TRAP", "Errors can be read by scripts as well.")
@pytest.mark.any_storage
def test_errors_are_for_scripts_too(client: Client) -> None:
    answer = client.ask("HEAD", "/uploads/" + "0" * 32, {**TUS, **ORIGIN})
    assert answer.status == 404
    assert answer["access-control-allow-origin"] in {"*", ORIGIN["Origin"]}


@requirement("cors-6", "TRAP", "A preflight needs neither `Tus-Resumable` nor credentials, and changes nothing.")
@pytest.mark.any_storage
def test_a_preflight_changes_nothing(client: Client) -> None:
    path = client.create()
    asked = client.ask("OPTIONS", path, {**ORIGIN, "Access-Control-Request-Method": "DELETE"})
    assert "access-control-allow-credentials" not in asked
    assert client.offset(path) == 0


@requirement("cors-7", "TRAP", "Who sends no `Origin` is not bothered with any of this.")
@pytest.mark.any_storage
def test_without_an_origin(client: Client) -> None:
    answer = client.ask("OPTIONS", "/uploads/")
    assert not [name for name, _ in answer.pairs if name.startswith("access-control-")]
