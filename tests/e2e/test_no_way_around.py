"""EICAR by every way in that there is, looked for by every way out: no file is readable before or after its verdict.

Whoever adds a way in adds a function to `WAYS_IN`; whoever adds a way to read adds a line to `reads`.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx
import pytest
from tusclient.client import TusClient as RealClient

from penstock.antivirus.eicar import eicar
from tests.e2e.raw_http import BYTES, TUS, Connection, TusClient
from tests.servers import copies
from tests.servers.penstock import PenstockServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 1024 * 1024
WITHIN = 20
"""How many bytes of the signature come in one piece, where a piece ends within it."""
WINDOW_BYTES = 2 * MIB
BODY = b"a letter " + eicar() + b" and its end"
LARGE = bytes(WINDOW_BYTES - WITHIN) + eicar() + bytes(1000)
"""Where the scanner reads a file in windows, the signature lies across the first edge."""
CUT = BODY.index(eicar()) + WITHIN
GONE = ("deleted", "rejected")

Way: TypeAlias = "Callable[[PenstockServer, str, Path], str]"


# Ways in: each sends a file of the name and returns the upload's ID.


def put(server: PenstockServer, name: str, folder: Path) -> str:
    return put_body(server, name, BODY)


def put_across_a_window(server: PenstockServer, name: str, folder: Path) -> str:
    return put_body(server, name, LARGE)


def put_body(server: PenstockServer, name: str, body: bytes, **headers: str) -> str:
    answer = httpx.put(f"{server.url}/files/{name}", content=body, headers=headers, trust_env=False)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def put_in_chunks(server: PenstockServer, name: str, folder: Path) -> str:
    with Connection(server.port) as connection:
        connection.head("PUT", f"/files/{name}", {"Transfer-Encoding": "chunked"})
        for piece in (BODY[:CUT], BODY[CUT:], b""):
            connection.chunk(piece)
        answer = connection.response()
    assert answer.status == 202, answer
    return str(json.loads(answer.body)["id"])


def put_as_a_harmless_type(server: PenstockServer, name: str, folder: Path) -> str:
    return put_body(server, name, BODY, **{"Content-Type": "image/png"})


def put_by_curl(server: PenstockServer, name: str, folder: Path) -> str:
    file = written(folder)
    line = ["curl", "--silent", "--fail", "--noproxy", "*", "-T", str(file), f"{server.url}/files/{name}"]
    return str(json.loads(subprocess.run(line, check=True, capture_output=True).stdout)["id"])


def created_with_all_of_it(server: PenstockServer, name: str, folder: Path) -> str:
    answer = TusClient(server.port).request("POST", "/uploads/", {**BYTES, **named(name)}, BODY)
    assert answer.status == 201, answer
    return id_in(answer.headers["location"])


def created_with_a_part_of_it(server: PenstockServer, name: str, folder: Path) -> str:
    client = TusClient(server.port)
    answer = client.request("POST", "/uploads/", {**BYTES, **named(name)}, BODY[:CUT])
    assert answer.status == 201, answer
    upload_id = id_in(answer.headers["location"])
    return patched(client, upload_id, CUT)


def patched_at_once(server: PenstockServer, name: str, folder: Path) -> str:
    client = TusClient(server.port)
    return patched(client, created(client, name), 0)


def patched_byte_by_byte_within_the_signature(server: PenstockServer, name: str, folder: Path) -> str:
    client = TusClient(server.port)
    upload_id = created(client, name)
    for offset, length in ((0, CUT - 2), (CUT - 2, 1), (CUT - 1, 1), (CUT, 1)):
        assert client.patch(f"/uploads/{upload_id}", offset, BODY[offset : offset + length]).status == 204
    return patched(client, upload_id, CUT + 1)


def patched_in_chunks(server: PenstockServer, name: str, folder: Path) -> str:
    client = TusClient(server.port)
    upload_id = created(client, name)
    with client.connect() as connection:
        sent: dict[str, str | int] = {**BYTES, "Upload-Offset": 0, "Transfer-Encoding": "chunked"}
        connection.head("PATCH", f"/uploads/{upload_id}", sent)
        for piece in (BODY[:CUT], BODY[CUT:], b""):
            connection.chunk(piece)
        assert connection.response().status == 204
    return upload_id


def patched_with_a_checksum(server: PenstockServer, name: str, folder: Path) -> str:
    client = TusClient(server.port)
    upload_id = created(client, name)
    for offset, piece in ((0, BODY[:CUT]), (CUT, BODY[CUT:])):
        checksum = f"sha1 {base64.b64encode(hashlib.sha1(piece, usedforsecurity=False).digest()).decode()}"
        assert client.patch(f"/uploads/{upload_id}", offset, piece, Upload_Checksum=checksum).status == 204
    return upload_id


def patched_with_its_checksum_after_it(server: PenstockServer, name: str, folder: Path) -> str:
    client = TusClient(server.port)
    upload_id = created(client, name)
    with client.connect() as connection:
        sent: dict[str, str | int] = {**BYTES, "Upload-Offset": 0, "Transfer-Encoding": "chunked"}
        connection.head("PATCH", f"/uploads/{upload_id}", {**sent, "Trailer": "Upload-Checksum"})
        connection.chunk(BODY[:CUT])
        connection.chunk(BODY[CUT:])
        checksum = base64.b64encode(hashlib.sha256(BODY).digest())
        connection.send(b"0\r\nUpload-Checksum: sha256 " + checksum + b"\r\n\r\n")
        assert connection.response().status == 204
    return upload_id


def put_with_its_digests(server: PenstockServer, name: str, folder: Path) -> str:
    digest = f"sha-256=:{base64.b64encode(hashlib.sha256(BODY).digest()).decode()}:"
    return put_body(server, name, BODY, **{"Content-Digest": digest, "Repr-Digest": digest})


FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def part(name: str, body: bytes) -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
    return head.encode() + body + b"\r\n"


def in_a_form(server: PenstockServer, name: str, folder: Path) -> str:
    body = part("harmless.txt", b"harmless") + part(name, BODY) + b"--x--\r\n"
    answer = TusClient(server.port).request("POST", "/files/", FORM, body)
    assert answer.status == 202, answer
    return str(json.loads(answer.body)["files"][1]["id"])


def in_a_form_whose_end_is_missing(server: PenstockServer, name: str, folder: Path) -> str:
    answer = TusClient(server.port).request("POST", "/files/", FORM, part(name, BODY) + part("cut.txt", BODY))
    assert answer.status == 400, answer
    return str(json.loads(answer.body)["files"][0]["id"])


def put_resumable(server: PenstockServer, name: str, folder: Path) -> str:
    return put_body(server, name, BODY, **{"Upload-Complete": "?1"})


def patched_by_another_method(server: PenstockServer, name: str, folder: Path) -> str:
    client = TusClient(server.port)
    upload_id = created(client, name)
    sent: dict[str, str | int] = {**BYTES, "Upload-Offset": 0, "X-HTTP-Method-Override": "PATCH"}
    assert client.request("POST", f"/uploads/{upload_id}", sent, BODY).status == 204
    return upload_id


def gone_on_with_after_the_connection_broke(server: PenstockServer, name: str, folder: Path) -> str:
    client = TusClient(server.port)
    upload_id = created(client, name)
    with client.connect() as connection:
        sent: dict[str, str | int] = {**BYTES, "Upload-Offset": 0, "Content-Length": len(BODY)}
        connection.head("PATCH", f"/uploads/{upload_id}", {**sent, "Expect": "100-continue"})
        assert connection.response().status == 100
        connection.send(BODY[:CUT])
    return patched(client, upload_id, client.offset(f"/uploads/{upload_id}"))


def sent_by_tuspy(server: PenstockServer, name: str, folder: Path) -> str:
    with written(folder).open("rb") as stream:
        uploader = RealClient(f"{server.url}/uploads/").uploader(
            file_stream=stream, chunk_size=CUT, metadata={"filename": name}, upload_checksum=True
        )
        uploader.upload()
    return id_in(str(uploader.url))


def sent_by_our_command(server: PenstockServer, name: str, folder: Path) -> str:
    file = written(folder).rename(folder / name)
    environment = copies.without_settings() | {"XDG_STATE_HOME": str(folder / "state")}
    done = copies.run(["upload", "--json", "--url", server.url, str(file)], environment=environment)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)[0]["upload"])


WAYS_IN: tuple[Way, ...] = (
    put,
    put_across_a_window,
    put_in_chunks,
    put_as_a_harmless_type,
    put_by_curl,
    created_with_all_of_it,
    created_with_a_part_of_it,
    patched_at_once,
    patched_byte_by_byte_within_the_signature,
    patched_in_chunks,
    patched_with_a_checksum,
    patched_with_its_checksum_after_it,
    put_with_its_digests,
    put_resumable,
    in_a_form,
    in_a_form_whose_end_is_missing,
    patched_by_another_method,
    gone_on_with_after_the_connection_broke,
    sent_by_tuspy,
    sent_by_our_command,
)


def named(name: str) -> dict[str, str | int]:
    return {"Upload-Length": len(BODY), "Upload-Metadata": f"filename {base64.b64encode(name.encode()).decode()}"}


def created(client: TusClient, name: str) -> str:
    metadata = str(named(name)["Upload-Metadata"])
    return id_in(client.create(len(BODY), Upload_Metadata=metadata))


def patched(client: TusClient, upload_id: str, offset: int) -> str:
    assert client.patch(f"/uploads/{upload_id}", offset, BODY[offset:]).status == 204
    return upload_id


def id_in(location: str) -> str:
    return location.rpartition("/")[2]


def written(folder: Path) -> Path:
    file = folder / "letter.txt"
    file.write_bytes(BODY)
    return file


# Ways out.


PATHS = ("/api/v1/files/{}/content", "/files/{}")


def reads(upload_id: str, name: str) -> list[tuple[str, str, dict[str, str]]]:
    """Return every request that gets bytes of a file that may be read, and some that somebody might try."""
    by_id, by_name = paths = [PATHS[0].format(upload_id), PATHS[1].format(name)]
    ranges: list[dict[str, str]] = [
        {},
        {"Range": "bytes=0-"},
        {"Range": "bytes=-90"},
        {"Range": "bytes=9-40,41-90"},
        {"Range": "bytes=0-", "If-Range": f'"{upload_id}"'},
        {"If-None-Match": f'"{upload_id}"'},
    ]
    found = [(method, path, headers) for path in paths for method in ("GET", "HEAD") for headers in ranges]
    odd = [
        f"{by_name}?space=default",
        f"/files/%2F{name}",
        f"/files/./{name}",
        f"{by_name}/",
        f"{by_id}/",
        f"/api/v1/files/{upload_id.upper()}/content",
        f"/api/v1/files/../uploads/{upload_id}/content",
        f"/uploads/{upload_id}",
        f"/uploads/{upload_id}/content",
        f"/static/../blobs/staged/{upload_id}",
        f"/static/%2e%2e/%2e%2e/blobs/staged/{upload_id}",
    ]
    found += [("GET", path, {}) for path in odd]
    found += [("POST", by_id, {"X-HTTP-Method-Override": "GET"}), ("GET", f"/uploads/{upload_id}", dict(TUS))]
    return found


ABOUT = ("/api/v1/files", "/api/v1/files/{id}", "/api/v1/uploads/{id}", "/api/v1/uploads", "/api/v1/postprocessing")
"""What tells about files; the bytes of none are in it."""


def unreadable(server: PenstockServer, upload_id: str, name: str) -> None:
    client = TusClient(server.port)
    for method, path, headers in reads(upload_id, name):
        answer = client.request(method, path, headers)
        # Of an upload by the IETF's protocol, GET is HEAD: it tells how far it has got.
        tells_progress = answer.status == 204 and path == f"/uploads/{upload_id}" and not answer.body
        assert answer.status >= 400 or tells_progress, (method, path, headers, answer)
        assert eicar()[:WITHIN] not in answer.body
        assert "etag" not in answer.headers
    for path in ABOUT:
        assert eicar()[:WITHIN] not in client.request("GET", path.replace("{id}", upload_id)).body


def view_of(server: PenstockServer, upload_id: str) -> dict[str, Any]:
    view: dict[str, Any] = httpx.get(f"{server.url}/api/v1/uploads/{upload_id}", trust_env=False).json()
    return view


def until_decided(server: PenstockServer, upload_id: str, *phases: str) -> dict[str, Any]:
    ends_at = time.monotonic() + 60
    while (view := view_of(server, upload_id))["phase"] not in (phases or (*GONE, "released")):
        assert time.monotonic() < ends_at, view
        time.sleep(0.01)
    return view


DELETE = "delete"
KEPT = ("abort", "quarantine")
"""What else may become of infected files: their bytes stay, where nobody reads them."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], PenstockServer]]:
    """Start a server for each handling of infected files when it is first asked for."""
    with ExitStack() as stack:

        @functools.cache
        def start(handling: str) -> PenstockServer:
            environment = {
                "ANTIVIRUS_INFECTED_FILE_HANDLING": handling,
                # Long enough to look at a file before its scan.
                "POSTPROCESSING_STEPS": "delay,virusscan",
                "POSTPROCESSING_DELAY": "100ms",
            }
            return stack.enter_context(PenstockServer(tmp_path_factory.mktemp(handling), **environment))

        yield start


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: Callable[[str], PenstockServer]) -> PenstockServer:
    return servers(getattr(request, "param", DELETE))


@pytest.mark.parametrize(
    ("server", "way"),
    [
        *((DELETE, way) for way in WAYS_IN),
        *((handling, way) for handling in KEPT for way in (put, created_with_a_part_of_it)),
    ],
    indirect=["server"],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_it_is_never_readable(server: PenstockServer, way: Way, tmp_path: Path) -> None:
    name = f"{way.__name__}.txt"
    upload_id = way(server, name, tmp_path)
    unreadable(server, upload_id, name)
    ended = until_decided(server, upload_id)
    deleted = server.environment["ANTIVIRUS_INFECTED_FILE_HANDLING"] == DELETE
    assert ended["phase"] == ("deleted" if deleted else "rejected"), ended
    assert ended["scan"]["infected"]
    unreadable(server, upload_id, name)
    assert name not in httpx.get(f"{server.url}/api/v1/files", trust_env=False).text
    kept = [path for path in (server.data_dir / "blobs").rglob("*") if path.name.startswith(upload_id)]
    assert [path.parts[-2] for path in kept if path.is_file()] == [] if deleted else ["staged"]


def test_these_are_ways_to_read(server: PenstockServer) -> None:
    """What the other tests try gets the bytes of a file that may be read: else they would prove nothing."""
    upload_id = put_body(server, "clean.txt", b"harmless and long enough for every range" * 3)
    assert until_decided(server, upload_id)["phase"] == "released"
    paths = [path.format(name) for path, name in zip(PATHS, (upload_id, "clean.txt"), strict=True)]
    client = TusClient(server.port)
    got = [client.request(*one).status for one in reads(upload_id, "clean.txt") if one[0] != "POST" and one[1] in paths]
    assert set(got) == {200, 206, 304}
    assert len(got) == 24


def test_it_is_not_read_half_sent(server: PenstockServer) -> None:
    client = TusClient(server.port)
    upload_id = created(client, "half.txt")
    assert client.patch(f"/uploads/{upload_id}", 0, BODY[:-1]).status == 204
    unreadable(server, upload_id, "half.txt")


def test_in_the_place_of_a_file_that_was_released(server: PenstockServer) -> None:
    clean = put_body(server, "both.txt", b"harmless")
    assert until_decided(server, clean)["phase"] == "released"
    infected = put_body(server, "both.txt", BODY)
    for _ in range(2):
        answer = httpx.get(f"{server.url}/files/both.txt", trust_env=False)
        assert (answer.status_code, answer.content) == (200, b"harmless")
        until_decided(server, infected, *GONE)


def test_added_to_a_file_that_was_released(server: PenstockServer) -> None:
    upload_id = put_body(server, "added.txt", b"harmless")
    assert until_decided(server, upload_id)["phase"] == "released"
    client = TusClient(server.port)
    for offset in (0, len(b"harmless")):
        assert client.patch(f"/uploads/{upload_id}", offset, BODY).status >= 400
    assert httpx.get(f"{server.url}/files/added.txt", trust_env=False).content == b"harmless"


def test_compressed_under_a_name_that_clients_unpack(server: PenstockServer) -> None:
    """A scanner that does not unpack must not be led around by a header that clients act on."""
    packed = gzip.compress(BODY)
    upload_id = put_body(server, "packed.txt", packed, **{"Content-Encoding": "gzip"})
    assert until_decided(server, upload_id)["phase"] == "released"
    answer = TusClient(server.port).request("GET", "/files/packed.txt", {"Accept-Encoding": "gzip"})
    assert (answer.status, answer.body) == (200, packed)
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("server", ["quarantine"], indirect=True)
@pytest.mark.parametrize("act", ["resume", "restart"])
def test_a_person_who_has_it_go_on_has_it_scanned_again(server: PenstockServer, act: str) -> None:
    name = f"{act}.txt"
    upload_id = put_body(server, name, BODY)
    until_decided(server, upload_id, *GONE)
    httpx.post(f"{server.url}/api/v1/postprocessing/{act}", json={"upload_id": upload_id}, trust_env=False)
    httpx.post(f"{server.url}/api/v1/uploads/actions", json={"action": act, "id": upload_id}, trust_env=False)
    unreadable(server, upload_id, name)
    assert until_decided(server, upload_id)["phase"] == "rejected"
    unreadable(server, upload_id, name)


def test_half_of_it_before_a_power_cut(tmp_path: Path) -> None:
    with PenstockServer(tmp_path) as server:
        client = TusClient(server.port)
        upload_id = created(client, "cut.txt")
        assert client.patch(f"/uploads/{upload_id}", 0, BODY[:CUT]).status == 204
        server.kill()
        server.start()
        patched(client, upload_id, client.offset(f"/uploads/{upload_id}"))
        server.kill()  # perhaps in the middle of the scan
        server.start()
        unreadable(server, upload_id, "cut.txt")
        assert until_decided(server, upload_id)["phase"] == "deleted"
        unreadable(server, upload_id, "cut.txt")
