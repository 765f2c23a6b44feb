"""Starts the servers that are measured, each on a free port with an empty folder, and ends them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
import psutil
from _load import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PEERS = Path(__file__).parent / "peers"
_START_SECONDS = 120.0


def free_port() -> int:
    """Return a port that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _penstock(port: int, folder: Path) -> tuple[list[str], str]:
    command = [sys.executable, "-m", "penstock", "serve", "--http-addr", f"127.0.0.1:{port}", "--data-dir", str(folder)]
    return command, "/uploads/"


def _tus_node(port: int, folder: Path) -> tuple[list[str], str]:
    if not (PEERS.parent / "node_modules").exists():
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=PEERS.parent, check=True)
    return ["node", str(PEERS / "tus-node.mjs"), str(port), str(folder)], "/files"


def _tus_python(port: int, folder: Path) -> tuple[list[str], str]:
    return [sys.executable, str(PEERS / "tus_python.py"), str(port), str(folder)], "/files/"


def _resumable_upload(port: int, folder: Path) -> tuple[list[str], str]:
    return [sys.executable, str(PEERS / "resumable_upload_python.py"), str(port), str(folder)], "/files"


def _tusd(port: int, folder: Path) -> tuple[list[str], str]:
    return ["tusd", "-host", "127.0.0.1", "-port", str(port), "-upload-dir", str(folder)], "/files/"


def _bare_granian(port: int, folder: Path) -> tuple[list[str], str]:
    return [sys.executable, str(PEERS / "bare_granian.py"), str(port), str(folder)], "/files/"


SERVERS: dict[str, Callable[[int, Path], tuple[list[str], str]]] = {
    "penstock": _penstock,
    "@tus/server": _tus_node,
    "tuspyserver": _tus_python,
    "resumable-upload": _resumable_upload,
}
if shutil.which("tusd"):  # no package repository that the set-up uses has it, so it is measured where it is installed
    SERVERS["tusd"] = _tusd
BARE = "bare granian"
"""Under this name runs what is no server for uploads: the least that one can do."""


@contextmanager
def running(name: str, *, steps: str = "", fill: Callable[[Path], None] | None = None) -> Iterator[Target]:
    """Run one of `SERVERS`, or `BARE`, while the context is open; `fill` puts something into its folder before.

    The folder is in memory.
    """
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))  # noqa: S108  tmpfs is the point
    if fill is not None:
        fill(folder)
    port = free_port()
    command, path = (_bare_granian if name == BARE else SERVERS[name])(port, folder)
    environment = {"POSTPROCESSING_STEPS": steps, "PENSTOCK_LOG_LEVEL": "error"}
    with _process(command, port, environment, folder, cwd=PEERS, quiet=False) as process:
        yield Target(name, port, path, process.pid)


@contextmanager
def running_nats() -> Iterator[Process]:
    """Run nats-server with JetStream in a folder on disk, as operators do."""
    program = shutil.which("nats-server", path="/usr/sbin:/usr/local/bin:/usr/bin") or "nats-server"
    folder, port = Path(tempfile.mkdtemp(dir="/var/tmp")), free_port()
    command = [program, "--addr", "127.0.0.1", "--port", str(port), "--jetstream", "--store_dir", str(folder)]
    with _process(command, port, {}, folder) as process:
        yield process


@contextmanager
def running_coordinator(nats_port: int, store: str) -> Iterator[Process]:
    """Run `penstock postprocessing server` with one step, `virusscan`."""
    folder, port = Path(tempfile.mkdtemp()), free_port()
    environment = {
        "POSTPROCESSING_EVENTS_ENDPOINT": f"127.0.0.1:{nats_port}",
        "POSTPROCESSING_STORE": store,
        "POSTPROCESSING_STORE_NODES": f"127.0.0.1:{nats_port}",
        "POSTPROCESSING_STEPS": "virusscan",
        "POSTPROCESSING_DEBUG_ADDR": f"127.0.0.1:{port}",
    }
    command = [sys.executable, "-m", "penstock", "postprocessing", "server"]
    with _process(command, port, environment, folder) as process:
        while not _ready(port):
            time.sleep(0.05)
        yield process


class Process(NamedTuple):
    """A server that runs."""

    port: int
    pid: int


@contextmanager
def _process(
    command: list[str],
    port: int,
    environment: dict[str, str],
    folder: Path,
    *,
    cwd: Path | None = None,
    quiet: bool = True,
) -> Iterator[Process]:
    """Run a server in its folder (or `cwd`), which goes with it; unless `quiet`, one hears what goes wrong with it."""
    process = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if quiet else None,
        cwd=cwd or folder,
    )
    try:
        _wait(port, process)
        yield Process(port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its children so far."""
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def proportional_mib(pid: int) -> float:
    """Return the memory of a process and its children, in MiB; what several of them share counts once."""
    process = psutil.Process(pid)
    sizes = []
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            sizes.append(one.memory_full_info().pss)
    return float(sum(sizes)) / 2**20


def resident_mib(pid: int) -> float:
    """Return the memory of a process and its children, in MiB."""
    process = psutil.Process(pid)
    return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))) / 2**20
