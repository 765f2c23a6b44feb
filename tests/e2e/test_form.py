"""Forms with files, on a real server: by a browser's encoding, by curl, and by what no well-behaved client sends."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from tests.servers.penstock import PenstockServer
from tests.tus.client import Client, Response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MIB = 1024 * 1024
MAX_SIZE = 24 * MIB
BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
END = f"--{BOUNDARY}--\r\n".encode()
OTHERS = "https://app.example.org"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    environment = {"PENSTOCK_MAX_SIZE": str(MAX_SIZE), "PENSTOCK_CORS_ORIGINS": OTHERS}
    with PenstockServer(tmp_path_factory.mktemp("form"), **environment) as running:
        yield running


@pytest.fixture
def client(server: PenstockServer) -> Client:
    return Client(server.port)


def file(name: str, content: bytes, more: str = "", disposition: str | None = None) -> bytes:
    said = disposition if disposition is not None else f'form-data; name="file"; filename="{name}"'
    return f"--{BOUNDARY}\r\nContent-Disposition: {said}\r\n{more}\r\n".encode() + content + b"\r\n"


def field(name: str, value: str) -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def post(client: Client, *parts: bytes, headers: Mapping[str, str] | None = None, path: str = "/files/") -> Response:
    return client.ask("POST", path, {**FORM, **(headers or {})}, b"".join(parts) + END)


def told(answer: Response) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = json.loads(answer.body)["files"]
    return files


def shown(server: PenstockServer, upload_id: str) -> dict[str, Any]:
    view: dict[str, Any] = httpx.get(f"{server.url}/api/v1/uploads/{upload_id}").raise_for_status().json()
    return view


def released(server: PenstockServer, one: Mapping[str, Any]) -> bytes:
    ends_at = time.monotonic() + 60
    while (answer := httpx.get(one["content"])).status_code == 425:
        assert time.monotonic() < ends_at
        time.sleep(0.01)
    return answer.raise_for_status().content


def unfinished(server: PenstockServer) -> list[dict[str, Any]]:
    uploads: list[dict[str, Any]] = httpx.get(f"{server.url}/api/v1/uploads?phase=receiving").json()["uploads"]
    return uploads


def named(server: PenstockServer, filename: str) -> list[str]:
    uploads = httpx.get(f"{server.url}/api/v1/uploads?limit=1000").json()["uploads"]
    return [upload["phase"] for upload in uploads if upload["filename"] == filename]


def test_many_files_of_many_kinds(server: PenstockServer) -> None:
    contents = {
        "a.txt": b"a",
        "empty.txt": b"",
        "lines.txt": f"\r\n--{BOUNDARY[:-1]}\r\n".encode() * 3,
        "large.bin": bytes(range(256)) * 12_000,
    }
    answer = httpx.post(f"{server.url}/files/", files=[("file", (name, body)) for name, body in contents.items()])
    assert answer.status_code == 202
    files = answer.json()["files"]
    assert [one["filename"] for one in files] == list(contents)
    for one in files:
        assert released(server, one) == contents[one["filename"]]
        assert httpx.get(one["status"]).json()["id"] == one["id"]
        assert one["size"] == len(contents[one["filename"]])


def test_the_answer_about_one_file_is_that_of_a_put(server: PenstockServer, client: Client) -> None:
    answer = post(client, file("one.txt", b"one"), path="/files")
    (one,) = told(answer)
    assert (answer.status, answer["location"]) == (202, one["status"])
    assert answer["link"] == f'<{one["status"]}>; rel="status", <{one["content"]}>; rel="enclosure"'
    assert released(server, one) == b"one"


def test_by_curl(server: PenstockServer, tmp_path: Path) -> None:
    for name in ("one.txt", "two.bin"):
        (tmp_path / name).write_bytes(name.encode() * 100_000)
    line = ["curl", "--silent", "--noproxy", "*", "-F", "space=lab", "-F", "type=text/csv"]
    line += ["-F", f"file=@{tmp_path}/one.txt", "-F", f"file=@{tmp_path}/two.bin;filename=Übung 2.bin"]
    found = subprocess.run([*line, f"{server.url}/files/"], check=True, capture_output=True).stdout
    files = json.loads(found)["files"]
    assert [one["filename"] for one in files] == ["one.txt", "Übung 2.bin"]
    assert [released(server, one) for one in files] == [b"one.txt" * 100_000, b"two.bin" * 100_000]
    views = [shown(server, one["id"]) for one in files]
    assert [(view["space"], view["media_type"]) for view in views] == [
        ("lab", "text/csv"),
        ("lab", "application/octet-stream"),
    ]


def test_fields_are_about_the_file_after_them(server: PenstockServer, client: Client) -> None:
    right = f"sha256 {hashlib.sha256(b'hello').hexdigest()}"
    answer = post(
        client,
        field("csrf", "whatever"),
        field("space", "lab"),
        field("checksum", right),
        field("name", "renamed.txt"),
        field("type", "text/plain"),
        file("a.txt", b"hello", "Content-Type: image/png\r\n"),
        file("b.txt", b"other", "Content-Type: image/png\r\n"),
        field("submit", "Send"),
    )
    assert answer.status == 202
    first, second = (shown(server, one["id"]) for one in told(answer))
    assert (first["filename"], first["media_type"], first["space"]) == ("renamed.txt", "text/plain", "lab")
    assert (second["filename"], second["media_type"], second["space"]) == ("b.txt", "image/png", "lab")
    assert first["metadata"] == {"checksum": right}


def test_what_is_wrong_with_one_file_leaves_the_others(server: PenstockServer, client: Client) -> None:
    answer = post(
        client,
        file("good.txt", b"good"),
        file("../bad.txt", b"bad" * 100_000),
        field("checksum", f"sha256 {hashlib.sha256(b'x').hexdigest()}"),
        file("other.txt", b"not x"),
        file("more.txt", b"more"),
    )
    assert answer.status == 207
    files = told(answer)
    assert [one.get("problem", {}).get("status") for one in files] == [None, 400, 400, None]
    assert files[1]["problem"]["code"] == "unsafe-name"
    assert files[2]["problem"]["code"] == "digest-mismatch"
    assert [released(server, files[at]) for at in (0, 3)] == [b"good", b"more"]
    assert named(server, "other.txt") == ["cancelled"]
    assert unfinished(server) == []


def test_a_file_over_the_limit(server: PenstockServer, client: Client) -> None:
    over = bytes(MAX_SIZE + 1)
    answer = post(client, file("over.bin", over, f"Content-Length: {len(over)}\r\n"))
    assert answer.status == 413
    assert told(answer)[0]["problem"]["code"] == "too-large"
    answer = post(client, file("over.bin", over), file("after.txt", b"after"))
    assert [one.get("problem", {}).get("status") for one in told(answer)] == [413, None]
    assert answer.status == 207
    assert unfinished(server) == []


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("form-data; name=file; filename=plain.txt", "plain.txt"),
        ('form-data; name="file"; filename="x.txt"; filename*=UTF-8\'\'%e2%82%ac%20rates', "€ rates"),
        ('form-data; name="file"; filename="€ rates.txt"', "€ rates.txt"),
        ('form-data; name="file"; filename="say %22hi%22.txt"', 'say "hi".txt'),
        ('form-data; name="file"; filename="; filename*=utf-8\'\'other.txt"', "; filename*=utf-8''other.txt"),
        ('FORM-DATA; filename="no field.txt"', "no field.txt"),
    ],
)
def test_names(client: Client, disposition: str, name: str) -> None:
    (one,) = told(post(client, file("", b"x", disposition=disposition)))
    assert one.get("id"), one
    assert one["filename"] == name


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", "C:\\\\x\\\\y.txt", "a%0D%0Ab", "..", "con", "x" * 256, "\u202eexe.txt", " "]
)
def test_names_that_are_none(client: Client, name: str) -> None:
    answer = post(client, file(name, b"x"))
    assert answer.status == 400
    assert [one["problem"]["code"] for one in told(answer)] == ["unsafe-name"]


def test_a_field_without_a_file_is_nothing(server: PenstockServer, client: Client) -> None:
    """As browsers send `<input type=file>` when none was chosen."""
    assert len(told(post(client, file("", b"", "Content-Type: application/octet-stream\r\n"), file("a", b"a")))) == 1
    assert post(client, file("", b"")).status == 400
    assert told(post(client, file("", b"content")))[0]["problem"]["code"] == "unsafe-name"


@pytest.mark.parametrize(
    "parts",
    [
        [field("space", "a"), field("space", "b"), file("a", b"a")],
        [field("name", "a"), field("name", "b"), file("a", b"a")],
        [field("checksum", "sha3 00"), file("a", b"a")],
        [field("space", ""), file("a", b"a")],
        [field("a", "x" * 65_537), file("a", b"a")],
        [b"--" + BOUNDARY.encode() + b"\r\n" + b"X-A: b\r\n" * 9 + b"\r\n\r\n", file("a", b"a")],
        [b"--" + BOUNDARY.encode() + b"\r\nX-A: " + b"b" * 5000 + b"\r\n\r\n\r\n", file("a", b"a")],
        [file("a", b"a", disposition="attachment; filename=a")],
        [b"nothing of the kind"],
        [],
    ],
)
def test_forms_that_are_refused(server: PenstockServer, client: Client, parts: list[bytes]) -> None:
    answer = post(client, *parts)
    assert answer.status in (400, 413)
    assert answer["content-type"] == "application/problem+json"
    assert told(answer) == []
    assert unfinished(server) == []


def test_a_file_with_something_in_it_is_not_taken_for_an_empty_one(server: PenstockServer, client: Client) -> None:
    answer = post(client, file("a", b"a", "Content-Length: 0\r\n"))
    assert answer.status == 400
    assert [one["problem"]["status"] for one in told(answer)] == [400]
    assert unfinished(server) == []
    empty = post(client, file("a", b"", "Content-Length: 0\r\n"))
    assert released(server, told(empty)[0]) == b""


@pytest.mark.parametrize("late", [field("space", "other"), field("checksum", "md5 " + "0" * 32)])
def test_a_field_that_comes_too_late_is_told(server: PenstockServer, client: Client, late: bytes) -> None:
    answer = post(client, file("before.txt", b"x"), late)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad-form")
    assert released(server, told(answer)[0]) == b"x"


def test_all_go_to_one_space(server: PenstockServer, client: Client) -> None:
    answer = post(client, file("a", b"a"), file("b", b"b"), path="/files/?space=mine")
    assert [shown(server, one["id"])["space"] for one in told(answer)] == ["mine", "mine"]
    assert post(client, field("space", "other"), file("a", b"a"), path="/files/?space=mine").status == 400
    assert post(client, field("space", "mine"), file("a", b"a"), path="/files/?space=mine").status == 202


def test_too_many_parts(client: Client) -> None:
    answer = post(client, *[field(f"f{number}", "") for number in range(1001)])
    assert (answer.status, json.loads(answer.body)["code"]) == (413, "form-too-large")


def test_what_belongs_to_no_part_is_bounded(client: Client) -> None:
    with client.connect() as connection:
        connection.begin("POST", "/files/", {**FORM, "Transfer-Encoding": "chunked"})
        for _ in range(5):
            connection.chunk(b"preamble" * (MIB // 8))
        assert connection.answer(to="POST").status == 413


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data", "multipart/mixed; boundary=x", "a"])
def test_bodies_that_are_no_forms(client: Client, content_type: str) -> None:
    answer = client.ask("POST", "/files/", {"Content-Type": content_type} if content_type else {}, b"x")
    assert answer.status == 415


def test_a_form_without_its_end(server: PenstockServer, client: Client) -> None:
    """Nobody knows whether the last file is all there; those before it are."""
    body = file("whole.txt", b"whole") + file("half.txt", b"half")
    for end in (b"", f"--{BOUNDARY}".encode(), f"--{BOUNDARY}-".encode()):
        answer = client.ask("POST", "/files/", FORM, body + end)
        assert (answer.status, json.loads(answer.body)["code"]) == (400, "bad-form")
        whole, half = told(answer)
        assert released(server, whole) == b"whole"
        assert half["problem"]["code"] == "bad-form"
        assert unfinished(server) == []
    assert set(named(server, "half.txt")) == {"cancelled"}


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_is_cut(server: PenstockServer, client: Client, *, reset: bool) -> None:
    whole, half = f"whole-{reset}.txt", f"half-{reset}.txt"
    with client.connect() as connection:
        connection.begin("POST", "/files/", {**FORM, "Content-Length": 10 * MIB})
        connection.send(file(whole, b"whole") + file(half, bytes(2 * MIB))[:-100])
        until(lambda: named(server, whole) and named(server, half))
        if reset:
            connection.reset()
    until(lambda: named(server, half) == ["cancelled"])
    until(lambda: named(server, whole) == ["released"])
    assert unfinished(server) == []


def until(holds: Any) -> None:
    ends_at = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def test_a_form_in_pieces_of_every_size(server: PenstockServer, client: Client) -> None:
    """No boundary is missed, wherever the network cuts it."""
    content = f"\r\n--{BOUNDARY}x".encode()[:-2] + b"\r" * 5
    body = file("cut.txt", content) + file("next.txt", content) + END + b"\r\n"
    for size in (1, 2, 7, 40, len(body) - 2):
        with client.connect() as connection:
            connection.begin("POST", "/files/", {**FORM, "Transfer-Encoding": "chunked"})
            for start in range(0, len(body), size):
                connection.chunk(body[start : start + size])
            connection.chunk(b"")
            answer = connection.answer(to="POST")
        assert answer.status == 202, answer
        assert [released(server, one) for one in told(answer)] == [content, content]


def test_memory_stays_as_it_is(server: PenstockServer, client: Client) -> None:
    process = psutil.Process(server.pid)
    post(client, file("warm.bin", bytes(MIB)))
    before = process.memory_info().rss
    with client.connect() as connection:
        connection.begin("POST", "/files/", {**FORM, "Transfer-Encoding": "chunked"})
        for number in range(6):
            connection.chunk(file(f"{number}.bin", b"")[:-2])
            for _ in range(20):
                connection.chunk(bytes(MIB))
            connection.chunk(b"\r\n")
        assert process.memory_info().rss - before < 40 * MIB
        connection.chunk(END)
        connection.chunk(b"")
        assert [one["size"] for one in told(connection.answer(to="POST"))] == [20 * MIB] * 6


def test_a_page_is_shown_in_a_browser(client: Client) -> None:
    answer = post(client, file("page.txt", b"x"), headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (answer.status, answer["location"]) == (303, f"{client.base}/")


def test_which_pages_may_send_forms(client: Client) -> None:
    """Browsers send a form to anybody, without asking first."""
    for origin in ("https://evil.example", "null", f"{client.base}.evil.example"):
        refused = post(client, file("evil.txt", b"x"), headers={"Origin": origin})
        assert (refused.status, json.loads(refused.body)["code"]) == (403, "foreign-origin")
    assert post(client, file("own.txt", b"x"), headers={"Origin": client.base}).status == 202
    allowed = post(client, file("other.txt", b"x"), headers={"Origin": OTHERS})
    assert (allowed.status, allowed["access-control-allow-origin"]) == (202, OTHERS)
    asked = client.ask("OPTIONS", "/files/", {"Origin": OTHERS, "Access-Control-Request-Method": "POST"})
    assert "POST" in asked["access-control-allow-methods"]


def test_what_else_is_not_taken(client: Client) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        answer = client.ask(method, "/files", FORM)
        assert (answer.status, answer["allow"]) == (405, "OPTIONS, POST")
    refused = post(client, file("a", b"a"), headers={"Content-Digest": "sha-256=:AAAA:"})
    assert refused.status == 400


def test_files_go_to_paths_and_into_folders(client: Client, server: PenstockServer) -> None:
    answer = post(
        client,
        field("space", "forms"),
        field("path", "docs/renamed.txt"),
        file("one.txt", b"1"),
        field("path", "docs/2026/"),
        file("two.txt", b"2"),
        file("three.txt", b"3"),
        field("path", "docs/../up.txt"),
        file("four.txt", b"4"),
    )
    assert answer.status == 207
    *taken, refused = told(answer)
    assert refused["problem"]["code"] == "unsafe-name"
    paths = ["docs/renamed.txt", "docs/2026/two.txt", "docs/2026/three.txt"]
    assert [one["path"] for one in taken] == paths
    for one, path, content in zip(taken, paths, (b"1", b"2", b"3"), strict=True):
        assert released(server, one) == content
        assert httpx.get(f"{server.url}/files/{path}?space=forms").content == content
