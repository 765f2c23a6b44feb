"""tus 1.0.0 against a real server, header by header."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from tusclient.client import TusClient as RealClient

from penstock.uploads.protocols.tus import EXTENSIONS
from tests.e2e.raw_http import BYTES, TUS, TusClient
from tests.servers.penstock import PenstockServer

MAX_SIZE = 64 * 1024 * 1024
MIB = 1024 * 1024
NOWHERE = "/uploads/" + "0" * 32


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    """A server on which complete uploads stay in processing."""
    environment = {
        "POSTPROCESSING_STEPS": "delay",
        "POSTPROCESSING_DELAY": "1h",
        "PENSTOCK_MAX_SIZE": str(MAX_SIZE),
        "PENSTOCK_ALLOWED_HOSTS": "*",
    }
    with PenstockServer(tmp_path_factory.mktemp("tus"), **environment) as running:
        yield running


@pytest.fixture
def client(server: PenstockServer) -> TusClient:
    return TusClient(server.port)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def phase(server: PenstockServer, path: str) -> str:
    found: str = httpx.get(f"{server.url}/api/v1{path}").json()["phase"]
    return found


# Core


def test_options_tell_what_the_server_can_do(client: TusClient) -> None:
    for path in ("/uploads/", "/uploads", NOWHERE):
        response = client.request("OPTIONS", path)
        assert response.status == 200
        assert response.headers["tus-resumable"] == "1.0.0"
        assert response.headers["tus-version"] == "1.0.0"
        assert response.headers["tus-max-size"] == str(MAX_SIZE)
        assert response.headers["tus-extension"] == ",".join(EXTENSIONS)
        assert response.headers["tus-checksum-algorithm"] == "crc32,crc32c,md5,sha1,sha256,sha512"


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0", "1.0.0,1.0.0"])
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
def test_other_versions_are_refused(client: TusClient, method: str, version: str | None) -> None:
    path = "/uploads/" if method == "POST" else client.create(5)
    headers = {} if version is None else {"Tus-Resumable": version}
    response = client.request(method, path, {**headers, "Upload-Length": 5, "Upload-Offset": 0})
    assert response.status == 412
    assert response.headers["tus-version"] == "1.0.0"
    assert response.headers["tus-resumable"] == "1.0.0"
    if method != "POST":
        assert client.offset(path) == 0


def test_an_upload_in_pieces(client: TusClient, server: PenstockServer) -> None:
    path = client.create(10)
    assert client.offset(path) == 0
    first = client.patch(path, 0, b"hello")
    assert (first.status, first.headers["upload-offset"]) == (204, "5")
    assert "content-length" not in first.headers
    assert "link" not in first.headers
    head = client.head(path)
    assert (head.headers["upload-offset"], head.headers["upload-length"]) == ("5", "10")
    assert head.headers["cache-control"] == "no-store"
    assert head.headers.get("content-length", "0") == "0"
    assert client.patch(path, 5, b"world").headers["upload-offset"] == "10"
    assert client.offset(path) == 10
    assert phase(server, path) == "processing"


def test_the_last_answer_says_where_to_follow_the_upload(client: TusClient, server: PenstockServer) -> None:
    path = client.create(5)
    last = client.patch(path, 0, b"hello")
    links = {
        rel.strip(' "'): url.strip(" <>")
        for url, rel in (one.split("; rel=") for one in last.headers["link"].split(","))
    }
    assert httpx.get(links["status"]).json()["phase"] == "processing"
    early = httpx.get(links["enclosure"])
    assert early.status_code == 425
    assert int(early.headers["retry-after"]) > 0
    assert early.json()["code"] == "processing"
    assert client.head(path).headers["link"] == last.headers["link"]


@pytest.mark.parametrize("offset", ["4", "6", "999999999999999999"])
@pytest.mark.parametrize("complete", [False, True])
def test_a_wrong_offset_is_a_conflict(client: TusClient, offset: str, complete: bool) -> None:
    path = client.create(5 if complete else 10)
    client.patch(path, 0, b"hello")
    response = client.patch(path, int(offset), b"x")
    assert response.status == 409
    assert response.headers["upload-offset"] == "5"
    assert "Continue from 5" in response.problem["detail"]
    assert client.offset(path) == 5


@pytest.mark.parametrize("offset", ["", "-1", "+5", " ", "1_0", "5.0", "0x5", "\xb2", "1" * 19, "NaN"])
def test_an_offset_must_be_a_number(client: TusClient, offset: str) -> None:
    path = client.create(10)
    for headers in ({**BYTES, "Upload-Offset": offset}, BYTES):
        response = client.request("PATCH", path, headers, b"hello")
        assert response.status == 400
        assert response.problem["code"] == "bad-header"
        assert response.headers["tus-resumable"] == "1.0.0"
    assert client.offset(path) == 0


@pytest.mark.parametrize("sent", [{}, {"Content-Type": "application/octet-stream"}])
def test_a_body_must_be_declared(client: TusClient, sent: dict[str, str]) -> None:
    path = client.create(10)
    response = client.request("PATCH", path, {**TUS, "Upload-Offset": 0, **sent}, b"hello")
    assert response.status == 415
    assert client.offset(path) == 0


def test_more_than_was_announced_is_refused_unread(client: TusClient) -> None:
    path = client.create(10)
    with client.connect() as connection:
        connection.head("PATCH", path, {**BYTES, "Upload-Offset": 0, "Content-Length": 11, "Expect": "100-continue"})
        assert connection.response().status == 413
    assert client.offset(path) == 0


def test_the_client_is_asked_to_go_on_when_all_is_right(client: TusClient) -> None:
    path = client.create(5)
    with client.connect() as connection:
        connection.head("PATCH", path, {**BYTES, "Upload-Offset": 0, "Content-Length": 5, "Expect": "100-continue"})
        assert connection.response().status == 100
        connection.send(b"hello")
        assert connection.response().status == 204


def test_the_method_can_be_overridden(client: TusClient) -> None:
    path = client.create(5)
    override = "X-HTTP-Method-Override"
    response = client.request("POST", path, {**BYTES, "Upload-Offset": 0, override: "PATCH"}, b"hello")
    assert (response.status, response.headers["upload-offset"]) == (204, "5")
    assert client.request("POST", path, {**TUS, override: "HEAD"}).headers["upload-offset"] == "5"
    assert client.request("GET", path, {**TUS, override: "DELETE"}).status == 204
    assert client.request("POST", path, {**TUS, override: "NO SUCH"}).status == 400


@pytest.mark.parametrize(
    "name",
    ["0" * 32, "x", "0" * 31, "0" * 33, "A" * 32, "%2e%2e", "..%2f..%2fetc%2fpasswd", "%00", "a%0d%0ab", "%ff" * 32],
)
def test_unknown_and_malformed_ids_are_not_found(client: TusClient, name: str) -> None:
    for response in (
        client.request("PATCH", f"/uploads/{name}", {**BYTES, "Upload-Offset": 0}, b"x"),
        client.request("DELETE", f"/uploads/{name}", TUS),
    ):
        assert response.status == 404
        assert response.problem["code"] == "not-found"
        assert response.headers["tus-resumable"] == "1.0.0"
    head = client.head(f"/uploads/{name}")
    assert (head.status, head.body) == (404, b"")
    assert "upload-offset" not in head.headers


def test_a_slash_does_not_make_another_upload(client: TusClient) -> None:
    path = client.create(5)
    assert client.head(f"{path}/").status == 404
    assert client.head(f"/uploads/{path}").status == 404


@pytest.mark.parametrize(
    ("method", "path"), [("GET", NOWHERE), ("PUT", NOWHERE), ("PATCH", "/uploads/"), ("PROPFIND", "/uploads/")]
)
def test_other_methods_are_told_what_there_is(client: TusClient, method: str, path: str) -> None:
    response = client.request(method, path, TUS)
    assert response.status == 405
    assert "OPTIONS" in response.headers["allow"]
    assert response.headers["tus-resumable"] == "1.0.0"


def test_a_repeated_header_is_not_half_read(client: TusClient) -> None:
    path = client.create(10)
    with client.connect() as connection:
        connection.send(
            f"PATCH {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nUpload-Offset: 5\r\n"
            "Content-Type: application/offset+octet-stream\r\nContent-Length: 1\r\n\r\nx".encode()
        )
        assert connection.response().status == 400


def test_one_connection_serves_many_requests(client: TusClient) -> None:
    path = client.create(10)
    with client.connect() as connection:
        assert connection.request("PATCH", path, {**BYTES, "Upload-Offset": 0}, b"hello").status == 204
        assert connection.request("PATCH", path, {**BYTES, "Upload-Offset": 0}, b"hello").status == 409
        assert connection.request("HEAD", path, TUS).headers["upload-offset"] == "5"
        assert connection.request("PATCH", path, {**BYTES, "Upload-Offset": 5}, b"world").status == 204


# Creation


def test_the_location_is_absolute_and_names_the_host_that_was_asked(client: TusClient) -> None:
    for host in (f"127.0.0.1:{client.port}", "files.example.org", "[::1]:8080"):
        response = client.request("POST", "/uploads/", {**TUS, "Upload-Length": 5, "Host": host})
        assert response.headers["location"].startswith(f"http://{host}/uploads/")


def test_what_a_proxy_is_said_to_have_said_is_ignored(client: TusClient) -> None:
    forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example"}
    response = client.request("POST", "/uploads/", {**TUS, "Upload-Length": 5, **forged})
    assert response.headers["location"].startswith(f"http://127.0.0.1:{client.port}/uploads/")


def test_a_strange_host_does_not_get_into_the_location(client: TusClient) -> None:
    response = client.request("POST", "/uploads/", {**TUS, "Upload-Length": 5, "Host": "a b<script>"})
    assert response.status in (201, 400)
    assert response.headers.get("location", "/uploads/").startswith("/uploads/")


def test_metadata_comes_back_as_it_was_sent(client: TusClient, server: PenstockServer) -> None:
    sent = (
        f"filename {b64('Übung 1.pdf'.encode())}, filetype {b64(b'application/pdf')},key,bin {b64(bytes(range(256)))}"
    )
    path = client.create(5, Upload_Metadata=sent)
    assert client.head(path).headers["upload-metadata"] == sent
    view = httpx.get(f"{server.url}/api/v1{path}").json()
    assert (view["filename"], view["media_type"]) == ("Übung 1.pdf", "application/pdf")


@pytest.mark.parametrize(
    "sent", ["a YQ==,a YQ==", "a YQ", "a !!!!", ",", "ä YQ==", f"filename {b64(b'../../etc/passwd')}", "filename"]
)
def test_bad_metadata_is_refused(client: TusClient, sent: str) -> None:
    response = client.request("POST", "/uploads/", {**TUS, "Upload-Length": 5, "Upload-Metadata": sent})
    assert response.status == 400
    assert "location" not in response.headers


@pytest.mark.parametrize("name", ["a\r\nX-Evil: 1", "a\0b", "..", "con.txt", "x" * 256, "a/b", "a\\b"])
def test_unsafe_names_are_refused(client: TusClient, name: str) -> None:
    sent = f"filename {b64(name.encode())}"
    response = client.request("POST", "/uploads/", {**TUS, "Upload-Length": 5, "Upload-Metadata": sent})
    assert response.status == 400
    assert response.problem["code"] == "unsafe-name"


@pytest.mark.parametrize("sent", [{}, {"Upload-Length": "-1"}, {"Upload-Length": "a"}, {"Upload-Length": ""}])
def test_a_creation_needs_a_length(client: TusClient, sent: dict[str, str]) -> None:
    response = client.request("POST", "/uploads/", {**TUS, **sent})
    assert response.status == 400
    assert "Upload-Length" in response.problem["detail"]


def test_the_limit_is_told_before_anything_is_sent(client: TusClient) -> None:
    client.create(MAX_SIZE)
    response = client.request("POST", "/uploads/", {**TUS, "Upload-Length": MAX_SIZE + 1})
    assert response.status == 413
    assert str(MAX_SIZE) in response.problem["detail"]


def test_an_empty_upload_is_complete_at_once(client: TusClient, server: PenstockServer) -> None:
    path = client.create(0)
    assert client.offset(path) == 0
    assert phase(server, path) == "processing"


def test_a_creation_with_all_bytes(client: TusClient, server: PenstockServer) -> None:
    response = client.request("POST", "/uploads/", {**BYTES, "Upload-Length": 5}, b"hello")
    assert (response.status, response.headers["upload-offset"]) == (201, "5")
    assert 'rel="status"' in response.headers["link"]
    path = response.headers["location"].removeprefix(server.url)
    assert phase(server, path) == "processing"


def test_a_creation_with_some_bytes(client: TusClient) -> None:
    response = client.request("POST", "/uploads/", {**BYTES, "Upload-Length": 10}, b"hello")
    assert (response.status, response.headers["upload-offset"]) == (201, "5")
    path = response.headers["location"].removeprefix(f"http://127.0.0.1:{client.port}")
    assert client.patch(path, 5, b"world").status == 204


def test_a_creation_with_a_stray_media_type_is_fine(client: TusClient) -> None:
    response = client.request("POST", "/uploads/", {**TUS, "Upload-Length": 10, "Content-Type": "text/plain"})
    assert (response.status, response.headers["upload-offset"]) == (201, "0")


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "text/plain"}, b"hello", 415),
        ({}, b"hello", 415),
        (BYTES, b"hello world", 413),
        ({**BYTES, "Upload-Checksum": f"sha1 {b64(bytes(20))}"}, b"hello", 460),
    ],
)
def test_a_creation_with_a_wrong_body_creates_nothing_that_stays(
    client: TusClient, server: PenstockServer, headers: dict[str, str], body: bytes, status: int
) -> None:
    def receiving() -> set[str]:
        page = httpx.get(f"{server.url}/api/v1/uploads", params={"phase": "receiving", "limit": 1000}).json()
        return {upload["id"] for upload in page["uploads"]}

    before = receiving()
    response = client.request("POST", "/uploads/", {**TUS, "Upload-Length": 5, **headers}, body)
    assert response.status == status
    assert "location" not in response.headers
    assert receiving() == before


# Expiration


def test_an_unfinished_upload_says_until_when_it_may_be_continued(client: TusClient) -> None:
    created = client.request("POST", "/uploads/", {**TUS, "Upload-Length": 10})
    path = created.headers["location"].removeprefix(f"http://127.0.0.1:{client.port}")
    patched = client.patch(path, 0, b"hello")
    for response in (created, patched, client.head(path)):
        assert response.headers["upload-expires"].endswith(" GMT")
        assert parsedate_to_datetime(response.headers["upload-expires"]).year > 2000
    assert "upload-expires" not in client.patch(path, 5, b"world").headers
    assert "upload-expires" not in client.head(path).headers


# Checksum


@pytest.mark.parametrize("algorithm", ["crc32", "md5", "sha1", "sha256", "sha512"])
def test_checksums_are_verified(client: TusClient, algorithm: str) -> None:
    def digest(body: bytes) -> str:
        if algorithm == "crc32":
            return b64(zlib.crc32(body).to_bytes(4, "big"))
        return b64(hashlib.new(algorithm, body).digest())

    path = client.create(10)
    bad = client.patch(path, 0, b"hellO", Upload_Checksum=f"{algorithm} {digest(b'hello')}")
    assert bad.status == 460
    assert bad.problem["code"] == "checksum-mismatch"
    assert client.offset(path) == 0
    assert client.patch(path, 0, b"hello", Upload_Checksum=f"{algorithm} {digest(b'hello')}").status == 204
    assert client.patch(path, 5, b"world", Upload_Checksum=f"{algorithm} {digest(b'world')}").status == 204


def test_a_large_chunk_with_a_wrong_checksum_leaves_no_trace(client: TusClient, server: PenstockServer) -> None:
    body = bytes(5 * MIB)
    path = client.create(2 * len(body))
    client.patch(path, 0, body)
    assert client.patch(path, len(body), body, Upload_Checksum=f"sha1 {b64(bytes(20))}").status == 460
    assert client.offset(path) == len(body)
    upload_id = path.rpartition("/")[2]
    assert [file.stat().st_size for file in server.staging if file.name.startswith(upload_id)] == [len(body)]


@pytest.mark.parametrize(
    ("sent", "status"),
    [("sha3 AAAA", 400), ("sha1", 400), ("sha1 !!!!", 400), ("", 400), (f"sha1 {b64(bytes(19))}", 460)],
)
def test_a_checksum_that_cannot_be_met_is_refused(client: TusClient, sent: str, status: int) -> None:
    path = client.create(10)
    assert client.patch(path, 0, b"hello", Upload_Checksum=sent).status == status
    assert client.offset(path) == 0


# Termination


@pytest.mark.parametrize("received", [0, 5, 10])
def test_an_upload_can_be_given_up_at_any_time(client: TusClient, server: PenstockServer, received: int) -> None:
    path = client.create(10)
    client.patch(path, 0, bytes(received))
    assert client.request("DELETE", path, TUS).status == 204
    assert not [file for file in server.staging if file.name.startswith(path.rpartition("/")[2])]
    assert phase(server, path) == "cancelled"
    for response in (client.patch(path, received, b"x"), client.request("DELETE", path, TUS)):
        assert response.status == 410
        assert response.problem["code"] == "gone"
    head = client.head(path)
    assert head.status == 410
    assert "upload-offset" not in head.headers


# A client that is not ours


@pytest.mark.parametrize("checksum", [False, True])
def test_tuspy_uploads(server: PenstockServer, tmp_path: Path, checksum: bool) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(bytes(range(256)) * 40_000)
    real = RealClient(f"{server.url}/uploads/")
    with source.open("rb") as stream:
        uploader = real.uploader(
            file_stream=stream, chunk_size=3_000_000, metadata={"filename": "source.bin"}, upload_checksum=checksum
        )
        uploader.upload()
    upload_id = str(uploader.url).rpartition("/")[2]
    staged = next(file for file in server.staging if file.name == upload_id)
    assert hashlib.sha256(staged.read_bytes()).digest() == hashlib.sha256(source.read_bytes()).digest()
