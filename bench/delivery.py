"""One large file to a step through each way of delivery: seconds, CPU and copies on disk.

    make bench ARGS="delivery -- [GiB [WAY…]]"          (default: 1 GiB, all ways)

Penstock runs with NATS and one step; the worker is a process of its own that reads all of the file, as a step does. The
time is from the end of the upload to the end of the worker's reading. CPU is that of the server, and of all on the
worker's side: where files are pushed that is the receiver too (`form` is `push:form+…`, `tus` is `push:tus+…` to
@tus/server, from which the worker fetches the file). Copies are those beside the one that Penstock has, at their most.
`presigned` runs against the S3 server of the tests (moto), which is no measure of a real one: take its copies and the
server's CPU, not its seconds. Everything lies on tmpfs where there is one. The machine's load is printed, too.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
from _servers import running

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests know how to start the servers

from penstock.testing import eventually
from tests.e2e.test_object_storage import settings_of as s3_settings
from tests.servers.nats import running_nats
from tests.servers.penstock import PenstockServer
from tests.servers.receiver import Receiver, running_receiver
from tests.servers.s3 import running_s3
from tests.wire.conversation import Listener
from tests.wire.strangers import answered

WAYS: Final = ("path", "pull", "push", "form", "tus", "push-on-request", "presigned")
_COPIES: Final = {"path": 0, "pull": 1, "push": 1, "form": 1, "tus": 2, "push-on-request": 1, "presigned": 2}
"""Beside ours: the worker's file, but for `path`; before it the store's object, or that of the worker's tus server."""
_TO_RECEIVER: Final = {"push": "push:", "form": "push:form+", "tus": "push:tus+", "push-on-request": "push-on-request:"}
_WORKER: Final = """
import asyncio, hashlib, sys
from pathlib import Path
from penstock.delivery.inbox import InboxDelivery
from penstock.delivery.pull import PullDelivery
from penstock.delivery.schemes import ByScheme
from penstock.delivery.volume import VolumeDelivery
from penstock.events.types import StartPostprocessingStep

async def main(url, size, blobs, inbox):
    async with PullDelivery(Path(inbox)) as pull:
        web = ByScheme({"http": pull, "volume": VolumeDelivery({"penstock": Path(blobs)})})
        delivery = InboxDelivery(Path(inbox), web)
        start = StartPostprocessingStep(upload_id="0" * 32, url=url, filesize=int(size), step_to_start="one")
        async with delivery.deliver(start) as delivered:
            with delivered.path.open("rb") as file:
                print(hashlib.file_digest(file, "md5").hexdigest())

asyncio.run(main(*sys.argv[1:]))
"""


class Figures(NamedTuple):
    """What one way took."""

    seconds: float
    server_cpu: float
    worker_cpu: float


def main() -> None:
    """Measure the ways, one after the other."""
    size_bytes = int(float(sys.argv[1]) * 2**30) if len(sys.argv) > 1 else 2**30
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  tmpfs is the point
    print(f"{size_bytes / 2**30:.2f} GiB; load at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'way':15} {'seconds':>9} {'server CPU s':>14} {'worker CPU s':>14} {'more copies':>12}")
    for way in sys.argv[2:] or WAYS:
        with tempfile.TemporaryDirectory(dir=memory) as name:
            found = asyncio.run(_measure(Path(name), way, size_bytes))
        print(
            f"{way:15} {found.seconds:9.2f} {found.server_cpu:14.2f} {found.worker_cpu:14.2f} {_COPIES[way]:12}",
            flush=True,
        )


async def _measure(folder: Path, way: str, size_bytes: int) -> Figures:
    (folder / "nats").mkdir()
    inbox = folder / "inbox"
    inbox.mkdir()
    with ExitStack() as stack:
        nats = stack.enter_context(running_nats(folder / "nats"))
        receiver = _receiver(stack, way, inbox)
        server = PenstockServer(folder)
        server.environment = {
            "PENSTOCK_BUS": "nats",
            "OCIS_EVENTS_ENDPOINT": nats.endpoint,
            "POSTPROCESSING_STEPS": "one",
            "PENSTOCK_DELIVERY_URL": server.url,
            "PENSTOCK_DELIVERY": f"one={_TO_RECEIVER[way]}{receiver.url}" if receiver else f"one={way}",
            "PENSTOCK_DELIVERY_PUSH_ALLOW": "127.0.0.1",
        }
        if way == "presigned":
            s3 = stack.enter_context(running_s3(folder))
            server.environment |= s3_settings(s3, s3.new_bucket())
        stack.enter_context(server)
        async with Listener(nats.endpoint) as listener:
            return await _one_file(listener, server, receiver, inbox, size_bytes)


def _receiver(stack: ExitStack, way: str, inbox: Path) -> Receiver | None:
    if way == "tus":
        target = stack.enter_context(running("@tus/server"))
        return Receiver(f"http://127.0.0.1:{target.port}{target.path}", inbox, target.pid)
    return stack.enter_context(running_receiver(inbox)) if way in _TO_RECEIVER else None


async def _one_file(
    listener: Listener, server: PenstockServer, receiver: Receiver | None, inbox: Path, size_bytes: int
) -> Figures:
    upload_id = await asyncio.to_thread(_put, server, size_bytes)
    began_at = time.perf_counter()
    before = _cpu(server.pid)
    there_before = _cpu(receiver.pid) if receiver else 0.0
    started = await eventually(
        lambda: [one for one in listener.said if one.kind == "StartPostprocessingStep"], timeout_seconds=600
    )
    blobs = server.data_dir / "blobs"
    arguments = [started[0].payload["URL"], str(size_bytes), str(blobs), str(inbox)]
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", _WORKER, *arguments], check=True, stdout=subprocess.DEVNULL
    )
    seconds, after = time.perf_counter() - began_at, resource.getrusage(resource.RUSAGE_CHILDREN)
    own = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    there = _cpu(receiver.pid) - there_before if receiver else 0.0
    cpu = _cpu(server.pid) - before
    await listener.say(answered(upload_id, step="one"))
    return Figures(seconds, cpu, own + there)


def _put(server: PenstockServer, size_bytes: int) -> str:
    piece = os.urandom(2**20)

    def body() -> Any:
        left = size_bytes
        while left:
            yield piece[:left]
            left -= min(left, len(piece))

    answer = httpx.put(
        f"{server.url}/files/large.bin", content=body(), headers={"Content-Length": str(size_bytes)}, timeout=600
    )
    return str(answer.raise_for_status().json()["id"])


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
