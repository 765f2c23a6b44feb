"""`penstock serve` that keeps released files in an object store: real servers, and a file's whole life."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from tusclient.client import TusClient

from penstock.antivirus.eicar import eicar
from penstock.testing import eventually
from tests.e2e.test_serve import refused
from tests.servers.azurite import ACCOUNT, AzuriteServer
from tests.servers.azurite import KEY as ACCOUNT_KEY
from tests.servers.fake_gcs import FakeGcs
from tests.servers.penstock import PenstockServer
from tests.servers.ports import free_ports
from tests.servers.s3 import KEY, SECRET, S3Server, running_s3

MIB = 1024 * 1024
BODY = random.Random(5).randbytes(20 * MIB + 3)


class Site(NamedTuple):
    """A server, and a look into the store behind its back."""

    server: PenstockServer
    content: Callable[[str], bytes | None]


def settings_of(s3: S3Server, bucket: str) -> dict[str, str]:
    return {
        "PENSTOCK_STORAGE": "s3",
        "PENSTOCK_STORAGE_BUCKET": bucket,
        "PENSTOCK_STORAGE_ENDPOINT": s3.endpoint,
        "PENSTOCK_STORAGE_ACCESS_KEY": KEY,
        "PENSTOCK_STORAGE_SECRET_KEY": SECRET,
    }


@contextmanager
def on_s3(folder: Path, s3: S3Server) -> Iterator[Site]:
    bucket = s3.new_bucket()
    environment = settings_of(s3, bucket) | {"PENSTOCK_STORAGE_PREFIX": "/files/"}
    with PenstockServer(folder, **environment) as server:
        yield Site(server, lambda upload_id: s3.content(bucket, f"files/{upload_id}"))
    assert s3.unfinished(bucket) == []


@contextmanager
def on_azure(folder: Path, azurite: AzuriteServer) -> Iterator[Site]:
    container = azurite.new_container()
    environment = {
        "PENSTOCK_STORAGE": "azure",
        "PENSTOCK_STORAGE_BUCKET": container,
        "PENSTOCK_STORAGE_ENDPOINT": azurite.endpoint,
        # These are found in the environment, where Azure's own tools look as well.
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
    }
    with PenstockServer(folder, **environment) as server:
        yield Site(server, lambda upload_id: azurite.content(container, upload_id))


@contextmanager
def on_gcs(folder: Path, fake: FakeGcs) -> Iterator[Site]:
    bucket = fake.new_bucket()
    environment = {
        "PENSTOCK_STORAGE": "gcs",
        "PENSTOCK_STORAGE_BUCKET": bucket,
        "PENSTOCK_STORAGE_ENDPOINT": fake.endpoint,
        "PENSTOCK_STORAGE_CREDENTIALS_FILE": str(fake.credentials_file),
    }
    with PenstockServer(folder, **environment) as server:
        yield Site(server, lambda upload_id: fake.content(bucket, upload_id))
    assert fake.unfinished == {}


@pytest.fixture(params=["s3", "azure", "gcs"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "azure":
        with on_azure(tmp_path, request.getfixturevalue("azurite")) as site:
            yield site
    elif request.param == "gcs":
        with on_gcs(tmp_path, request.getfixturevalue("fake_gcs")) as site:
            yield site
    else:
        with on_s3(tmp_path, request.getfixturevalue("s3")) as site:
            yield site


def send(server: PenstockServer, name: str, body: bytes) -> str:
    uploader = TusClient(f"{server.url}/uploads").uploader(
        file_stream=BytesIO(body), chunk_size=6 * MIB, metadata={"filename": name}
    )
    uploader.upload()
    return str(uploader.url).rpartition("/")[2]


def until(server: PenstockServer, upload_id: str, phase: str, seconds: float = 120) -> None:
    ends_at = time.monotonic() + seconds
    while (view := httpx.get(f"{server.url}/api/v1/uploads/{upload_id}").json())["phase"] != phase:
        assert time.monotonic() < ends_at, (view, server.last_words())
        time.sleep(0.02)


def nothing_staged(server: PenstockServer) -> None:
    """Wait until nothing is: it is removed a moment after the release was noted."""

    async def wait() -> None:
        await eventually(lambda: not server.staging, timeout_seconds=60)

    asyncio.run(wait())


def test_a_file_lives_in_the_store_from_its_release_on(site: Site) -> None:
    server = site.server
    upload_id, small_id, bad_id = (
        send(server, "large.bin", BODY),
        send(server, "small.txt", b"small"),
        send(server, "bad.txt", eicar()),
    )
    until(server, upload_id, "released")
    until(server, small_id, "released")
    until(server, bad_id, "deleted")
    assert site.content(upload_id) == BODY
    assert site.content(small_id) == b"small"
    assert site.content(bad_id) is None
    nothing_staged(server)
    assert [path for path in (server.data_dir / "blobs").rglob("*") if path.is_file()] == []

    link = f"{server.url}/api/v1/files/{upload_id}/content"
    assert httpx.get(link).content == BODY
    part = httpx.get(link, headers={"Range": f"bytes={9 * MIB - 1}-{9 * MIB + 1}"})
    assert (part.status_code, part.content) == (206, BODY[9 * MIB - 1 : 9 * MIB + 2])
    assert httpx.get(link, headers={"Range": "bytes=-5"}).content == BODY[-5:]
    parts = httpx.get(link, headers={"Range": "bytes=0-1,20-21"})
    assert BODY[:2] in parts.content
    assert BODY[20:22] in parts.content
    assert httpx.get(f"{server.url}/files/small.txt").content == b"small"

    assert httpx.delete(f"{server.url}/uploads/{upload_id}", headers={"Tus-Resumable": "1.0.0"}).status_code == 204
    assert site.content(upload_id) is None
    assert httpx.get(link).status_code == 410
    assert site.content(small_id) == b"small"


def test_files_are_taken_in_while_the_store_is_away(tmp_path: Path) -> None:
    with running_s3(tmp_path) as s3:
        environment = settings_of(s3, s3.new_bucket())
        server = PenstockServer(tmp_path / "server", **environment)
        server.data_dir.parent.mkdir()
        with server:
            assert s3.process is not None
            s3.process.terminate()
            s3.process.wait(120)
            upload_id = send(server, "patient.txt", b"patient")
            until(server, upload_id, "processing")
            ends_at = time.monotonic() + 60
            while "event_handler_failed" not in server.log_path.read_text():
                assert time.monotonic() < ends_at, server.last_words()
                time.sleep(0.05)
            assert [path.name for path in server.staging] == [upload_id]
            assert SECRET not in server.log_path.read_text()
            s3.launch()
            assert s3.comes_up()
            s3.client.create_bucket(Bucket=environment["PENSTOCK_STORAGE_BUCKET"])  # moto has forgotten it
            until(server, upload_id, "released", seconds=60)
            assert s3.content(environment["PENSTOCK_STORAGE_BUCKET"], upload_id) == b"patient"
            nothing_staged(server)


def test_a_store_that_cannot_be_used_is_refused(tmp_path: Path, s3: S3Server) -> None:
    for number, (wrong, said) in enumerate(
        [
            ({"PENSTOCK_STORAGE_BUCKET": "nobody-made-it"}, "the S3 bucket 'nobody-made-it'"),
            ({"PENSTOCK_STORAGE_BUCKET": ""}, "storage_bucket"),
            ({"PENSTOCK_STORAGE_ENDPOINT": f"http://127.0.0.1:{free_ports(1)[0]}"}, "error sending request"),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        line = refused(folder, **(settings_of(s3, "bucket-1") | wrong))
        assert said in line
        assert "storage" in line
        assert SECRET not in line
        assert KEY not in line


def test_azure_refuses_another_key_and_we_tell_nobody_which(tmp_path: Path, azurite: AzuriteServer) -> None:
    line = refused(
        tmp_path,
        PENSTOCK_STORAGE="azure",
        PENSTOCK_STORAGE_BUCKET=azurite.new_container(),
        PENSTOCK_STORAGE_ENDPOINT=azurite.endpoint,
        PENSTOCK_STORAGE_ACCESS_KEY=ACCOUNT,
        PENSTOCK_STORAGE_SECRET_KEY="d3JvbmcgYnV0IHdlbGwtZm9ybWVk",
    )
    assert "does not let us in" in line
    assert "AuthorizationFailure" in line or "403" in line
    assert "d3Jvbmc" not in line
