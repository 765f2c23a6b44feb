"""kill -9 at random moments, with many uploads in flight: every one ends as it should, with no help.

`PENSTOCK_KILLS` says how often a run kills at least, for longer ones than the suite has time for.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.testing import eventually
from tests.servers.penstock import PenstockServer

from .client import File, Uploader, make_file

KILLS = int(os.environ.get("PENSTOCK_KILLS", "8"))
MET = ("receiving", "step", "delay", "backoff")
"""In what states some upload was killed, at least."""
IN_FLIGHT = 50
SEED = 20_261_121
ENDED = {"released", "rejected", "deleted", "cancelled", "expired"}
SETTLE_SECONDS = 180.0


@pytest.mark.timeout(800)
async def test_kills_lose_nothing(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    server = PenstockServer(
        tmp_path,
        "--steps",
        str(Path(__file__).parent / "trouble.py"),
        POSTPROCESSING_STEPS="virusscan,trouble,delay",
        POSTPROCESSING_DELAY="300ms",
        POSTPROCESSING_RETRY_BACKOFF_DURATION="600ms",
        PENSTOCK_LOG_LEVEL="warning",
        TROUBLE_MARKS=str(marks),
    )
    files: list[File] = []
    seen: Counter[str] = Counter()
    with server:
        async with Uploader(server.url) as uploader, asyncio.TaskGroup() as running:
            killing = running.create_task(_kill_now_and_then(server, seen))
            workers = [running.create_task(_keep_busy(uploader, files, killing)) for _ in range(IN_FLIGHT)]
            await asyncio.wait(workers)
        uploads = await _settled(server, files)
        _check_outcomes(server, files, uploads)
    assert server.starts == killing.result() + 1
    assert len(files) >= IN_FLIGHT
    assert uploader.patches_cut > 0
    assert all(seen[state] for state in MET), seen


async def _kill_now_and_then(server: PenstockServer, seen: Counter[str]) -> int:
    """Kill it often enough; return how often."""
    chance = random.Random(SEED)
    kills = 0
    while kills < KILLS or not all(seen[state] for state in MET):
        if kills < KILLS:
            await asyncio.sleep(chance.uniform(0.05, 1.5))
            found = await _states(server)
        else:
            found = await eventually(lambda: _some_that_are_new(server, seen))
        seen.update(found)
        server.kill()
        kills += 1
        await asyncio.to_thread(server.start)
    return kills


async def _some_that_are_new(server: PenstockServer, seen: Counter[str]) -> Counter[str]:
    found = await _states(server)
    return found if any(found[state] and not seen[state] for state in MET) else Counter()


async def _states(server: PenstockServer) -> Counter[str]:
    """Look what a kill is going to meet."""
    found: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:
        page = (await client.get("/api/v1/uploads", params={"sessions": True, "limit": 1000})).json()["uploads"]
    for upload in page:
        found["receiving"] += upload["phase"] == "receiving"
        if upload["processing"]:
            found[upload["processing"]["state"]] += 1
    return found


async def _keep_busy(uploader: Uploader, files: list[File], killing: asyncio.Task[int]) -> None:
    while not killing.done():
        file = make_file(len(files), SEED)
        files.append(file)
        await uploader.upload(file)


async def _settled(server: PenstockServer, files: list[File]) -> dict[str, dict[str, Any]]:
    """Wait until everything has ended; return the uploads by ID."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        uploads = await _all_uploads(server)
        records = await _records(server)
        open_ones = [one for one in uploads.values() if one["phase"] not in ENDED]
        if not open_ones and not records and all(file.upload_id in uploads for file in files):
            return uploads
        if time.monotonic() > end:
            unknown = [one for one in open_ones if one["id"] not in {file.upload_id for file in files}]
            raise AssertionError(
                f"{len(open_ones)} uploads do not end, {len(unknown)} of them nobody's; {len(records)} records left: "
                f"{open_ones[:3]} {records[:3]} {server.last_words(10)}"
            )
        await asyncio.sleep(0.3)


async def _records(server: PenstockServer) -> list[dict[str, Any]]:
    """Return what the coordinator still works on."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:
        records: list[dict[str, Any]] = (await client.get("/api/v1/postprocessing")).json()["records"]
        return records


async def _all_uploads(server: PenstockServer) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    cursor: str | None = None
    async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:
        while True:
            page = (
                await client.get("/api/v1/uploads", params={"limit": 1000} | ({"cursor": cursor} if cursor else {}))
            ).json()
            found |= {one["id"]: one for one in page["uploads"]}
            cursor = page["next"]
            if cursor is None:
                return found


def _check_outcomes(server: PenstockServer, files: list[File], uploads: dict[str, dict[str, Any]]) -> None:
    wrong = [
        (file.name, uploads[file.upload_id]["phase"], uploads[file.upload_id]["reason"])
        for file in files
        if uploads[file.upload_id]["phase"] != ("deleted" if file.infected else "released")
    ]
    assert not wrong
    assert len(uploads) == len(files)
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        for file in files:
            answer = client.get(f"/api/v1/files/{file.upload_id}/content")
            if file.infected:
                assert answer.status_code == 410
            else:
                assert hashlib.sha256(answer.content).hexdigest() == file.sha256, file
    assert server.staging == []
