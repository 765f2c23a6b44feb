"""What must not get through, nor have any effect: docs/guide/security.md lists the same by subject.

After each attack all uploads, files, and the bytes in the data folder are what they were before.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from penstock.testing import eventually
from tests.servers.connection import Headers
from tests.servers.penstock import PenstockServer
from tests.tus.client import BYTES, TUS, Client, Response, b64

REFUSED: Final = range(400, 500)
NOBODY: Final = "0" * 32
BAD_NAMES: Final = [
    *("..", ".", "../x", "..\\x", "a/../../b", "/etc/passwd", "\\\\server\\share", "C:\\Windows\\x", "a//b", "a/", "/"),
    *("", " ", "a\0b", "a\r\nX-Evil: 1", "a\x1b[2Jb", "a\x7fb", "a\x9bb", "a\u2028b"),
    *("\u202egnp.exe", "a\u2066b", "x" * 256, "\u00e9" * 128),
    *("con", "NUL.txt", "com1", "LPT\u00b9.x", "aux .txt", "CONIN$", "nul:x"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    environment = {"PENSTOCK_ASYNC_UPLOADS": "false", "PENSTOCK_CORS_ORIGINS": "https://app.example.org"}
    with PenstockServer(tmp_path_factory.mktemp("server"), **environment) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: PenstockServer) -> Client:
    return Client(server.port)


@pytest.fixture(scope="module")
def upload(client: Client) -> str:
    """The path of an upload of ten bytes, of which three have arrived."""
    path = client.create(10)
    assert client.patch(path, 0, b"abc").status == 204
    return path


@pytest.fixture(scope="module")
def file(client: Client) -> str:
    assert client.ask("PUT", "/files/there.txt", {}, b"here to stay").status == 202
    assert released(client, "/files/there.txt").body == b"here to stay"
    return "/files/there.txt"


def released(client: Client, address: str) -> Response:
    """What is at an address, once it may be read."""

    def look() -> Response | None:
        answer = client.ask("GET", address, {})
        return None if answer.status == 425 else answer

    answer = asyncio.run(eventually(look, timeout_seconds=60))
    assert answer is not None
    return answer


class State:
    """All that an attack could have an effect on."""

    def __init__(self, server: PenstockServer) -> None:
        client = Client(server.port)
        uploads = json.loads(client.ask("GET", "/api/v1/uploads?limit=1000", {}).body)["uploads"]
        self.uploads = [(one["id"], one["phase"], one["offset"], one["filename"]) for one in uploads]
        self.files = json.loads(client.ask("GET", "/api/v1/paths?limit=1000", {}).body)["files"]
        blobs = server.data_dir / "blobs"
        self.bytes = sorted((str(one), one.stat().st_size) for one in blobs.rglob("*") if one.is_file())
        self.around = sorted(str(one) for one in server.data_dir.parent.iterdir())


@contextmanager
def without_effect(server: PenstockServer) -> Iterator[None]:
    before = State(server)
    yield
    assert vars(State(server)) == vars(before)


def status_of(client: Client, raw: bytes) -> int:
    """The status of the first answer to what is sent; 0: the connection was closed without one."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=120) as own:
        own.sendall(raw)
        answer = b""
        try:
            while b"\r\n" not in answer and (more := own.recv(4096)):
                answer += more
        except ConnectionResetError:
            pass
    return int(answer.split()[1]) if answer else 0


# Names


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_names_that_lead_elsewhere(server: PenstockServer, client: Client, file: str, name: str) -> None:
    """By every way in: tus, the IETF's protocol, a form, and where files are moved to."""
    encoded = "".join(f"%{byte:02x}" for byte in name.encode())
    ways: list[tuple[str, str, Headers, bytes]] = [
        ("PUT", f"/files/{encoded}", {}, b"x"),
        ("PUT", f"/files/folder/{encoded}", {}, b"x"),
        ("MOVE", file, {"Destination": f"/files/{encoded}"}, b""),
        ("COPY", file, {"Destination": f"/files/folder/{encoded}"}, b""),
        ("POST", "/files/", *form(f"filename*=UTF-8''{encoded}")),
    ]
    if name not in ("", " "):  # of these two, "none" and "is empty" cannot be told apart everywhere
        ways.append(("POST", "/uploads/", {**TUS, "Upload-Length": 1, "Upload-Metadata": f"filename {b64(name)}"}, b""))
        ways.append(("POST", "/api/v1/paths/move", *as_json({"path": "there.txt", "to_path": f"folder/{name}"})))
    if "/" not in name and name:
        metadata = f"path {b64('folder/' + name)}"
        ways.append(("POST", "/uploads/", {**TUS, "Upload-Length": 1, "Upload-Metadata": metadata}, b""))
    with without_effect(server):
        for method, target, headers, body in ways:
            assert client.ask(method, target, headers, body).status in REFUSED, (method, target, headers)


def form(disposition: str) -> tuple[Headers, bytes]:
    part = f'--b\r\nContent-Disposition: form-data; name="file"; {disposition}\r\n\r\nx\r\n--b--\r\n'
    return {"Content-Type": "multipart/form-data; boundary=b"}, part.encode("latin-1")


def as_json(document: object) -> tuple[Headers, bytes]:
    return {"Content-Type": "application/json"}, json.dumps(document).encode()


@pytest.mark.parametrize(
    "target",
    [
        *(b"/files/../x", b"/files/%2e%2e/x", b"/files/%2E%2E%2Fx", b"/files/%2e%2e%5cx", b"/files/a/../../../x"),
        *(b"/files/%c0%ae%c0%ae/x", b"/files/%c0%af", b"/files/%e0%80%af", b"/files/%f0%80%80%af", b"/files/%ff"),
        *(
            b"/files/%ed%a0%80",
            b"/files/%00",
            b"/files/a%00.txt",
            b"/files/%0d%0aX-Evil:%201",
            b"/files/%zz",
            b"/files/%",
        ),
        *(b"/files//etc/passwd", b"/files/%2fetc%2fpasswd", b"/files/C%3a%5cx", b"/files/a%5cb", b"/files/a%2fb"),
        *(b"/files/" + b"a/" * 600 + b"b", b"/files/" + b"%61" * 300, b"/files/nul%20.txt", b"/files/%e2%80%ae.txt"),
        *(
            b"/files/x?space=%00",
            b"/files/x?space=%1b[2J",
            b"/files/x?space=%e2%80%ae",
            b"/files/x?space=" + b"a" * 201,
        ),
    ],
    ids=ascii,
)
def test_paths_in_disguise(server: PenstockServer, client: Client, target: bytes) -> None:
    with without_effect(server):
        for raw in (
            b"PUT %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n\r\nx",
            b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        ):
            assert status_of(client, raw % target) in REFUSED


@pytest.mark.parametrize(
    "target",
    [
        *("/static/../../__init__.py", "/static/%2e%2e/__init__.py", "/static/..%2f..%2f..%2fetc%2fpasswd"),
        *("/static//etc/passwd", "/static/%2fetc/passwd", "/static/..%5c..%5c__init__.py", "/static/%00"),
        *("//etc/passwd", "/etc/passwd", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd"),
        *("/api/v1/files/..%2f..%2fpenstock.db/content", "/api/v1/files/../penstock.db/content", "/penstock.db"),
        *("/delivery/x", "/delivery/../penstock.db?token=x", f"/delivery/{NOBODY}/%00?token=x"),
    ],
)
def test_files_that_are_not_served(client: Client, target: str) -> None:
    answer = client.ask("GET", target, {})
    assert answer.status in REFUSED
    for content in (b"root:", b"SQLite format", b"Served as they are"):
        assert content not in answer.body


# IDs


def test_ids_that_are_none(server: PenstockServer, client: Client, upload: str) -> None:
    own = upload.rpartition("/")[2]
    wide = "".join(f"%{byte:02x}" for character in own for byte in chr(ord(character) + 0xFEE0).encode())
    names = [
        own.upper() if own != own.upper() else NOBODY,
        wide,
        own[:-1],
        own + "0",
        f"{own}.meta",
        f"{own}%00",
        f"{own}%0a",
        f"{own}%20",
    ]
    names += [
        "..",
        "%2e%2e",
        "..%2fpenstock.db",
        f"../uploads/{own}",
        f"%2e%2e%2fuploads%2f{own}",
        f"./{own}",
        "%00",
        "%ff",
    ]
    names += [
        "*",
        "x" * 5000,
        f"{own};{own}",
        f"{own},{own}",
        "-1",
        "null",
        "undefined",
        "__proto__",
        "1 OR 1=1",
        "'--",
    ]
    with without_effect(server):
        for name in names:
            encoded = name.replace(" ", "%20")
            for method, headers, body in (
                ("HEAD", TUS, b""),
                ("PATCH", {**BYTES, "Upload-Offset": 3}, b"x"),
                ("DELETE", TUS, b""),
            ):
                assert client.ask(method, f"/uploads/{encoded}", headers, body).status in REFUSED, (method, name)
            if ".." not in name and not name.startswith("./"):
                assert client.ask("DELETE", f"/api/v1/uploads/{encoded}", {}).status in REFUSED, name
                assert client.ask("GET", f"/api/v1/files/{encoded}/content", {}).status in REFUSED, name


# Upload-Concat and Upload-Metadata


@pytest.mark.parametrize(
    "parts",
    [
        *(
            "",
            " ",
            "/",
            "..",
            "/etc/passwd",
            "file:///etc/passwd",
            "/uploads/",
            "/uploads/..",
            "/uploads/../../etc/passwd",
        ),
        *("/uploads/%2e%2e", f"http://evil.example/uploads/{NOBODY}", f"//evil.example/uploads/{NOBODY}"),
        *(f"http://169.254.169.254/uploads/{NOBODY}", f"gopher://x/uploads/{NOBODY}", f"http://u:p@x/uploads/{NOBODY}"),
        *(
            f"/uploads/{NOBODY}?x",
            f"/uploads/{NOBODY}#x",
            f"/uploads/{NOBODY}/",
            f"/uploads/{NOBODY},/uploads/{NOBODY}",
        ),
        *(f"/uploads/{NOBODY}", " ".join([f"/uploads/{NOBODY}"] * 600), " ".join(["x"] * 30_000), "/uploads/{own}"),
    ],
    ids=lambda parts: ascii(parts[:60]),
)
def test_parts_that_are_none(server: PenstockServer, client: Client, upload: str, parts: str) -> None:
    named = parts.replace("/uploads/{own}", upload)
    with without_effect(server):
        for word in ("final;", "final; ", "FINAL;", "partial;", "final,"):
            assert client.post({"Upload-Concat": word + named}).status in REFUSED


@pytest.mark.parametrize(
    "metadata",
    [
        *(f"filename {b64('a')} {b64('b')}", "filename *", "filename Yq", "filename YQ=", "filename Y Q=="),
        *(
            f"filename {b64('a')},filename {b64('b')}",
            f",filename {b64('a')}",
            f"filename {b64('a')},",
            f"n\u00e4me {b64('a')}",
        ),
        *(
            f"filename {b64(bytes([255]))}",
            f"filename {b64('a' + chr(13) + chr(10) + 'Set-Cookie: x')}",
            f"filename {b64(chr(0))}",
        ),
        *(
            f"space {b64('a' + chr(10))}",
            f"space {b64(chr(0x202E))}",
            f"space {b64(chr(0x9B) + '2J')}",
            f"space {b64('x' * 201)}",
        ),
        *(
            f"path {b64('../x')}",
            f"path {b64('/x')}",
            f"path {b64('a/')}",
            f"path {b64('a//b')}",
            f"path {b64('x/' * 600 + 'y')}",
        ),
        "k " + "A" * 20_000,
        ",".join(f"k{number}" for number in range(5000)),
        f"checksum {b64('md5 x')}",
    ],
    ids=lambda metadata: ascii(metadata[:60]),
)
def test_metadata_with_tricks(server: PenstockServer, client: Client, metadata: str) -> None:
    with without_effect(server):
        assert client.post({"Upload-Metadata": metadata}).status in REFUSED


# Requests that two servers could read in two ways


SMUGGLED: Final = b"DELETE %b HTTP/1.1\r\nHost: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\n\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n\r\n"
FRAMES: Final = {
    "both": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, the other way round": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 9\r\n\r\n",
    "the same length twice": b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": b"Content-Length: 0, 0\r\n\r\n",
    "a length with a sign": b"Content-Length: +0\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": b"Content-Length: 0x5\r\n\r\n",
    "a length with an underscore": b"Content-Length: 1_0\r\n\r\n",
    "an endless length": b"Content-Length: 99999999999999999999999999\r\n\r\n",
    "an empty length": b"Content-Length: \r\n\r\n",
    "xchunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked, identity": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\n\r\n",
    "gzip": b"Transfer-Encoding: gzip\r\n\r\n",
    "a blank before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "folded": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a folded field": b"X-Any: a\r\n\tContent-Length: 0\r\n\r\n",
    "a bare LF": b"X-Any: a\nContent-Length: 0\r\n\r\n",
    "a bare CR": b"X-Any: a\rContent-Length: 0\r\n\r\n",
    "a NUL": b"X-Any: a\0b\r\nContent-Length: 0\r\n\r\n",
    "a name with a blank": b"X Any: a\r\nContent-Length: 0\r\n\r\n",
    "no colon": b"Content-Length\r\n\r\n",
    "an empty name": b": a\r\nContent-Length: 0\r\n\r\n",
    "two hosts": b"Host: evil.example\r\nContent-Length: 0\r\n\r\n",
    "a chunk of no size": CHUNKED + b"\r\nx\r\n0\r\n\r\n",
    "a chunk with a sign": CHUNKED + b"+1\r\nx\r\n0\r\n\r\n",
    "a negative chunk": CHUNKED + b"-1\r\nx\r\n0\r\n\r\n",
    "a chunk of 0x1": CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n",
    "a chunk larger than any": CHUNKED + b"ffffffffffffffffff\r\nx",
    "a chunk that wraps around": CHUNKED + b"10000000000000001\r\nx\r\n0\r\n\r\n",
    "a chunk without its end": CHUNKED + b"1\r\nxy\r\n0\r\n\r\n",
    "a chunk after a bare LF": CHUNKED + b"1\nx\r\n0\r\n\r\n",
    "a chunk of words": CHUNKED + b"one\r\nx\r\n0\r\n\r\n",
    "an extension without end": CHUNKED + b"1;" + b"x" * 200_000,
    "a field after the body without end": CHUNKED + b"0\r\nX-Any: " + b"x" * 200_000,
    "many fields after the body": CHUNKED + b"0\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
    "many fields": b"A: b\r\n" * 1000 + b"Content-Length: 0\r\n\r\n",
    "a long field": b"A: " + b"b" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_frames_that_can_be_read_in_two_ways(server: PenstockServer, client: Client, upload: str, frame: bytes) -> None:
    path = upload.encode()
    head = b"PATCH %b HTTP/1.1\r\nHost: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n" % path
    head += b"Content-Type: application/offset+octet-stream\r\n"
    with without_effect(server):
        assert status_of(client, head + frame + SMUGGLED % path) in REFUSED


@pytest.mark.parametrize(
    "line",
    [
        *(b"DELETE %b", b"DELETE %b HTTP/1.1 x", b"DELETE %b HTTP/9.9", b"DELETE %b http/1.1"),
        *(
            b"delete %b HTTP/1.1",
            b"DELETE\t%b\tHTTP/1.1",
            b"DELETE %b\x00 HTTP/1.1",
            b"FROB %b HTTP/1.1",
            b" DELETE %b HTTP/1.1",
        ),
        *(
            b"DELETE %b HTTP/1.1\rX: y",
            b"DELETE http:// HTTP/1.1",
            b"CONNECT %b HTTP/1.1",
            b"TRACE %b HTTP/1.1",
            b"PRI * HTTP/2.0",
        ),
        *(b"OPTIONS* HTTP/1.1", b"DELETE %b#x HTTP/1.1", b"GET /" + b"x" * 70_000 + b" HTTP/1.1"),
    ],
    ids=lambda line: ascii(line[:40]),
)
def test_lines_that_are_no_requests(server: PenstockServer, client: Client, upload: str, line: bytes) -> None:
    raw = line.replace(b"%b", upload.encode()) + b"\r\nHost: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\n\r\n"
    with without_effect(server):
        assert status_of(client, raw) in (0, *REFUSED)


def test_no_host(server: PenstockServer, client: Client, upload: str) -> None:
    with without_effect(server):
        assert status_of(client, b"DELETE %b HTTP/1.1\r\nTus-Resumable: 1.0.0\r\n\r\n" % upload.encode()) == 400


@pytest.mark.parametrize("override", ["", "TRACE", "CONNECT", "PA TCH", "PATCH, DELETE", "POST", "X" * 100, "\x80"])
def test_methods_by_the_back_door(server: PenstockServer, client: Client, upload: str, override: str) -> None:
    with without_effect(server):
        assert client.ask("POST", upload, {**TUS, "X-HTTP-Method-Override": override}).status in REFUSED
        assert client.ask("POST", "/api/v1" + upload, {"X-HTTP-Method-Override": "DELETE"}).status in REFUSED
        assert client.ask("POST", "/files/there.txt", {"X-HTTP-Method-Override": "DELETE"}).status in REFUSED


# Pages of strangers


def test_pages_of_strangers_change_nothing(server: PenstockServer, client: Client, upload: str, file: str) -> None:
    """Requests that browsers send for any page, without asking first; and the answers to their asking."""
    evil = {"Origin": "https://evil.example"}
    plain = {**evil, "Content-Type": "text/plain"}
    clean = json.dumps({"action": "clean", "id": upload.rpartition("/")[2]}).encode()
    move = json.dumps({"path": "there.txt", "to_path": "gone.txt"}).encode()
    headers, body = form('filename="a.txt"')
    with without_effect(server):
        for sent in (plain, evil, {**evil, "Content-Type": "application/json"}, {**plain, "Origin": "null"}):
            assert client.ask("POST", "/api/v1/uploads/actions", sent, clean).status == 403
            assert client.ask("POST", "/api/v1/paths/move", sent, move).status == 403
        assert client.ask("POST", "/api/v1/uploads/actions", {"Content-Type": "text/plain"}, clean).status in REFUSED
        assert client.ask("POST", "/files/", {**headers, **evil}, body).status == 403
        assert client.ask("DELETE", "/api/v1" + upload, evil).status == 403
        assert client.ask("DELETE", file, evil).status == 403
        for target in (upload, file, "/uploads/", "/files/", "/api/v1" + upload, "/api/v1/uploads/actions"):
            asked = client.ask("OPTIONS", target, {**evil, "Access-Control-Request-Method": "DELETE"})
            assert "access-control-allow-origin" not in asked
        for target in ("/api/v1/uploads", "/api/v1/events", file, "/"):
            with client.connect() as connection:
                connection.begin("GET", target, evil)
                received = connection.socket.recv(4096).lower()
            assert b"access-control-allow-origin" not in received


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "a b",
        "[::1",
        "@x",
        "\x80",
    ],
)
def test_names_that_strangers_have_point_here(server: PenstockServer, client: Client, upload: str, host: str) -> None:
    """DNS rebinding: to the browser it is one origin, and it sends no `Origin`, or one that is like `Host`."""
    evil = {"Host": host, "Origin": f"http://{host}"}
    with without_effect(server):
        for target in ("/", "/api/v1/uploads", "/api/v1/events", "/files/there.txt", upload, "/metrics", "/docs"):
            answer = client.ask("GET", target, {"Host": host})
            assert answer.status == 421
            assert b"there.txt" not in answer.body
        assert client.ask("DELETE", "/api/v1" + upload, evil).status == 421
        assert client.ask("DELETE", upload, {**TUS, **evil}).status == 421
        assert client.ask("PUT", "/files/x", evil, b"x").status == 421
        assert client.post(evil).status == 421


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.:1", "a.localhost", "127.0.0.1:99", "[::1]:99", "192.0.2.1", "[2001:db8::1]"]
)
def test_names_that_nobody_can_have_point_elsewhere(client: Client, host: str) -> None:
    assert client.ask("GET", "/healthz", {"Host": host}).status == 200


# Bodies of the API


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"{", b'{"action": "clean", "id": "\\ud800"}', b"\xff\xfe", b"[" * 100_000),
        b'{"action": "clean", "id": "%b"}' % (b"x" * 2_000_000),
        b'{"action": "clean", "id": 1e999}',
    ],
    ids=lambda body: ascii(body[:40]),
)
def test_bodies_that_are_none(server: PenstockServer, client: Client, body: bytes) -> None:
    with without_effect(server):
        answer = client.ask("POST", "/api/v1/uploads/actions", {"Content-Type": "application/json"}, body)
        assert answer.status in REFUSED


def test_a_body_of_the_api_that_does_not_end(client: Client) -> None:
    with client.connect() as connection:
        connection.begin("POST", "/api/v1/uploads/actions", {"Transfer-Encoding": "chunked"})
        for _ in range(3):
            connection.chunk(b" " * 500_000)
        assert connection.answer(to="POST").status == 413


@pytest.mark.parametrize(
    "query",
    [
        *(
            "limit=-1",
            "limit=0",
            "limit=99999999999999999999",
            "limit=1e3",
            "limit=%00",
            "cursor=-1",
            "cursor=%00",
            "cursor=1' OR '1'='1",
        ),
        *("cursor=99999999999999999999", "phase=%00", "phase=all", "sessions=maybe"),
    ],
)
def test_queries_that_are_none(client: Client, query: str) -> None:
    assert client.ask("GET", f"/api/v1/uploads?{query.replace(' ', '%20')}", {}).status in REFUSED


@pytest.mark.parametrize("query", ["id=%00", "space=%00", "space=%ff", "space=%25", "owner='", "step=%00", "id=%25"])
def test_queries_that_find_nothing(client: Client, query: str) -> None:
    answer = client.ask("GET", f"/api/v1/uploads?{query}", {})
    assert answer.status == 200
    assert json.loads(answer.body)["uploads"] == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=99999999999999999999999-"}, 416),
        ({"Range": "bytes=0-99999999999999999999999"}, 206),
        ({"Range": "bytes=-99999999999999999999999"}, 206),
        ({"Range": "bytes=18446744073709551615-18446744073709551616"}, 416),
        ({"Range": "bytes=" + ",".join(["0-0"] * 5000)}, 200),
        ({"Range": "bytes=0-,0-,0-,0-,0-,0-,0-,0-"}, 200),
        ({"Range": "bytes=\u00b2-\u00b3"}, 200),
        ({"Range": "bytes=999999999999999-"}, 416),
        ({"Range": "bytes=0-999999999999999"}, 206),
        ({"If-Match": '"' * 5000}, 412),
        ({"If-None-Match": '"a", ' * 5000}, 200),
        ({"If-Modified-Since": "Mon, 99 Foo 99999 99:99:99 GMT"}, 200),
        ({"If-Unmodified-Since": "x" * 5000}, 200),
        ({"If-Range": "\x80"}, 200),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_ranges_and_conditions_beyond_all_numbers(client: Client, file: str, headers: Headers, status: int) -> None:
    answer = client.ask("GET", file, headers)
    assert (answer.status, len(answer.body) <= 2000) == (status, True)


# What somebody has uploaded


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("page.html", "text/html"),
        ("<img src=x onerror=alert(1)>.svg", "image/svg+xml"),
        ('a";filename="b.exe', "application/xhtml+xml; charset=x"),
        ("x.js", "text/javascript"),
        ("x", "text/html\r\nSet-Cookie: a=b"),
        ("x.bin", "multipart/x-mixed-replace"),
    ],
)
def test_what_was_uploaded_does_not_run(client: Client, name: str, media_type: str) -> None:
    metadata = f"filename {b64(name)},filetype {b64(media_type)}"
    created = client.post({"Upload-Length": 8, "Upload-Metadata": metadata})
    path = client.path(created)
    assert client.patch(path, 0, b"<script>").status == 204
    answer = released(client, f"/api/v1/files/{path.rpartition('/')[2]}/content")
    assert answer.status == 200
    assert answer["content-type"] in ("application/octet-stream", "multipart/x-mixed-replace")
    assert answer["content-disposition"].startswith('attachment; filename="')
    assert answer["content-disposition"].count('"') == 2
    assert answer["x-content-type-options"] == "nosniff"
    assert answer["content-security-policy"].startswith("sandbox")
    assert "set-cookie" not in answer
    shown = client.ask("GET", "/api/v1" + path, {})
    assert shown["content-type"] == "application/json"


def test_the_page_has_no_scripts_but_its_own(client: Client) -> None:
    answer = client.ask("GET", "/", {})
    policy = answer["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer["x-content-type-options"] == "nosniff"


def test_a_refusal_repeats_nothing_that_runs(client: Client) -> None:
    for target in ("/uploads/<script>alert(1)</script>", "/files/<script>", "/api/v1/uploads/<script>", "/<script>"):
        answer = client.ask("GET", target, {})
        assert answer.status in REFUSED
        assert answer["content-type"] == "application/problem+json"
        assert answer["x-content-type-options"] == "nosniff"


def test_nothing_of_this_is_a_failure_of_ours(server: PenstockServer) -> None:
    """What is refused on purpose leaves no failure in the log."""
    assert "request_failed" not in Path(server.log_path).read_text()
