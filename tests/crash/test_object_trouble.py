"""An object store that fails or cuts connections, where uploads are staged: everybody is told, and nothing is lost."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.testing import eventually
from tests.e2e.raw_http import BYTES, TUS
from tests.e2e.test_garbage import kinds
from tests.e2e.test_object_storage import settings_of
from tests.servers.penstock import PenstockServer
from tests.servers.s3 import S3Server, running_s3
from tests.servers.unruly import Trouble, unruly

from .inventory import check_inventory

BODY = random.Random(3).randbytes(300_000)
HALF = len(BODY) // 2
METHODS = ("GET", "HEAD", "PUT", "DELETE")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


async def test_clients_and_operators_are_told(tmp_path: Path, s3: S3Server) -> None:
    bucket = s3.new_bucket()
    async with unruly(s3.endpoint) as proxy:
        environment = settings_of(s3, bucket) | {"PENSTOCK_STORAGE_ENDPOINT": proxy.endpoint}
        server = PenstockServer(tmp_path, POSTPROCESSING_STEPS="", PENSTOCK_STAGING="objects", **environment)
        await asyncio.to_thread(server.start)
        try:
            async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:

                async def patch(path: str, begin: int, body: bytes) -> httpx.Response:
                    return await client.patch(path, headers={**BYTES, "Upload-Offset": str(begin)}, content=body)

                async def create() -> httpx.Response:
                    return await client.post("/uploads/", headers={**TUS, "Upload-Length": str(len(BODY))})

                path = (await create()).headers["Location"]
                assert (await patch(path, 0, BODY[:HALF])).status_code == 204
                for trouble in (Trouble.ERROR, Trouble.BUSY, Trouble.CUT_REQUEST):
                    proxy.always = {"PUT": trouble}
                    for answer in (await patch(path, HALF, BODY[HALF:]), await create()):
                        assert (answer.status_code, answer.json()["code"]) == (503, "blob-unavailable"), trouble
                        assert int(answer.headers["Retry-After"]) > 0
                    assert (await client.head(path, headers=TUS)).headers["Upload-Offset"] == str(HALF)
                metrics = (await client.get("/metrics")).text
                assert 'penstock_storage_failures_total{reason="blob-unavailable"} 3.0' in metrics
                assert "storage_failed" in server.log_path.read_text()
                proxy.always = dict.fromkeys(METHODS, Trouble.BUSY)
                ready = await client.get("/readyz")
                assert (ready.status_code, ready.text.partition(":")[0]) == (503, "storage")
                assert (await client.head(path, headers=TUS)).status_code == 503
                proxy.always = {}
                assert (await client.get("/readyz")).status_code == 200
                assert (await patch(path, HALF, BODY[HALF:])).status_code == 204
                url = f"/api/v1/files/{path.rpartition('/')[2]}/content"

                async def released() -> bool:
                    return (await client.get(url)).status_code == 200

                await eventually(released)
                assert hashlib.sha256((await client.get(url)).content).digest() == hashlib.sha256(BODY).digest()
            assert await asyncio.to_thread(server.stop) == 0
            check_inventory(server.data_dir, s3, bucket, staged_here=False)
        finally:
            if server.process is not None and server.process.poll() is None:
                server.kill()


async def said_of(client: httpx.AsyncClient, upload: str) -> Any:
    """Return what the stream of an upload's events says of its release."""
    async with client.stream("GET", f"/api/v1/uploads/{upload}/events") as answer:
        lines = answer.aiter_lines()
        async for line in lines:
            if line == "event: releasing":
                return json.loads((await anext(lines)).removeprefix("data: "))
    raise AssertionError("the stream has ended")


async def test_what_a_killed_process_has_sent_is_compared_and_not_sent_again(tmp_path: Path, s3: S3Server) -> None:
    bucket, body = s3.new_bucket(), random.Random(5).randbytes(9 * 1024 * 1024)
    async with unruly(s3.endpoint) as proxy:
        environment = settings_of(s3, bucket) | {"PENSTOCK_STORAGE_ENDPOINT": proxy.endpoint}
        server = PenstockServer(tmp_path, POSTPROCESSING_STEPS="", **environment)
        await asyncio.to_thread(server.start)
        try:
            proxy.always, proxy.spared = {"GET": Trouble.SILENCE}, "penstock-check"
            async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:
                upload = (await client.put("/files/large.bin", content=body)).json()["id"]

                async def view() -> Any:
                    return (await client.get(f"/api/v1/uploads/{upload}")).json()

                async def is_verifying() -> bool:
                    way = (await view())["releasing"]
                    return way is not None and way["stage"] == "verifying"

                await eventually(is_verifying)
                assert (await view())["phase"] == "processing"  # the object is there, but nobody may read it yet
                assert s3.content(bucket, upload) == body
                server.kill()
                proxy.always = {}
                proxy.seen.clear()
                await asyncio.to_thread(server.start)

                async def released() -> bool:
                    return (await client.get(f"/api/v1/files/{upload}/content")).status_code == 200

                await eventually(released)
                assert (await view())["releasing"] is None
                await eventually(lambda: not server.staging)
                assert not [line for line in proxy.seen if "?uploads" in line]  # which is how parts begin
            check_inventory(server.data_dir, s3, bucket)
        finally:
            if server.process is not None and server.process.poll() is None:
                server.kill()


async def test_parts_that_a_killed_process_has_left_go(tmp_path: Path, s3: S3Server) -> None:
    """It dies in the middle of a large object; the next one begins that anew, and nothing of the first one stays."""
    bucket, body = s3.new_bucket(), random.Random(4).randbytes(9 * 1024 * 1024)
    async with unruly(s3.endpoint) as proxy:
        environment = settings_of(s3, bucket) | {"PENSTOCK_STORAGE_ENDPOINT": proxy.endpoint}
        server = PenstockServer(tmp_path, POSTPROCESSING_STEPS="", **environment)
        await asyncio.to_thread(server.start)
        try:
            proxy.always = {"PUT": Trouble.SILENCE}
            async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:
                answer = await client.put("/files/large.bin", content=body)
                upload = answer.json()["id"]
                await eventually(lambda: s3.unfinished(bucket) == [upload])
                way = (await client.get(f"/api/v1/uploads/{upload}")).json()["releasing"]
                assert way == {"stage": "copying", "done": 0, "size": len(body), "fraction": 0.3333}
                assert (await said_of(client, upload))["stage"] == "copying"
                server.kill()
                proxy.always = {}
                await asyncio.to_thread(server.start)

                async def released() -> bool:
                    return (await client.get(f"/api/v1/files/{upload}/content")).status_code == 200

                await eventually(released)
                await eventually(lambda: not server.staging)
                assert s3.unfinished(bucket) == [upload]
                report = (await client.post("/api/v1/uploads/gc", json={"older_than": "5m"})).json()
            assert kinds(report) == {"parts": (1, 1, 0)}
            assert s3.content(bucket, upload) == body
            check_inventory(server.data_dir, s3, bucket)
        finally:
            if server.process is not None and server.process.poll() is None:
                server.kill()
