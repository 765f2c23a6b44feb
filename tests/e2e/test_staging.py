"""`penstock serve` that stages in an object store: nothing is on its disk, and an upload goes on when that is lost."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from penstock.antivirus.eicar import eicar
from penstock.testing import eventually
from tests.e2e.test_object_storage import BODY, MIB, send, until
from tests.e2e.test_serve import refused
from tests.servers.penstock import PenstockServer
from tests.servers.stores import settings_for_azure, settings_for_s3
from tests.tus.client import BYTES, Client

if TYPE_CHECKING:
    from tests.servers.azurite import AzuriteServer
    from tests.servers.s3 import S3Server


def files_of(server: PenstockServer) -> list[Path]:
    return [path for path in (server.data_dir / "blobs").rglob("*") if path.is_file()]


def only(s3: S3Server, bucket: str, *upload_ids: str) -> None:
    """Wait until these files are all that is in the bucket."""

    async def wait() -> None:
        await eventually(lambda: sorted(s3.keys(bucket)) == sorted(upload_ids), timeout_seconds=60)

    asyncio.run(wait())


def test_an_upload_survives_its_machine(tmp_path: Path, s3: S3Server) -> None:
    bucket = s3.new_bucket()
    with PenstockServer(tmp_path, **settings_for_s3(s3, bucket)) as server:
        client = Client(server.port)
        path = client.create(len(BODY))
        with client.connect() as connection:
            connection.begin("PATCH", path, {**BYTES, "Upload-Offset": 0, "Content-Length": len(BODY)})
            connection.send(BODY[: 17 * MIB])

        def kept() -> bool:
            return bool(httpx.get(f"{server.url}/api/v1{path}").json()["offset"] == 17 * MIB)

        asyncio.run(eventually(kept))  # HEAD would have it stop, if it came first on a busy machine
        assert client.offset(path) == 17 * MIB
        server.kill()
        shutil.rmtree(server.data_dir / "blobs", ignore_errors=True)
        server.start()
        assert client.offset(path) == 17 * MIB
        assert client.patch(path, 17 * MIB, BODY[17 * MIB :]).status == 204
        upload_id = path.rpartition("/")[2]
        until(server, upload_id, "released")
        assert s3.content(bucket, upload_id) == BODY
        assert files_of(server) == []
        assert httpx.get(f"{server.url}/api/v1/files/{upload_id}/content").content == BODY
        only(s3, bucket, upload_id)


def test_the_scanner_reads_from_the_store(tmp_path: Path, s3: S3Server) -> None:
    bucket = s3.new_bucket()
    with PenstockServer(tmp_path, **settings_for_s3(s3, bucket)) as server:
        good, bad = send(server, "good.txt", b"good"), send(server, "bad.txt", eicar())
        hidden = send(server, "hidden.bin", bytes(9 * MIB - 10) + eicar())
        until(server, good, "released")
        until(server, bad, "deleted")
        until(server, hidden, "deleted")
        only(s3, bucket, good)


def test_the_same_on_another_service(tmp_path: Path, azurite: AzuriteServer) -> None:
    with PenstockServer(tmp_path, **settings_for_azure(azurite, azurite.new_container())) as server:
        upload_id, bad = send(server, "large.bin", BODY), send(server, "bad.txt", eicar())
        until(server, upload_id, "released")
        until(server, bad, "deleted")
        assert httpx.get(f"{server.url}/api/v1/files/{upload_id}/content").content == BODY
        assert files_of(server) == []


def test_objects_need_an_object_store(tmp_path: Path) -> None:
    assert "staging=objects" in refused(tmp_path, PENSTOCK_STAGING="objects")
