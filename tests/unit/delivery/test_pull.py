from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.delivery.base import BytesUnavailable, DeliveryRefused
from penstock.delivery.pull import PullDelivery
from penstock.events.types import StartPostprocessingStep
from tests.servers.web import QuietHandler, serving

BODY = b"x" * 3_000_000


class Gateway(QuietHandler):
    """Serves `BODY` at /data/TOKEN, and what goes wrong at other addresses."""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/data/token")
            self.end_headers()
            return
        if self.path == "/away":
            self.send_error(401)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:1000] if self.path == "/cut" else BODY)


@pytest.fixture
def url() -> Iterator[str]:
    with serving(Gateway) as server:
        yield server.url


def start(url: str, size_bytes: int = len(BODY)) -> StartPostprocessingStep:
    return StartPostprocessingStep(upload_id="u", url=url, filesize=size_bytes, step_to_start="ocr")


def count(folder: Path) -> int:
    return len(list(folder.iterdir()))


def run(script: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, "-c", script, *arguments], check=False).returncode


@pytest.mark.parametrize("path", ["/data/token", "/moved"])
async def test_the_whole_file_is_fetched_and_removed_afterwards(url: str, path: str, tmp_path: Path) -> None:
    async with PullDelivery(tmp_path) as delivery:
        async with delivery.deliver(start(url + path)) as delivered:
            assert delivered.path.read_bytes() == BODY
            assert delivered.size_bytes == len(BODY)
        assert not delivered.path.exists()
    assert count(tmp_path) == 0


@pytest.mark.parametrize(
    ("path", "size_bytes", "message"),
    [
        ("/away", len(BODY), "answered 401"),
        ("/cut", len(BODY), "did not deliver"),
        ("/data/token", len(BODY) - 1, "but the upload has 2999999"),
        ("/data/token", len(BODY) + 1, "delivered 3000000 bytes"),
    ],
)
async def test_a_part_of_the_file_is_never_handed_out(
    url: str, path: str, size_bytes: int, message: str, tmp_path: Path
) -> None:
    async with PullDelivery(tmp_path) as delivery:
        with pytest.raises(BytesUnavailable, match=message) as raised:
            async with delivery.deliver(start(url + path, size_bytes)):
                pytest.fail("bytes were handed out")
        assert "token" not in str(raised.value)


async def test_nobody_there_is_an_error_that_names_the_server_but_no_token(tmp_path: Path) -> None:
    async with PullDelivery(tmp_path) as delivery:
        with pytest.raises(BytesUnavailable, match=r"127\.0\.0\.1:1 did not deliver") as raised:
            async with delivery.deliver(start("http://127.0.0.1:1/secret-token")):
                pytest.fail("bytes were handed out")
        assert "secret-token" not in str(raised.value)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "", "data:,x"])
async def test_only_web_addresses_are_fetched(address: str, tmp_path: Path) -> None:
    async with PullDelivery(tmp_path) as delivery:
        with pytest.raises(DeliveryRefused):
            async with delivery.deliver(start(address)):
                pytest.fail("bytes were handed out")


async def test_what_a_killed_process_left_behind_is_removed_and_what_lives_is_not(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, sys, pathlib\n"
        "from penstock.delivery.pull import PullDelivery\n"
        "async def main():\n"
        "    async with PullDelivery(pathlib.Path(sys.argv[1])):\n"
        "        os._exit(9)\n"
        "asyncio.run(main())\n"
    )
    assert run(script, str(tmp_path)) == 9
    assert count(tmp_path) == 1
    async with PullDelivery(tmp_path), PullDelivery(tmp_path):
        assert count(tmp_path) == 2


async def test_two_that_start_at_the_same_time_leave_each_other_their_folders(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, removed = fcntl.flock, list[Path]()

    def after_the_other(descriptor: int, operation: int) -> None:
        if not removed:  # the other one was looking for folders that nobody has locked
            removed.extend(tmp_path.iterdir())
            shutil.rmtree(removed[0])
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", after_the_other)
    async with PullDelivery(tmp_path) as delivery, delivery.deliver(start(f"{url}/data/token")) as delivered:
        assert delivered.path.read_bytes() == BODY
    assert len(removed) == 1
