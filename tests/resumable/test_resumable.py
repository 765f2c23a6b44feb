"""Creation, length, limits, offset, append, cancellation, and requests that meet each other.

Sections are those of draft 12.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.resumable.conftest import MAX_SIZE, Released
from tests.tus.client import TUS, Client, Connection, Response
from tests.tus.requirement import requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

NEWEST = 10
# Each version says the same in other words; what is done with the bytes is shown with the newest.
VERSIONS = [*(pytest.param(version, marks=pytest.mark.any_storage) for version in range(3, NEWEST)), NEWEST]
MIB = 1024 * 1024
BODY = bytes(range(256)) * 40
HALF = len(BODY) // 2
NOWHERE = "/uploads/00000000000000000000000000000000"
PROBLEMS = "https://iana.org/assignments/http-problem-types#"


def spoken(version: int | None, *, complete: bool | None = None, **more: str | int) -> dict[str, str | int]:
    """Headers as a client of this version sends them; None: as one of the RFC to come."""
    headers: dict[str, str | int] = {} if version is None else {"Upload-Draft-Interop-Version": version}
    if complete is not None:
        name, said = ("Upload-Incomplete", not complete) if version == 3 else ("Upload-Complete", complete)
        headers[name] = "?1" if said else "?0"
    return headers | {name.replace("_", "-"): value for name, value in more.items()}


def adding(version: int | None, offset: int, *, complete: bool) -> dict[str, str | int]:
    headers = spoken(version, complete=complete, Upload_Offset=offset)
    if version is None or version >= 6:
        headers["Content-Type"] = "application/partial-upload"
    return headers


def is_complete(response: Response, version: int | None) -> bool:
    if version == 3:
        return {"?0": True, "?1": False}[response["upload-incomplete"]]
    return {"?1": True, "?0": False}[response["upload-complete"]]


@contextmanager
def begun(client: Client, head: dict[str, str | int], length: int = len(BODY)) -> Iterator[tuple[Connection, str]]:
    """An upload whose first request is still under way, and its address, which the client has been told."""
    with client.connect() as connection:
        connection.begin("POST", "/uploads/", {"Content-Length": length, **head})
        early = connection.answer(to="POST")
        assert early.status == 104
        yield connection, path_of(early["location"])


def path_of(location: str) -> str:
    return "/" + location.split("/", 3)[3]


def create(
    client: Client, version: int | None = 10, body: bytes = b"", *, complete: bool = False, **more: str | int
) -> str:
    with client.connect() as connection:
        connection.begin("POST", "/uploads/", spoken(version, complete=complete, Content_Length=len(body), **more))
        connection.send(body)
        answer = connection.answer(to="POST")
        while answer.status < 200:
            answer = connection.answer(to="POST")
    assert answer.status in (201, 202), answer
    return path_of(answer["location"])


# 4.2: creation


@requirement(
    "resumable-create-1",
    "MUST",
    "A creation with `?1` and all bytes completes the upload; from version 3 on, a 104 tells its address at once.",
)
@pytest.mark.parametrize("version", [*VERSIONS, None])
def test_all_in_one_request(client: Client, released: Released, version: int | None) -> None:
    with client.connect() as connection:
        head = spoken(version, complete=True, Content_Disposition='inline; filename="a b.bin"')
        connection.begin("POST", "/uploads/", {"Content-Length": len(BODY), **head})
        connection.send(BODY)
        answer = connection.answer(to="POST")
        if version is not None:
            assert answer.status == 104
            assert answer["upload-draft-interop-version"] == str(version)
            assert ("upload-limit" in answer) == (version >= 6)
            location = answer["location"]
            answer = connection.answer(to="POST")
            assert answer["location"] == location
    assert answer.status == 202
    assert is_complete(answer, version)
    assert json.loads(answer.body)["filename"] == "a b.bin"
    assert released(answer["location"]) == ("a b.bin", BODY)


@requirement(
    "resumable-append-1",
    "MUST",
    "Bytes are added by PATCH; 201 or 204 tells the offset and `?0`, until `?1` ends the upload.",
)
@pytest.mark.parametrize("version", [*VERSIONS, None])
def test_in_parts(client: Client, released: Released, version: int | None) -> None:
    with client.connect() as connection:
        connection.begin("POST", "/uploads/", spoken(version, complete=False, Content_Length=10))
        connection.send(BODY[:10])
        answer = connection.answer(to="POST")
        if version is not None:
            answer = connection.answer(to="POST")
    assert answer.status == 201
    assert not is_complete(answer, version)
    assert answer["upload-offset"] == "10"
    assert ("upload-limit" in answer) == (version is None or version >= 6)
    path = path_of(answer["location"])
    answer = client.ask("PATCH", path, adding(version, 10, complete=False), BODY[10:HALF])
    assert answer.status == (204 if version is None or version > 6 else 201)
    assert not is_complete(answer, version)
    answer = client.ask("PATCH", path, adding(version, HALF, complete=True), BODY[HALF:])
    assert answer.status == 202
    assert is_complete(answer, version)
    assert released(path)[1] == BODY


@requirement("resumable-create-2", "MUST", "A creation that was cut off goes on at the address that the 104 has told.")
@pytest.mark.parametrize("version", VERSIONS)
def test_an_interrupted_creation_is_gone_on_with(client: Client, released: Released, version: int) -> None:
    with begun(client, spoken(version, complete=True)) as (connection, path):
        connection.send(BODY[:HALF])
        connection.reset()
    found = client.ask("HEAD", path, spoken(version))
    assert found.status == 204
    assert found["upload-offset"] == str(HALF)
    assert not is_complete(found, version)
    answer = client.ask("PATCH", path, adding(version, HALF, complete=True), BODY[HALF:])
    assert answer.status == 202
    assert released(path)[1] == BODY


@requirement("resumable-create-3", "MAY", "A PUT of a file becomes resumable by the same fields.")
@pytest.mark.parametrize("version", VERSIONS)
def test_put_of_a_file_can_be_gone_on_with(client: Client, released: Released, version: int) -> None:
    with client.connect() as connection:
        connection.begin("PUT", "/files/x.bin", {"Content-Length": len(BODY), **spoken(version, complete=True)})
        path = path_of(connection.answer(to="PUT")["location"])
        connection.send(BODY[:HALF])
    offset = int(client.ask("HEAD", path, spoken(version))["upload-offset"])
    assert offset == HALF
    assert client.ask("PATCH", path, adding(version, offset, complete=True), BODY[HALF:]).status == 202
    assert released(path) == ("x.bin", BODY)


@requirement(
    "resumable-create-7",
    "SHOULD",
    "A PUT of a part of a file (`Content-Range`) is refused, and not taken for the whole.",
)
def test_put_of_a_part_of_a_file_is_refused(client: Client) -> None:
    """RFC 9110, 14.5."""
    for head in ({}, spoken(10, complete=True)):
        answer = client.ask("PUT", "/files/part.bin", {**head, "Content-Range": "bytes 0-2/10"}, b"abc")
        assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad-header")


@requirement("resumable-create-4", "MUST", "A field that is no structured boolean counts as absent.")
@pytest.mark.any_storage
def test_a_put_without_its_header_is_a_plain_one(client: Client) -> None:
    answer = client.ask("PUT", "/files/x.bin", {"Content-Length": len(BODY), "Upload-Complete": "yes"}, BODY)
    assert answer.status == 202
    assert "upload-complete" not in answer


@requirement("resumable-create-5", "TRAP", "A file of no bytes is complete with its creation.")
@pytest.mark.parametrize("chunked", [True, False])
def test_an_empty_file(client: Client, released: Released, chunked: bool) -> None:
    with client.connect() as connection:
        framing: dict[str, str | int] = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": 0}
        connection.begin("POST", "/uploads/", spoken(None, complete=True) | framing)
        if chunked:
            connection.chunk(b"")
        answer = connection.answer(to="POST")
    assert answer.status == 202
    assert released(answer["location"])[1] == b""


@requirement("resumable-create-6", "MAY", "The length need not be known before the end.")
def test_a_stream_of_unknown_length(client: Client, released: Released) -> None:
    with client.connect() as connection:
        connection.begin("POST", "/uploads/", spoken(10, complete=True, Transfer_Encoding="chunked"))
        path = path_of(connection.answer(to="POST")["location"])
        connection.chunk(BODY[:HALF])
        connection.chunk(BODY[HALF:])
        connection.chunk(b"")
        assert connection.answer(to="POST").status == 202
    assert released(path)[1] == BODY


@requirement("resumable-interim-1", "TRAP", "A client that waits for 100 gets it besides the 104.")
@pytest.mark.any_storage
def test_100_is_sent_besides_104(client: Client) -> None:
    with client.connect() as connection:
        connection.begin("POST", "/uploads/", spoken(10, complete=True, Content_Length=2, Expect="100-continue"))
        assert connection.answer(to="POST").status == 104
        assert connection.answer(to="POST").status == 100
        connection.send(b"ab")
        assert connection.answer(to="POST").status == 202


@requirement("resumable-version-1", "TRAP", "Who speaks no version, or one that is not known, is served, without 104.")
@pytest.mark.any_storage
@pytest.mark.parametrize("version", [2, 11, "7.0", "?1"])
def test_an_unknown_version_is_served_without_interim_responses(client: Client, version: str | int) -> None:
    head: dict[str, str | int] = {"Upload-Draft-Interop-Version": version, "Upload-Complete": "?1"}
    answer = client.ask("POST", "/uploads/", head, BODY)
    assert answer.status == 202
    assert "upload-draft-interop-version" not in answer


@requirement("resumable-interim-3", "TRAP", "Through a proxy 104 is only sent if it says that it passes it on.")
def test_through_a_proxy_that_takes_an_interim_response_for_the_answer(client: Client) -> None:
    head = spoken(6, complete=True, X_Forwarded_For="192.0.2.1")
    answer = client.ask("POST", "/uploads/", head, BODY)
    assert answer.status == 202
    assert answer["upload-complete"] == "?1"
    assert client.ask("POST", "/uploads/", {**head, "Penstock-Interim": "pass"}, BODY).status == 104


# 4.1.3: length


@requirement("resumable-length-1", "MUST", "`Upload-Length` is told as soon as it is known.")
@pytest.mark.any_storage
def test_length_is_told_before_the_end(client: Client) -> None:
    path = create(client, Upload_Length=30)
    assert client.ask("HEAD", path, spoken(10))["upload-length"] == "30"
    other = create(client)
    assert "upload-length" not in client.ask("HEAD", other, spoken(10))


@requirement("resumable-offset-4", "MUST", "Up to version 6, who asks for the state says none, or gets 400.")
@pytest.mark.parametrize("field", ["Upload-Offset", "Upload-Complete", "Upload-Incomplete"])
@pytest.mark.parametrize("version", [3, 6, 7])
def test_a_question_with_a_state(client: Client, version: int, field: str) -> None:
    path = create(client, version, body=b"abc")
    said = {field: "3" if field == "Upload-Offset" else "?0"}
    status = 400 if is_insisted_on(version, field) else 204
    assert client.ask("HEAD", path, {**spoken(version), **said}).status == status


@requirement(
    "resumable-complete-1", "MUST", "An upload is complete when a request says so, not when its length is reached."
)
def test_reaching_the_length_does_not_complete(client: Client, released: Released) -> None:
    path = create(client, body=b"0123456789", Upload_Length=10)
    for _ in range(2):
        found = client.ask("HEAD", path, spoken(10))
        assert (found["upload-offset"], found["upload-complete"]) == ("10", "?0")
    assert client.ask("PATCH", path, adding(10, 10, complete=True)).status == 202
    assert released(path)[1] == b"0123456789"


@requirement(
    "resumable-complete-2",
    "TRAP",
    "Up to version 6, reaching the length completes it: clients of that time rely on it.",
)
@pytest.mark.parametrize("version", [3, 4, 5, 6])
def test_reaching_the_length_completes_in_old_versions(client: Client, released: Released, version: int) -> None:
    """tus-js-client says ?0 of the last part of a file that it resumes."""
    with begun(client, spoken(version, complete=True)) as (connection, path):
        connection.send(BODY[:HALF])
    answer = client.ask("PATCH", path, adding(version, HALF, complete=False), BODY[HALF:])
    assert is_complete(answer, version)
    assert released(path)[1] == BODY


@requirement(
    "resumable-length-2", "MUST", "Lengths that contradict each other are refused with 400 and their problem type."
)
@pytest.mark.any_storage
@pytest.mark.parametrize(
    "head",
    [
        spoken(10, complete=True, Upload_Length=11),
        spoken(10, complete=True, Upload_Length=9),
        spoken(10, complete=False, Upload_Length=9),
    ],
)
def test_lengths_that_contradict_each_other(client: Client, head: dict[str, str | int]) -> None:
    answer = client.ask("POST", "/uploads/", head, b"0123456789")
    assert answer.status == 400
    assert json.loads(answer.body)["type"] == f"{PROBLEMS}inconsistent-upload-length"


@requirement("resumable-length-3", "MUST", "A length that is known does not change: 400, and nothing is kept.")
@pytest.mark.any_storage
@pytest.mark.parametrize("complete", [True, False])
def test_a_length_cannot_change(client: Client, complete: bool) -> None:
    path = create(client, Upload_Length=10)
    head = adding(10, 0, complete=complete) | ({} if complete else {"Upload-Length": 12})
    answer = client.ask("PATCH", path, head, b"01234567")
    assert answer.status == 400
    assert json.loads(answer.body)["type"] == f"{PROBLEMS}inconsistent-upload-length"
    assert client.ask("HEAD", path, spoken(10))["upload-offset"] == "0"


@requirement(
    "resumable-length-4", "MUST", "A stream that says `?1` before the length is reached is 400, and the upload goes on."
)
def test_a_stream_that_ends_before_its_length_is_not_complete(client: Client) -> None:
    path = create(client, Upload_Length=10)
    with client.connect() as connection:
        connection.begin("PATCH", path, adding(10, 0, complete=True) | {"Transfer-Encoding": "chunked"})
        connection.chunk(b"01234")
        connection.chunk(b"")
        answer = connection.answer(to="PATCH")
    assert answer.status == 400
    assert json.loads(answer.body)["type"] == f"{PROBLEMS}inconsistent-upload-length"
    found = client.ask("HEAD", path, spoken(10))
    assert (found["upload-offset"], found["upload-complete"]) == ("5", "?0")


@requirement("resumable-length-5", "MUST", "More bytes than the length are 400; from version 8 on, the upload is gone.")
@pytest.mark.parametrize(("version", "after"), [(6, 204), (7, 204), (8, 410), (10, 410), (None, 410)])
@pytest.mark.parametrize("chunked", [True, False])
def test_more_than_the_length(client: Client, version: int | None, after: int, chunked: bool) -> None:
    path = create(client, Upload_Length=10)
    with client.connect() as connection:
        framing: dict[str, str | int] = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": 12}
        connection.begin("PATCH", path, adding(version, 0, complete=False) | framing)
        if chunked:
            connection.chunk(b"0123456789ab")
            connection.chunk(b"")
        else:
            connection.send(b"0123456789ab")
        answer = connection.answer(to="PATCH")
    assert answer.status == 400
    assert json.loads(answer.body)["type"] == f"{PROBLEMS}inconsistent-upload-length"
    assert client.ask("HEAD", path, spoken(version)).status == after


# 4.1.4: limits


@requirement(
    "resumable-limit-1",
    "MUST",
    "`Upload-Limit` is told by OPTIONS, creation and HEAD, from version 6 on; the age as each version calls it.",
)
@pytest.mark.any_storage
def test_limits_are_told(client: Client) -> None:
    for begins in ("/uploads/", "/files/name"):
        options = client.ask("OPTIONS", begins, {})
        assert options["upload-limit"] == f"max-size={MAX_SIZE}"
        assert "application/partial-upload" in options.words("accept-patch")
    found = client.ask("HEAD", create(client), spoken(10))
    assert found.words("upload-limit") >= {f"max-size={MAX_SIZE}"}
    assert "max-age=" in found["upload-limit"]
    assert "expires=" in client.ask("HEAD", create(client), spoken(6))["upload-limit"]
    assert "upload-limit" not in client.ask("HEAD", create(client), spoken(5))


@requirement("resumable-limit-2", "MUST", "A length over `max-size` is refused with 413 and the limit.")
@pytest.mark.any_storage
def test_over_the_limit(client: Client) -> None:
    head = spoken(10, complete=False, Upload_Length=MAX_SIZE + 1)
    answer = client.ask("POST", "/uploads/", head, b"x")
    assert answer.status == 413
    assert answer["upload-limit"] == f"max-size={MAX_SIZE}"


@requirement("resumable-limit-3", "MUST", "A stream over `max-size` is refused with 413 and the limit.")
def test_a_stream_over_the_limit(client: Client) -> None:
    path = create(client)
    with client.connect() as connection:
        connection.begin("PATCH", path, adding(10, 0, complete=True) | {"Transfer-Encoding": "chunked"})
        connection.chunk(bytes(MAX_SIZE + 1))
        answer = connection.answer(to="PATCH")
    assert answer.status == 413
    assert answer["upload-limit"] == f"max-size={MAX_SIZE}"


# 4.3 and 4.4: offset retrieval, append


@requirement(
    "resumable-offset-1", "MUST", "HEAD, and GET as well, tell offset and state with 204, and forbid caches to keep it."
)
@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("version", [*VERSIONS, None])
def test_the_state(client: Client, version: int | None, method: str) -> None:
    answer = client.ask(method, create(client, body=b"abc"), spoken(version))
    assert answer.status == 204
    assert answer["upload-offset"] == "3"
    assert not is_complete(answer, version)
    assert answer["cache-control"] == "no-store"


@requirement(
    "resumable-offset-2", "MUST", "The state of a complete upload is `?1` with its length, and where to follow it."
)
def test_the_state_of_a_complete_upload(client: Client) -> None:
    answer = client.ask("HEAD", create(client, body=b"abc", complete=True), spoken(10))
    assert answer.status == 204
    assert (answer["upload-offset"], answer["upload-length"], answer["upload-complete"]) == ("3", "3", "?1")
    assert "status" in answer["link"]


@requirement("resumable-offset-3", "MUST", "What is not there is 404 for every method.")
@pytest.mark.any_storage
def test_nothing_is_there(client: Client) -> None:
    for method in ("HEAD", "GET", "PATCH", "DELETE"):
        head = adding(10, 0, complete=True) if method == "PATCH" else spoken(10)
        assert client.ask(method, NOWHERE, head).status == 404
    assert client.ask("HEAD", NOWHERE, {}).status == 404


@requirement("resumable-append-2", "MUST", "A wrong offset is 409, with the right one, `?0` and the problem type.")
@pytest.mark.parametrize("version", [*VERSIONS, None])
def test_a_wrong_offset(client: Client, version: int | None) -> None:
    path = create(client, version, body=b"abc")
    answer = client.ask("PATCH", path, adding(version, 1, complete=True), b"xyz")
    assert answer.status == 409
    assert answer["upload-offset"] == "3"
    assert not is_complete(answer, version)
    told = json.loads(answer.body)
    assert told["type"] == f"{PROBLEMS}mismatching-upload-offset"
    assert (told["expected-offset"], told["provided-offset"]) == (3, 1)


@requirement(
    "resumable-append-3",
    "MUST",
    "An append needs offset, state and media type, each well-formed; else 400 or 415, and nothing is kept.",
)
@pytest.mark.any_storage
@pytest.mark.parametrize(
    ("head", "status"),
    [
        ({"Upload-Offset": 0, "Content-Type": "application/partial-upload"}, 400),
        ({"Upload-Complete": "?1", "Content-Type": "application/partial-upload"}, 400),
        ({"Upload-Complete": "true", "Upload-Offset": 0, "Content-Type": "application/partial-upload"}, 400),
        ({"Upload-Complete": "?1", "Upload-Offset": "?0", "Content-Type": "application/partial-upload"}, 400),
        ({"Upload-Complete": "?1", "Upload-Offset": -1, "Content-Type": "application/partial-upload"}, 400),
        ({"Upload-Complete": "?1", "Upload-Offset": 10**15, "Content-Type": "application/partial-upload"}, 400),
        ({"Upload-Complete": "?1", "Upload-Offset": 0, "Content-Type": "application/octet-stream"}, 415),
        ({"Upload-Complete": "?1", "Upload-Offset": 0}, 415),
    ],
)
def test_what_is_missing_or_malformed(client: Client, head: dict[str, str | int], status: int) -> None:
    path = create(client)
    assert client.ask("PATCH", path, head, b"abc").status == status
    assert client.ask("HEAD", path, spoken(10))["upload-offset"] == "0"


@requirement("resumable-append-4", "TRAP", "Structured fields may have parameters.")
@pytest.mark.any_storage
def test_parameters_of_fields_are_allowed(client: Client, released: Released) -> None:
    path = create(client)
    head: dict[str, str | int] = {
        "Upload-Complete": "?1;x=1",
        "Upload-Offset": "0; y",
        "Content-Type": "application/partial-upload; z=1",
    }
    assert client.ask("PATCH", path, head, b"abc").status == 202
    assert released(path)[1] == b"abc"


@requirement("resumable-append-5", "MUST", "Nothing is added to a complete upload: 400 with the problem type.")
@pytest.mark.parametrize(("body", "kind"), [(b"", "completed-upload"), (b"x", "inconsistent-upload-length")])
def test_nothing_is_added_to_a_complete_upload(client: Client, released: Released, body: bytes, kind: str) -> None:
    path = create(client, body=b"abc", complete=True)
    answer = client.ask("PATCH", path, adding(10, 3, complete=True), body)
    assert answer.status == 400
    assert json.loads(answer.body)["type"] == f"{PROBLEMS}{kind}"
    assert released(path)[1] == b"abc"


@requirement(
    "resumable-complete-3",
    "MUST",
    "An error says `?1`, from version 7 on, if all has arrived and the file is refused: to go on is of no use.",
)
@pytest.mark.parametrize("version", [6, 7, None])
def test_a_file_that_is_refused_at_its_end(client: Client, version: int | None) -> None:
    path = create(client, version, Repr_Digest=f"sha-256=:{b64encode(bytes(32)).decode()}:")
    answer = client.ask("PATCH", path, adding(version, 0, complete=True), b"abc")
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "digest-mismatch")
    assert ("upload-complete" in answer) is (version != 6)
    assert version == 6 or is_complete(answer, version)
    assert client.ask("HEAD", path, spoken(version)).status == 410


@requirement(
    "resumable-complete-4", "TRAP", "Up to version 6, who finds all of it there on coming back has completed it."
)
def test_who_comes_back_to_all_of_it_in_old_versions(client: Client, released: Released) -> None:
    """tus-js-client takes an offset at the length for the end, whatever the state says."""
    path = create(client, body=b"0123456789", Upload_Length=10)
    assert is_complete(client.ask("HEAD", path, spoken(6)), 6)
    assert released(path)[1] == b"0123456789"


@requirement(
    "resumable-interim-2", "MAY", "104 tells progress meanwhile, without the address, and only of bytes that are kept."
)
def test_progress_is_told_of_what_would_survive(client: Client, storage: str) -> None:
    """Not before a second has passed, and without the address. An object store is written to in larger pieces."""
    path = create(client, Upload_Length=3 * MIB)
    with client.connect() as connection:
        began, left = time.monotonic(), 3 * MIB
        connection.begin("PATCH", path, adding(10, 0, complete=True) | {"Content-Length": 3 * MIB})
        for piece in (2 * MIB, *[1] * 1000):
            connection.send(bytes(piece))
            left -= piece
            if not connection.quiet(0.1) or (storage != "local" and time.monotonic() - began > 1.2):
                break
        if storage == "local":
            told = connection.answer(to="PATCH")
            assert told.status == 104
            assert time.monotonic() - began >= 1
            assert 0 < int(told["upload-offset"]) < 3 * MIB
            assert "location" not in told
        connection.send(bytes(left))
        told = connection.answer(to="PATCH")
        while storage == "local" and told.status == 104:
            told = connection.answer(to="PATCH")
        assert told.status == 202


# 4.5 and 4.6: cancellation, concurrency


@requirement("resumable-cancel-1", "MUST", "DELETE cancels an upload; from then on it is 410.")
@pytest.mark.parametrize("version", [*VERSIONS, None])
def test_an_upload_is_cancelled(client: Client, version: int | None) -> None:
    path = create(client, version, body=b"abc")
    assert client.ask("DELETE", path, spoken(version)).status == 204
    assert client.ask("HEAD", path, spoken(version)).status == 410
    assert client.ask("PATCH", path, adding(version, 3, complete=True), b"x").status == 410


@requirement("resumable-cancel-2", "MUST", "Up to version 6, who cancels says nothing of offset or state, or gets 400.")
@pytest.mark.parametrize("field", ["Upload-Offset", "Upload-Complete", "Upload-Incomplete"])
@pytest.mark.parametrize("version", [3, 6, 7])
def test_a_cancellation_with_a_state(client: Client, version: int, field: str) -> None:
    path = create(client, version, body=b"abc")
    said = {field: "3" if field == "Upload-Offset" else "?0"}
    refused = is_insisted_on(version, field)
    assert client.ask("DELETE", path, {**spoken(version), **said}).status == (400 if refused else 204)
    assert client.ask("HEAD", path, spoken(version)).status == (204 if refused else 410)


def is_insisted_on(version: int, field: str) -> bool:
    """Whether this field must not come with HEAD or DELETE; the state is called by another name in version 3."""
    return version <= 6 and field != ("Upload-Complete" if version == 3 else "Upload-Incomplete")


@requirement("resumable-lock-1", "MUST", "A new request takes over from one that stands still.")
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
def test_a_new_request_takes_over(client: Client, released: Released, method: str) -> None:
    with begun(client, spoken(10, complete=True)) as (connection, path):
        connection.send(BODY[:HALF])
        if method == "HEAD":
            assert client.ask("HEAD", path, spoken(10))["upload-offset"] == str(HALF)
        elif method == "PATCH":
            assert client.ask("PATCH", path, adding(10, HALF, complete=True), BODY[HALF:]).status == 202
            assert released(path)[1] == BODY
        else:
            assert client.ask("DELETE", path, {}).status == 204
            assert client.ask("HEAD", path, spoken(10)).status == 410


# Beside tus


@requirement(
    "resumable-beside-tus-1", "TRAP", "tus and this protocol share one address, and are not taken for each other."
)
@pytest.mark.any_storage
def test_both_protocols_at_one_address(client: Client) -> None:
    tus = client.ask("POST", "/uploads/", {**TUS, "Upload-Length": 3})
    ours = create(client)
    assert client.ask("HEAD", path_of(tus["location"]), TUS)["tus-resumable"] == "1.0.0"
    assert client.ask("HEAD", ours, {})["upload-complete"] == "?0"
    assert client.ask("HEAD", path_of(tus["location"]), {}).status == 412


@requirement("resumable-cors-1", "TRAP", "Pages in browsers may read what they need.")
@pytest.mark.any_storage
def test_pages_in_browsers_see_what_they_need(client: Client) -> None:
    answer = client.ask("HEAD", create(client), {**spoken(10), "Origin": "https://elsewhere.example"})
    needed = {"upload-complete", "upload-offset", "upload-limit", "location"}
    assert answer.words("access-control-expose-headers") >= needed
