"""Other people's clients, as they are, over lines that break, past a server that dies, and behind nginx.

`PENSTOCK_CLIENT_MIB=1024` has each of them send 1 GiB, cut every 20 MiB.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import httpx
import pytest

from penstock.antivirus.eicar import eicar
from tests.clients.browser import in_browser
from tests.servers.cutting import cutting
from tests.servers.nginx import running_proxy
from tests.servers.penstock import PenstockServer

MIB: Final = 1024**2
SIZE: Final = int(os.environ.get("PENSTOCK_CLIENT_MIB", "41")) * MIB
CUT_EVERY: Final = max(SIZE * 20 // 1024, 3 * MIB)
UNDER_WAY: Final = 5 * MIB
"""What a reset takes along, at most: all that the system has kept for either side."""
REPEATED: Final = 2
"""A browser sends a request that was reset once more by itself, from where it began. It is refused at once, but the
browser only listens when it has sent all of it, or was cut off again: so every piece may pass twice."""
LIMIT_SECONDS: Final = 60 + SIZE / MIB
HERE: Final = Path(__file__).parent


class Upload(Protocol):
    """An upload that runs beside the test."""

    def url(self) -> str:
        """Wait for its end; return its URL."""
        ...


Client: TypeAlias = Callable[[Path, str, Path | None], AbstractContextManager[Upload]]
"""Sends a file to an endpoint; a certificate may be needed for that."""


class _Process:
    def __init__(self, command: list[str], certificate: Path | None) -> None:
        trust = {name: str(certificate) for name in ("NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")}
        environment = {"PATH": os.environ["PATH"]} | (trust if certificate else {})
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def url(self) -> str:
        out, err = self.process.communicate(timeout=LIMIT_SECONDS)
        assert self.process.returncode == 0, err
        return out.strip()


@contextmanager
def _running(command: list[str], certificate: Path | None) -> Iterator[Upload]:
    upload = _Process(command, certificate)
    try:
        yield upload
    finally:
        if upload.process.poll() is None:
            upload.process.kill()
            upload.process.communicate()


@contextmanager
def node(file: Path, endpoint: str, certificate: Path | None) -> Iterator[Upload]:
    with _running(["node", str(HERE / "node" / "upload.mjs"), str(file), endpoint], certificate) as upload:
        yield upload


@contextmanager
def tuspy(file: Path, endpoint: str, certificate: Path | None) -> Iterator[Upload]:
    piece = str(max(SIZE // 10, 1))
    with _running([sys.executable, str(HERE / "tuspy_upload.py"), str(file), endpoint, piece], certificate) as upload:
        yield upload


@contextmanager
def curl(file: Path, endpoint: str, certificate: Path | None) -> Iterator[Upload]:
    with _running(["sh", str(HERE / "curl_upload.sh"), str(file), endpoint], certificate) as upload:
        yield upload


@contextmanager
def chromium(file: Path, endpoint: str, certificate: Path | None) -> Iterator[Upload]:
    del certificate
    with in_browser("#tus", file, endpoint, LIMIT_SECONDS) as upload:
        yield upload


@contextmanager
def uppy(file: Path, endpoint: str, certificate: Path | None) -> Iterator[Upload]:
    del certificate
    with in_browser(".uppy-Dashboard-input >> nth=0", file, endpoint, LIMIT_SECONDS) as upload:
        yield upload


BROWSERS: Final = (chromium, uppy)
each_client = pytest.mark.parametrize("client", [node, tuspy, curl, chromium, uppy], ids=lambda client: client.__name__)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("file") / "measurements.bin"
    with made.open("wb") as out:
        for number in range(SIZE // MIB):
            out.write(hashlib.shake_128(number.to_bytes(4, "big")).digest(4096) * 256)
    return made


@pytest.fixture(scope="module")
def digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    folder = tmp_path_factory.mktemp("server")
    settings = {"POSTPROCESSING_STEPS": "virusscan", "PENSTOCK_TRUSTED_PROXIES": "127.0.0.1"}
    with PenstockServer(folder, **settings) as running:
        yield running


def released(server: PenstockServer, url: str) -> str:
    """The digest of what is served in the end."""
    upload_id = url.rstrip("/").rsplit("/", 1)[1]
    ends_at = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < ends_at:
        content = hashlib.sha256()
        with httpx.stream("GET", f"{server.url}/api/v1/files/{upload_id}/content", trust_env=False) as answer:
            if answer.status_code == 200:
                for piece in answer.iter_bytes():
                    content.update(piece)
                return content.hexdigest()
        assert answer.status_code == 425
        time.sleep(0.1)
    raise AssertionError(f"upload {upload_id} is not released")


@each_client
def test_over_a_line_that_breaks(client: Client, server: PenstockServer, file: Path, digest: str) -> None:
    with (
        cutting(server.port, CUT_EVERY) as line,
        client(file, f"{line.url}/uploads/", None) as upload,
    ):
        url = upload.url()
    assert released(server, url) == digest
    assert line.cuts >= SIZE // CUT_EVERY - 1
    most = SIZE + line.cuts * UNDER_WAY
    assert line.passed_bytes <= (most * REPEATED if client in BROWSERS else most)


@each_client
def test_past_a_server_that_dies(client: Client, server: PenstockServer, file: Path, digest: str) -> None:
    """A new one on the same port and folder goes on; the line is slow enough for that to happen in the middle."""
    with (
        cutting(server.port, CUT_EVERY) as line,
        client(file, f"{line.url}/uploads/", None) as upload,
    ):
        ends_at = time.monotonic() + LIMIT_SECONDS
        while line.passed_bytes < SIZE // 3:
            assert time.monotonic() < ends_at
            time.sleep(0.005)
        server.kill()
        server.start()
        url = upload.url()
    assert released(server, url) == digest


@each_client
def test_behind_nginx(client: Client, server: PenstockServer, file: Path, digest: str, tmp_path: Path) -> None:
    with (
        running_proxy(tmp_path / "nginx", server.port) as nginx,
        client(file, f"{nginx.url}/uploads/", nginx.certificate) as upload,
    ):
        url = upload.url()
    assert re.fullmatch(re.escape(nginx.url) + "/uploads/[^/]+", url)
    assert released(server, url) == digest


def by_node(file: Path, server: PenstockServer, **options: object) -> AbstractContextManager[Upload]:
    script = str(HERE / "node" / "upload.mjs")
    return _running(["node", script, str(file), f"{server.url}/uploads/", json.dumps(options)], None)


def test_parts_are_sent_beside_each_other(server: PenstockServer, file: Path, digest: str) -> None:
    """By tus-js-client, which has the server put them together (Concatenation)."""
    with by_node(file, server, parallelUploads=3, uploadSize=None) as upload:
        url = upload.url()
    assert released(server, url) == digest
    shown = httpx.get(f"{server.url}/api/v1/uploads/{url.rpartition('/')[2]}", trust_env=False).json()
    assert (len(shown["made_of"]), shown["filename"]) == (3, file.name)


def test_a_file_that_is_refused_at_its_end_is_no_success(server: PenstockServer, tmp_path: Path) -> None:
    file = tmp_path / "other.bin"
    file.write_bytes(b"not what was announced")
    metadata = {"checksum": f"sha256 {hashlib.sha256(b'what was announced').hexdigest()}"}
    with by_node(file, server, metadata=metadata, retryDelays=[0, 0]) as upload, pytest.raises(AssertionError) as said:
        upload.url()
    assert "response code: 4" in str(said.value)


def test_what_was_rejected_is_not_gone_on_with_as_if_it_were_complete(server: PenstockServer, tmp_path: Path) -> None:
    file = tmp_path / "virus.com"
    file.write_bytes(eicar())
    with by_node(file, server) as upload:
        url = upload.url()
    assert released_or_gone(url, server) == "deleted"
    with by_node(file, server, endpoint=None, uploadUrl=url) as upload, pytest.raises(AssertionError) as said:
        upload.url()
    assert "response code: 410" in str(said.value)


def released_or_gone(url: str, server: PenstockServer) -> str:
    address = f"{server.url}/api/v1/uploads/{url.rpartition('/')[2]}"
    ends_at = time.monotonic() + LIMIT_SECONDS
    while (phase := str(httpx.get(address, trust_env=False).json()["phase"])) == "processing":
        assert time.monotonic() < ends_at
        time.sleep(0.05)
    return phase


def test_nginx_lets_nobody_choose_the_address(server: PenstockServer, tmp_path: Path) -> None:
    with running_proxy(tmp_path / "nginx", server.port) as nginx:
        said = httpx.post(
            f"{nginx.url}/uploads/",
            headers={
                "Tus-Resumable": "1.0.0",
                "Upload-Length": "1",
                "X-Forwarded-Host": "evil.example",
                "X-Forwarded-Proto": "http",
                "X-Forwarded-Prefix": "/evil",
                "Forwarded": "host=evil.example;proto=http",
            },
            verify=ssl.create_default_context(cafile=str(nginx.certificate)),
            trust_env=False,
        )
    assert said.status_code == 201
    assert said.headers["location"].startswith(f"{nginx.url}/uploads/")


def test_files_are_moved_by_their_addresses_behind_nginx(server: PenstockServer, tmp_path: Path) -> None:
    with running_proxy(tmp_path / "nginx", server.port) as nginx:
        tls = ssl.create_default_context(cafile=str(nginx.certificate))
        with httpx.Client(base_url=nginx.url, verify=tls, trust_env=False) as client:
            url = str(client.put("/files/proxied/a.txt", content=b"here").headers["location"])
            released(server, url)
            moved = [
                client.request("MOVE", "/files/proxied/a.txt", headers={"Destination": f"{there}/files/proxied/b.txt"})
                for there in ("https://elsewhere.example", nginx.url)
            ]
            assert [answer.status_code for answer in moved] == [502, 201]
            assert moved[1].headers["location"] == f"{nginx.url}/files/proxied/b.txt"
            assert client.get("/files/proxied/b.txt").content == b"here"
