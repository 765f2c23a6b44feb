"""`penstock uploads gc`: with a real server and without, on the disk and in a bucket that others use as well."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from penstock.ids import new_upload_id
from tests.e2e.raw_http import TusClient
from tests.e2e.test_files import put
from tests.e2e.test_object_storage import settings_of
from tests.servers import copies
from tests.servers.disks import read_only
from tests.servers.penstock import PenstockServer
from tests.servers.s3 import S3Server

DAY = 24 * 3600


def gc(server: PenstockServer, *arguments: str, status: int = 0) -> dict[str, Any]:
    """Run the command, as an administrator does on the server's machine."""
    environment = copies.without_settings() | server.environment
    environment |= {"PENSTOCK_HTTP_ADDR": f"{server.host}:{server.port}"}
    command = ["uploads", "gc", "--json", "--data-dir", str(server.data_dir)]
    done = copies.run([*command, *arguments], environment=environment)
    assert done.returncode == status, done.stderr
    report: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    return report


def kinds(report: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    return {total["kind"]: (total["found"], total["done"], total["kept"]) for total in report["totals"]}


def age(server: PenstockServer) -> None:
    """Have everything that was noticed be noticed long ago."""
    with closing(sqlite3.connect(server.data_dir / "penstock.db")) as database, database:
        database.execute("UPDATE orphans SET seen_at = seen_at - ?", (2 * DAY * 1_000_000,))


def write(path: Path, body: bytes = b"left behind", *, age_seconds: float = 2 * DAY) -> Path:
    path.write_bytes(body)
    os.utime(path, (time.time() - age_seconds,) * 2)
    return path


def test_it_removes_what_nobody_needs_with_and_without_a_server(tmp_path: Path) -> None:
    environment = {"POSTPROCESSING_STEPS": "", "PENSTOCK_UPLOAD_EXPIRATION": "24h"}
    with PenstockServer(tmp_path, **environment) as server:
        link = put(server, "alive.txt", b"alive")
        unfinished = TusClient(server.port)
        half = unfinished.create(100)
        released = server.data_dir / "blobs" / "released"
        stray = write(released / "ab" / f"ab{new_upload_id()[2:]}")
        not_ours = write(released / "ab" / "notes.txt")
        young = write(released / "cd" / f"cd{new_upload_id()[2:]}", age_seconds=60)
        assert kinds(gc(server, "--yes")) == {"stray": (0, 0, 2)}
        age(server)
        report = gc(server, "--dry-run")
        assert kinds(report) == {"stray": (1, 0, 1)}
        assert report["size_bytes"] == len(b"left behind")
        assert stray.exists()
        with read_only(server.data_dir / "blobs"):
            report = gc(server, "--yes", status=4)
            assert (report["failed"], kinds(report)) == (1, {"stray": (0, 0, 2)})
            (failed,) = [find for find in report["finds"] if find["failed"]]
            assert "Read-only" in failed["detail"] or "Permission" in failed["detail"]
        assert httpx.get(link).content == b"alive"
        server.stop()
        assert gc(server, status=2) == {}, "nobody was asked"
        assert stray.exists()
        assert kinds(gc(server, "--yes")) == {"stray": (1, 1, 1)}
        assert (stray.exists(), young.exists(), not_ours.exists()) == (False, True, True)
        server.start()
        assert httpx.get(link).content == b"alive"
        assert httpx.head(f"{server.url}{half}", headers={"Tus-Resumable": "1.0.0"}).status_code == 200
        metrics = httpx.get(f"{server.url}/metrics").text
        answer = httpx.post(f"{server.url}/api/v1/uploads/gc", json={"dry_run": True})
        assert answer.json()["kept"] == 1
        assert "penstock_garbage_removed_total" in metrics
        short = httpx.post(f"{server.url}/api/v1/uploads/gc", json={"older_than": "1s"})
        assert (short.status_code, short.json()["code"]) == (400, "invalid-request")


def test_in_a_bucket_that_is_shared_only_ours_goes(tmp_path: Path, s3: S3Server) -> None:
    bucket = s3.new_bucket()
    environment = settings_of(s3, bucket) | {"PENSTOCK_STORAGE_PREFIX": "ours", "POSTPROCESSING_STEPS": ""}
    with PenstockServer(tmp_path, **environment) as server:
        link = put(server, "alive.txt", b"alive")
        stray, elsewhere, lent = new_upload_id(), new_upload_id(), new_upload_id()
        theirs = [elsewhere, f"ours/{elsewhere}/head", "ours/report.pdf", f"oursome/{elsewhere}"]
        for key in (f"ours/{stray}", f"ours/delivery/{lent}", *theirs):
            s3.client.put_object(Bucket=bucket, Key=key, Body=b"left behind")
        for key in (f"ours/{stray}", f"ours/delivery/{lent}", f"theirs/{stray}"):
            number = s3.client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
            s3.client.upload_part(Bucket=bucket, Key=key, UploadId=number, PartNumber=1, Body=b"12345")
        first = gc(server, "--yes")
        assert kinds(first) == {"stray": (0, 0, 1), "orphan": (0, 0, 1), "parts": (0, 0, 2)}
        assert {find["size_bytes"] for find in first["finds"]} == {5, 11}
        age(server)
        # moto says of all parts that they were begun in 2010; objects were written a moment ago.
        second = gc(server, "--yes", "--older-than", "5m")
        assert kinds(second) == {"stray": (0, 0, 1), "orphan": (0, 0, 1), "parts": (2, 2, 0)}
        assert second["freed_bytes"] == 10
        assert s3.unfinished(bucket) == [f"theirs/{stray}"]
        assert sorted(set(s3.keys(bucket)) & set(theirs)) == sorted(theirs)
        assert httpx.get(link).content == b"alive"
        server.stop()
        alive = link.split("/")[-2]
        staged = write(server.data_dir / "blobs" / "staged" / alive[:2] / alive, b"a part of it")
        assert kinds(gc(server, "--dry-run"))["leftover"] == (1, 0, 0)
        assert staged.exists()
        assert kinds(gc(server, "--yes"))["leftover"] == (1, 1, 0)
        assert not staged.exists()
        assert s3.content(bucket, f"ours/{alive}") == b"alive"
