"""Plain PUT and reading files, on real servers: one that releases at once, one that holds everything back."""

from __future__ import annotations

import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.raw_http import Connection, Response, TusClient
from tests.servers.penstock import PenstockServer

MIB = 1024 * 1024
BODY = random.Random(8).randbytes(3 * MIB + 17)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    environment = {"POSTPROCESSING_STEPS": "", "PENSTOCK_MAX_SIZE": str(64 * MIB)}
    with PenstockServer(tmp_path_factory.mktemp("files"), **environment) as running:
        yield running


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    environment = {"POSTPROCESSING_STEPS": "delay", "POSTPROCESSING_DELAY": "1h"}
    with PenstockServer(tmp_path_factory.mktemp("held"), **environment) as running:
        yield running


@pytest.fixture(scope="module")
def link(server: PenstockServer) -> str:
    """A released file."""
    return put(server, "data.bin", BODY)


def put(server: PenstockServer, name: str, body: bytes, **headers: str) -> str:
    """Upload a file and wait until it is released; return the URL of its content."""
    response = httpx.put(f"{server.url}/files/{name}", content=body, headers=headers)
    assert response.status_code == 202, response.text
    ends_at = time.monotonic() + 60
    while (view := httpx.get(response.headers["location"]).json())["phase"] != "released":
        assert time.monotonic() < ends_at, view
        time.sleep(0.01)
    return f"{server.url}/api/v1/files/{view['id']}/content"


def uploads(server: PenstockServer, phase: str) -> list[str]:
    page = httpx.get(f"{server.url}/api/v1/uploads", params={"phase": phase, "limit": 1000}).json()
    return [upload["id"] for upload in page["uploads"]]


# PUT


def test_put_answers_with_where_to_follow_the_upload(holding: PenstockServer) -> None:
    response = httpx.put(f"{holding.url}/files/a%20b.txt", content=b"hello", headers={"Content-Type": "text/plain"})
    assert response.status_code == 202
    told = response.json()
    assert (told["filename"], told["size"], told["phase"]) == ("a b.txt", 5, "processing")
    view = httpx.get(response.headers["location"]).json()
    assert (view["id"], view["media_type"], view["phase"]) == (told["id"], "text/plain", "processing")


def test_curl_uploads_a_file_and_a_stream(server: PenstockServer, tmp_path: Path) -> None:
    source = tmp_path / "from curl.bin"
    source.write_bytes(BODY)
    quiet = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}"]
    by_name = subprocess.run([*quiet, "-T", str(source), f"{server.url}/files/"], capture_output=True, check=True)
    assert by_name.stdout == b"202"
    for version in ("--http1.1", "--http2"):  # the latter offers to upgrade, and goes on with HTTP/1.1
        target = f"{server.url}/files/stream{version}.bin"
        subprocess.run([*quiet, version, "-T", "-", target], input=BODY, capture_output=True, check=True)
        assert wait_for(target) == BODY
    assert wait_for(f"{server.url}/files/from%20curl.bin") == BODY


def wait_for(url: str) -> bytes:
    ends_at = time.monotonic() + 60
    while (response := httpx.get(url)).status_code != 200:
        assert time.monotonic() < ends_at, response.text
        time.sleep(0.01)
    return response.content


def test_an_empty_file_is_a_file(server: PenstockServer) -> None:
    assert httpx.get(put(server, "empty", b"")).content == b""


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("more", ["", "Upload-Complete: ?1\r\n"])
def test_what_does_not_say_its_length_is_not_taken_for_empty(server: PenstockServer, version: str, more: str) -> None:
    """Clients of HTTP/1.0 may believe that the end of the connection is that of the file."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(f"PUT /files/lost.txt HTTP/{version}\r\nHost: 127.0.0.1\r\n{more}\r\nall of it".encode())
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100).startswith(b"HTTP/1.1 411 ")
    assert httpx.get(f"{server.url}/files/lost.txt", trust_env=False).status_code == 404


@pytest.mark.parametrize(
    "name",
    [
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "a%2fb",
        "a//b",
        "a%00b",
        "a%0d%0aX:%20y",
        "%ff",
        "a%5cb",
        "x" * 256,
        "con.txt",
    ],
)
def test_unsafe_names_are_refused(server: PenstockServer, name: str) -> None:
    before = uploads(server, "released")
    with Connection(server.port) as connection:
        response = connection.request("PUT", f"/files/{name}", {}, b"hello")
    assert response.status == 400
    assert response.problem["code"] == "unsafe-name"
    assert uploads(server, "released") == before


def test_parts_of_files_are_not_put(server: PenstockServer) -> None:
    response = httpx.put(f"{server.url}/files/a", content=b"x", headers={"Content-Range": "bytes 0-0/10"})
    assert response.status_code == 400
    assert "/uploads/" in response.json()["detail"]


@pytest.mark.parametrize("length", [64 * MIB + 1, 10**15])
def test_too_large_a_file_is_refused_before_it_is_sent(server: PenstockServer, length: int) -> None:
    with Connection(server.port) as connection:
        connection.head("PUT", "/files/large", {"Content-Length": length, "Expect": "100-continue"})
        assert connection.response().status == 413


def test_too_long_a_stream_is_stopped_and_leaves_nothing(server: PenstockServer) -> None:
    with Connection(server.port) as connection:
        connection.head("PUT", "/files/endless", {"Transfer-Encoding": "chunked"})
        for _ in range(70):
            connection.chunk(bytes(MIB))
        assert connection.response().status == 413
    assert uploads(server, "receiving") == []
    assert server.staging == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_put_that_is_cut_off_leaves_nothing(server: PenstockServer, chunked: bool) -> None:
    with Connection(server.port) as connection:
        framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(BODY))}
        connection.head("PUT", "/files/cut.bin", framing)
        (connection.chunk if chunked else connection.send)(BODY[: 2 * MIB])
        ends_at = time.monotonic() + 60
        while not server.staging:
            assert time.monotonic() < ends_at
    ends_at = time.monotonic() + 60
    while server.staging or uploads(server, "receiving"):
        assert time.monotonic() < ends_at
    assert httpx.get(f"{server.url}/files/cut.bin").status_code == 404


# Reading


def test_a_released_file_is_served_whole_and_safely(link: str) -> None:
    response = httpx.get(link)
    assert response.status_code == 200
    assert response.content == BODY
    headers = response.headers
    assert headers["content-disposition"] == "attachment; filename=\"data.bin\"; filename*=UTF-8''data.bin"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert headers["accept-ranges"] == "bytes"
    head = httpx.head(link)
    assert (head.status_code, head.content) == (200, b"")
    volatile = {"date"}
    assert {k: v for k, v in head.headers.items() if k not in volatile} == {
        k: v for k, v in headers.items() if k not in volatile
    }


def test_a_file_is_read_with_the_type_that_its_name_suggests(server: PenstockServer) -> None:
    types = {
        "report.pdf": "application/pdf",
        "page.html": "application/octet-stream",
        "notes": "application/octet-stream",
    }
    found = {name: httpx.get(put(server, name, b"%PDF")).headers["content-type"] for name in types}
    assert found == types


@pytest.mark.parametrize("sent", ["text/html", "image/svg+xml", "image/png"])
def test_a_page_that_somebody_uploads_does_not_run_here(server: PenstockServer, sent: str) -> None:
    link = put(server, "page.html", b"<script>alert(1)</script>", **{"Content-Type": sent})
    response = httpx.get(link)
    assert response.headers["content-type"] in ("application/octet-stream", "image/png")
    assert response.headers["content-disposition"].startswith("attachment")
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("0-0", 0, 1),
        ("5-99", 5, 100),
        (f"{MIB - 5}-{MIB + 5}", MIB - 5, MIB + 6),
        ("-10", -10, None),
        ("3000000-", 3000000, None),
    ],
)
def test_a_part_is_served(link: str, wanted: str, start: int, stop: int | None) -> None:
    response = httpx.get(link, headers={"Range": f"bytes={wanted}"})
    assert response.status_code == 206
    assert response.content == BODY[start:stop]
    first = start % len(BODY)
    assert response.headers["content-range"] == f"bytes {first}-{first + len(response.content) - 1}/{len(BODY)}"


def test_several_parts_are_served_at_once(link: str) -> None:
    response = httpx.get(link, headers={"Range": "bytes=0-4,1000000-1000009,-3"})
    assert response.status_code == 206
    assert int(response.headers["content-length"]) == len(response.content)
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    parts = list(BytesParser(policy=HTTP).parsebytes(head + response.content).iter_parts())
    size = len(BODY)
    assert [part["Content-Range"] for part in parts] == [
        f"bytes 0-4/{size}",
        f"bytes 1000000-1000009/{size}",
        f"bytes {size - 3}-{size - 1}/{size}",
    ]
    assert [part.get_payload(decode=True) for part in parts] == [BODY[:5], BODY[1000000:1000010], BODY[-3:]]


def test_a_part_outside_of_the_file_is_not_there(link: str) -> None:
    response = httpx.get(link, headers={"Range": f"bytes={len(BODY)}-"})
    assert response.status_code == 416
    assert response.headers["content-range"] == f"bytes */{len(BODY)}"
    assert response.json()["code"] == "range"


def test_a_file_the_client_has_is_not_sent_again(link: str) -> None:
    first = httpx.head(link).headers
    for headers in ({"If-None-Match": first["etag"]}, {"If-Modified-Since": first["last-modified"]}):
        response = httpx.get(link, headers=headers)
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == first["etag"]
    assert httpx.get(link, headers={"If-Match": '"other"'}).status_code == 412


def test_a_part_of_another_state_is_the_whole_file(link: str) -> None:
    tag = httpx.head(link).headers["etag"]
    assert httpx.get(link, headers={"Range": "bytes=0-4", "If-Range": tag}).status_code == 206
    assert httpx.get(link, headers={"Range": "bytes=0-4", "If-Range": '"other"'}).content == BODY


def test_parallel_readers_do_not_disturb_each_other(link: str) -> None:
    failed = []

    def read(number: int) -> None:
        start = number * 50_000
        response = httpx.get(link, headers={"Range": f"bytes={start}-{start + 99_999}"})
        if response.status_code != 206 or response.content != BODY[start : start + 100_000]:
            failed.append(number)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_the_newest_file_of_a_name_is_served(server: PenstockServer) -> None:
    put(server, "versions.txt", b"one")
    assert httpx.get(f"{server.url}/files/versions.txt").content == b"one"
    put(server, "versions.txt", b"two")
    assert httpx.get(f"{server.url}/files/versions.txt").content == b"two"


def test_a_name_is_one_of_its_space(server: PenstockServer) -> None:
    put(server, "mine.txt?space=lab", b"lab")
    assert httpx.get(f"{server.url}/files/mine.txt").status_code == 404
    assert httpx.get(f"{server.url}/files/mine.txt?space=lab").content == b"lab"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file_in_processing_is_not_read_yet(holding: PenstockServer, method: str) -> None:
    status = httpx.put(f"{holding.url}/files/held.bin", content=b"hello").headers["location"]
    upload = status.rpartition("/")[2]
    for url in (f"{holding.url}/files/held.bin", f"{holding.url}/api/v1/files/{upload}/content"):
        response = httpx.request(method, url)
        assert response.status_code == 425
        assert int(response.headers["retry-after"]) > 0
        if method == "GET":
            assert response.json()["code"] == "processing"
            assert "/api/v1/uploads/" in response.json()["detail"]
    assert httpx.delete(status).status_code == 204
    assert httpx.request(method, f"{holding.url}/api/v1/files/{upload}/content").status_code == 410


def test_a_released_upload_has_its_full_offset(server: PenstockServer, link: str) -> None:
    upload = link.split("/")[-2]
    head = TusClient(server.port).head(f"/uploads/{upload}")
    assert (head.status, head.headers["upload-offset"], head.headers["upload-length"]) == (200, *[str(len(BODY))] * 2)
    assert f"{upload}/content" in head.headers["link"]


def test_a_released_file_can_be_given_up(server: PenstockServer) -> None:
    link = put(server, "short-lived", b"x")
    upload = link.split("/")[-2]
    assert TusClient(server.port).request("DELETE", f"/uploads/{upload}", {"Tus-Resumable": "1.0.0"}).status == 204
    assert httpx.get(link).status_code == 410
    assert not list((server.data_dir / "blobs").rglob(upload))


def test_an_old_file_is_read_while_a_new_one_is_processed(server: PenstockServer) -> None:
    put(server, "old.txt", b"old")
    path = TusClient(server.port).create(10, Upload_Metadata="filename b2xkLnR4dA==")
    assert httpx.get(f"{server.url}/files/old.txt").content == b"old"
    assert httpx.get(f"{server.url}/api/v1/files{path.removeprefix('/uploads')}/content").status_code == 404


@pytest.mark.parametrize(
    "path", ["/files/nothing", "/api/v1/files/" + "0" * 32 + "/content", "/api/v1/files/x/content"]
)
def test_what_is_not_there_is_not_found(server: PenstockServer, path: str) -> None:
    response = httpx.get(server.url + path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/files/a"), ("PATCH", "/files/a"), ("PUT", "/api/v1/files/x/content")]
)
def test_other_methods_are_told_what_there_is(server: PenstockServer, method: str, path: str) -> None:
    with Connection(server.port) as connection:
        response: Response = connection.request(method, path, {}, b"body")
    assert response.status == 405
    assert "GET" in response.headers["allow"]


def test_a_reader_that_goes_away_leaves_no_file_open(server: PenstockServer) -> None:
    link = put(server, "too large for the buffers in between.bin", bytes(40 * MIB))
    process = psutil.Process(server.pid)

    def open_blobs() -> int:
        return sum("/blobs/" in file.path for file in process.open_files())

    for _ in range(5):
        with Connection(server.port) as connection:
            connection.head("GET", link.removeprefix(server.url))
            connection.response(head=True)
    ends_at = time.monotonic() + 60
    while open_blobs():
        assert time.monotonic() < ends_at
        time.sleep(0.02)
