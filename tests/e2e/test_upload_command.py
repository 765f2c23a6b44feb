"""`penstock upload` against a real server that is killed, and killed itself."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from penstock.testing.eventually import eventually
from tests.servers.cutting import holding
from tests.servers.penstock import PenstockServer

LARGE_BYTES = 64 * 1024**2
HELD_AFTER = LARGE_BYTES // 3


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("large") / "large.bin"
    with file.open("wb") as out:
        for number in range(LARGE_BYTES // 1024**2):
            out.write(hashlib.shake_128(number.to_bytes(4, "big")).digest(1024) * 1024)
    return file


@asynccontextmanager
async def uploading(url: str, folder: Path, *files: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    # Whoever runs the tests may have them started with Ctrl-C ignored, which programs inherit.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; from penstock.cli import main; main()"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "OC"))}
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "upload", "--wait", "--json", "--url", url, *map(str, files)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=inherited | {"XDG_STATE_HOME": str(folder / "state")},
    )
    try:
        yield command
    finally:
        if command.returncode is None:
            command.kill()
            await command.wait()


async def ended(command: asyncio.subprocess.Process) -> tuple[int, Any, str]:
    async with asyncio.timeout(240):
        out, err = await command.communicate()
    assert command.returncode is not None
    return command.returncode, json.loads(out) if out else None, err.decode()


async def until_under_way(server: PenstockServer) -> None:
    """Wait until a part of the file has arrived; the rest is kept back."""
    async with httpx.AsyncClient(base_url=f"{server.url}/api/v1", trust_env=False) as api:

        async def offset() -> bool:
            uploads = (await api.get("/uploads", params={"phase": "receiving"})).json()["uploads"]
            return any(upload["offset"] > 0 for upload in uploads)

        await eventually(offset, timeout_seconds=60)


def uploads_of(server: PenstockServer) -> list[str]:
    found = httpx.get(f"{server.url}/api/v1/uploads", trust_env=False).json()["uploads"]
    return [upload["id"] for upload in found]


def digest_served(server: PenstockServer, upload_id: str) -> str:
    digest = hashlib.sha256()
    with httpx.stream("GET", f"{server.url}/api/v1/files/{upload_id}/content", trust_env=False) as answer:
        assert answer.status_code == 200
        for piece in answer.iter_bytes(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def digest_of(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


async def test_a_server_that_is_killed_and_comes_back_is_gone_on_with(tmp_path: Path, large: Path) -> None:
    with PenstockServer(tmp_path) as server, holding(server.port, HELD_AFTER) as line:
        async with uploading(line.url, tmp_path, large) as command:
            await until_under_way(server)
            server.kill()
            line.let_go()
            server.start()
            status, (result,), err = await ended(command)
        assert (status, result["phase"]) == (0, "released"), err
        assert "trying again" in err
        assert digest_served(server, result["upload"]) == digest_of(large)
        assert uploads_of(server) == [result["upload"]]
        assert server.staging == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
async def test_the_same_command_run_again_goes_on(tmp_path: Path, large: Path, how: signal.Signals) -> None:
    with PenstockServer(tmp_path) as server, holding(server.port, HELD_AFTER) as line:
        async with uploading(line.url, tmp_path, large) as command:
            await until_under_way(server)
            command.send_signal(how)
            status, _, err = await ended(command)
        line.let_go()
        if how is signal.SIGINT:
            assert (status, err.count("\n")) == (130, 1)
            assert "Run the same command again" in err
        async with uploading(line.url, tmp_path, large) as command:
            status, (result,), err = await ended(command)
        assert (status, result["phase"], err) == (0, "released", "")
        assert digest_served(server, result["upload"]) == digest_of(large)
        assert uploads_of(server) == [result["upload"]]


async def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    large = tmp_path / "larger.bin"
    with large.open("wb") as out:
        out.truncate(400 * 1024**2)
    with PenstockServer(tmp_path) as server:
        async with uploading(server.url, tmp_path, large) as command:
            most, process = 0, psutil.Process(command.pid)

            async def is_through() -> bool:
                nonlocal most
                try:
                    most = max(most, process.memory_info().rss)
                except psutil.NoSuchProcess:
                    return True
                return process.status() == psutil.STATUS_ZOMBIE

            await eventually(is_through, timeout_seconds=240)
            status, _, err = await ended(command)
    assert status == 0, err
    assert 0 < most < 120 * 1024**2


async def test_many_small_files_are_each_told_about(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(120):
        (folder / f"{number:03}.txt").write_text(str(number))
    with PenstockServer(tmp_path) as server:
        async with uploading(server.url, tmp_path, Path("--recursive"), folder) as command:
            status, results, err = await ended(command)
        async with httpx.AsyncClient(base_url=server.url) as client:
            listed = (await client.get("/api/v1/paths", params={"prefix": "many/", "limit": 1000})).json()["files"]
    assert (status, err) == (0, "")
    assert [one["path"] for one in listed] == [f"many/{number:03}.txt" for number in range(120)]
    assert [Path(one["file"]).name for one in results] == [f"{number:03}.txt" for number in range(120)]
    assert {one["phase"] for one in results} == {"released"}
