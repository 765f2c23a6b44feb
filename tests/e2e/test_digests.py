"""Digest fields with plain uploads and resumable ones, on a real server, and the links in the last answers."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.servers.penstock import PenstockServer
from tests.tus.client import BYTES, Client, Response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BODY = b"hello " * 50_000
HALF = len(BODY) // 2
FINAL = {"Upload-Complete": "?1"}
PART = {"Content-Type": "application/partial-upload", **FINAL}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    with PenstockServer(tmp_path_factory.mktemp("digests")) as running:
        yield running


@pytest.fixture
def client(server: PenstockServer) -> Client:
    return Client(server.port)


def digest(body: bytes, algorithm: str = "sha-256") -> str:
    found = hashlib.new(algorithm.replace("-", ""), body).digest()
    return f"{algorithm}=:{base64.b64encode(found).decode()}:"


def known(server: PenstockServer) -> int:
    return len(httpx.get(f"{server.url}/api/v1/uploads?phase=receiving").json()["uploads"])


def released(server: PenstockServer, upload_id: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    ends_at = time.monotonic() + 60
    while (answer := httpx.get(f"{server.url}/api/v1/files/{upload_id}/content", headers=headers)).status_code == 425:
        assert time.monotonic() < ends_at
        time.sleep(0.01)
    return answer.raise_for_status()


def trailed(client: Client, method: str, path: str, body: bytes, trailers: Mapping[str, str], **head: str) -> Response:
    """Send a chunked request with fields after its body."""
    with client.connect() as connection:
        headers = {name.replace("_", "-"): value for name, value in head.items()}
        connection.begin(method, path, {"Transfer-Encoding": "chunked", "Trailer": ", ".join(trailers), **headers})
        connection.chunk(body)
        fields = "".join(f"{name}: {value}\r\n" for name, value in trailers.items())
        connection.send(f"0\r\n{fields}\r\n".encode())
        return connection.answer(to=method)


FIELDS = ("Content-Digest", "Repr-Digest")


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("resumable", [False, True])
def test_a_file_in_one_request(server: PenstockServer, field: str, algorithm: str, *, resumable: bool) -> None:
    url, more = f"{server.url}/files/one.txt", FINAL if resumable else {}
    for body in (b"hallo", b""):
        wrong = httpx.put(url, content=body, headers={field: digest(BODY, algorithm), **more})
        assert wrong.status_code == 400
        problem = wrong.json()
        assert problem["type"] == "https://iana.org/assignments/http-problem-types#digest-mismatched-values", problem
        assert known(server) == 0
    right = httpx.put(url, content=BODY, headers={field: digest(BODY, algorithm), **more})
    assert right.status_code == 202
    assert released(server, right.json()["id"]).content == BODY


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("more", [{}, {"Upload_Complete": "?1"}])
def test_a_digest_after_the_body(server: PenstockServer, client: Client, field: str, more: dict[str, str]) -> None:
    for said, status in ((digest(b"other"), 400), ("md5=:AAAA:", 400), ("nonsense!", 400), (digest(BODY), 202)):
        answer = trailed(client, "PUT", "/files/late.txt", BODY, {field: said}, **more)
        assert answer.status == status, answer
        assert known(server) == 0
    assert trailed(client, "PUT", "/files/late.txt", BODY, {}, Trailer=field, **more).status == 400
    assert known(server) == 0


def test_a_resumed_upload(server: PenstockServer, client: Client) -> None:
    path = begun(client, {})
    wrong = client.ask("PATCH", path, {**PART, "Upload-Offset": HALF, "Content-Digest": digest(BODY)}, BODY[HALF:])
    assert wrong.status == 400
    wrong = client.ask("PATCH", path, {**PART, "Upload-Offset": HALF, "Repr-Digest": digest(BODY[HALF:])}, BODY[HALF:])
    assert wrong.status == 400
    assert client.ask("HEAD", path, {"Upload-Draft-Interop-Version": "10"})["upload-offset"] == str(HALF)
    both = {"Content-Digest": digest(BODY[HALF:]), "Repr-Digest": digest(BODY)}
    assert client.ask("PATCH", path, {**PART, "Upload-Offset": HALF, **both}, BODY[HALF:]).status == 202
    assert released(server, path.rpartition("/")[2]).content == BODY


def test_an_upload_that_ends_without_another_byte(server: PenstockServer, client: Client) -> None:
    path = begun(client, {}, BODY)
    for said, status in ((digest(b"other"), 400), (digest(BODY), 202)):
        answer = client.ask("PATCH", path, {**PART, "Upload-Offset": len(BODY), "Repr-Digest": said})
        assert answer.status == status
    assert released(server, path.rpartition("/")[2]).content == BODY


def test_a_digest_that_the_first_request_names(server: PenstockServer, client: Client) -> None:
    """It is kept until the last, which may be another client's, and may be after a restart."""
    path = begun(client, {"Repr-Digest": digest(b"other")})
    assert client.ask("PATCH", path, {**PART, "Upload-Offset": HALF}, BODY[HALF:]).status == 400
    path = begun(client, {"Repr-Digest": digest(BODY)})
    assert client.ask("PATCH", path, {**PART, "Upload-Offset": HALF}, BODY[HALF:]).status == 202
    assert released(server, path.rpartition("/")[2]).headers["repr-digest"] == digest(BODY)


def test_a_digest_of_an_upload_that_ends_at_its_length(server: PenstockServer, client: Client) -> None:
    """Older clients do not say that a part is the last one: the file is compared all the same."""
    older = {"Upload-Draft-Interop-Version": "6", "Upload-Complete": "?0", "Upload-Length": str(len(BODY))}
    for said, status in ((digest(b"other"), 400), (digest(BODY), 202)):
        with client.connect() as connection:
            head: dict[str, str | int] = {**older, "Content-Length": len(BODY), "Repr-Digest": said}
            connection.begin("POST", "/uploads/", head)
            connection.send(BODY)
            answer = connection.answer(to="POST")
            while answer.status < 200:
                answer = connection.answer(to="POST")
        assert answer.status == status, answer
        assert known(server) == 0


def begun(client: Client, headers: Mapping[str, str], body: bytes = BODY[:HALF]) -> str:
    answer = client.ask("POST", "/uploads/", {"Upload-Complete": "?0", "Upload-Length": len(BODY), **headers}, body)
    assert answer.status == 201, answer
    return client.path(answer)


def test_readers_are_told_a_digest_that_was_verified(server: PenstockServer) -> None:
    said = httpx.put(f"{server.url}/files/told.txt", content=BODY, headers={"Repr-Digest": digest(BODY)})
    upload_id = said.json()["id"]
    assert released(server, upload_id).headers["repr-digest"] == digest(BODY)
    assert released(server, upload_id, {"Range": "bytes=3-9"}).headers["repr-digest"] == digest(BODY)
    assert httpx.head(f"{server.url}/files/told.txt").headers["repr-digest"] == digest(BODY)
    assert "repr-digest" not in released(server, upload_id, {"Want-Repr-Digest": "sha-256=0"}).headers
    silent = httpx.put(f"{server.url}/files/silent.txt", content=BODY).json()["id"]
    assert "repr-digest" not in released(server, silent).headers


def test_what_is_welcome_is_told(server: PenstockServer) -> None:
    for path in ("/uploads/", "/files/any.txt"):
        told = httpx.request("OPTIONS", f"{server.url}{path}").headers
        assert told["want-content-digest"] == told["want-repr-digest"] == "sha-256=5, sha-512=3"
    refused = httpx.put(f"{server.url}/files/x", content=b"x", headers={"Content-Digest": "md5=:AAAA:"})
    assert refused.json()["type"].endswith("#digest-unsupported-algorithms")
    assert "want-content-digest" in refused.headers


def links_in(answer: Response) -> dict[str, str]:
    pairs = [link.strip().split(">; rel=") for link in answer["link"].split(",")]
    return {relation.strip('"'): target.removeprefix("<") for target, relation in pairs}


def by_put(client: Client) -> Response:
    return client.ask("PUT", "/files/linked.txt", {}, BODY)


def by_a_resumable_put(client: Client) -> Response:
    return client.ask("PUT", "/files/linked.txt", FINAL, BODY)


def by_a_last_part(client: Client) -> Response:
    return client.ask("PATCH", begun(client, {}), {**PART, "Upload-Offset": HALF}, BODY[HALF:])


def by_a_last_patch(client: Client) -> Response:
    return client.patch(client.create(len(BODY)), 0, BODY)


def by_a_creation(client: Client) -> Response:
    return client.post({**BYTES, "Upload-Length": len(BODY)}, BODY)


def by_parts(client: Client) -> Response:
    return client.post({"Upload-Concat": f"final;{client.partial(BODY)}"})


@pytest.mark.parametrize("way", [by_put, by_a_resumable_put, by_a_last_part, by_a_last_patch, by_a_creation, by_parts])
def test_the_last_answer_tells_where_to_follow_the_file(server: PenstockServer, client: Client, way: object) -> None:
    assert callable(way)
    links = links_in(way(client))
    assert links.keys() == {"status", "enclosure"}
    status = httpx.get(links["status"]).raise_for_status().json()
    assert released(server, status["id"]).content == BODY
    assert httpx.get(links["enclosure"]).content == BODY
