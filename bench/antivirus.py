"""One large file through clamd: time and memory of Penstock's scans beside clamdscan's, with the same clamd.

    make bench ARGS="antivirus -- [ROUNDS [GiB]]"      (default: 2 rounds, 1 GiB)

clamd is started for it with one signature, without its cache of results, and with its limits as high as they go. The
file is of random bytes, on a disk in memory. "local" is a file that lies on this machine, "remote" one that is fetched
by HTTP while it is scanned. Of the rounds, which take turns, the best counts. "peak" is by how much the memory of
`penstock antivirus server` rises above what it is when idle. Then a file of 5 GiB that begins with EICAR: clamd looks
at no more than 2 GiB, whatever it is told, and says OK; Penstock must not.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests know how to start the servers

from penstock.antivirus.eicar import eicar
from tests.servers.clamd import running_clamd
from tests.servers.nats import running_nats
from tests.servers.single import SingleService
from tests.wire.scanning import Platform, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.clamd import Clamd

MIB: Final = 2**20
_ENGINE_LIMIT_BYTES: Final = 2**31 - 3
_LIMIT_SECONDS: Final = 900.0
_PARTIAL_BYTES: Final = 2047 * MIB


class Scan(NamedTuple):
    """How a scan went."""

    seconds: float
    said: str
    peak_mib: float | None = None
    """None: not measured."""


def main() -> None:
    """Measure both sizes."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    size_gib = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  tmpfs is the point
    with tempfile.TemporaryDirectory(dir=memory) as name:
        asyncio.run(_measure(Path(name), rounds, size_gib))


async def _measure(folder: Path, rounds: int, size_gib: float) -> None:
    for part in ("clamd", "nats", "service", "files"):
        (folder / part).mkdir()
    limit = str(_ENGINE_LIMIT_BYTES)
    limits = {"StreamMaxLength": limit, "MaxFileSize": limit, "MaxScanSize": limit, "MaxScanTime": "0"}
    with (
        running_clamd(folder / "clamd", **limits) as clamd,
        running_nats(folder / "nats") as nats,
        _storage(folder / "files") as storage_url,
    ):
        environment = {
            "OCIS_EVENTS_ENDPOINT": nats.endpoint,
            "ANTIVIRUS_CLAMAV_SOCKET": clamd.unix_address,
            "PENSTOCK_ANTIVIRUS_CLAMAV_MAX_FILE_SIZE": limit,
            "PENSTOCK_ANTIVIRUS_CLAMAV_STREAM_MAX_LENGTH": limit,
            "PENSTOCK_DELIVERY_FOLDER": str(folder / "files"),
            "PENSTOCK_DATA_DIR": str(folder / "service"),
            "TMPDIR": str(folder),
        }
        async with Platform(nats.endpoint) as platform:
            await _one_gib(clamd, platform, folder, environment, storage_url, rounds, size_gib)
            await _five_gib(clamd, platform, folder, environment, storage_url)


async def _one_gib(
    clamd: Clamd,
    platform: Platform,
    folder: Path,
    environment: dict[str, str],
    storage_url: str,
    rounds: int,
    size_gib: float,
) -> None:
    file = folder / "files" / "file"
    with file.open("wb") as out:
        for _ in range(int(size_gib * 1024)):
            out.write(os.urandom(MIB))
    with _service(folder, environment) as service:
        contest: dict[str, Callable[[], Any]] = {
            "clamdscan --fdpass": lambda: _clamdscan(clamd, file, "--fdpass"),
            "penstock, local": lambda: _over_nats(platform, service, file.as_uri(), file),
            "penstock antivirus scan": lambda: _command(file, environment),
            "clamdscan --stream": lambda: _clamdscan(clamd, file, "--stream"),
            "penstock, remote": lambda: _over_nats(platform, service, f"{storage_url}/file", file),
        }
        scans: dict[str, list[Scan]] = {name: [] for name in contest}
        for _ in range(rounds):
            for name, scan in contest.items():
                scans[name].append(await scan())
    _head(f"{size_gib:g} GiB")
    beside = 1.0
    for name, taken in scans.items():
        best = min(taken)
        beside = best.seconds if name.startswith("clamdscan") else beside
        peaks = [scan.peak_mib for scan in taken if scan.peak_mib is not None]
        _row(name, best.seconds, best.seconds / beside, max(peaks, default=None), best.said)
    file.unlink()


async def _five_gib(
    clamd: Clamd, platform: Platform, folder: Path, environment: dict[str, str], storage_url: str
) -> None:
    file = folder / "files" / "file"
    with file.open("wb") as out:
        out.write(eicar())
        out.truncate(5 * 2**30)  # a hole, which takes no memory
    _head("5 GiB")
    with _service(folder, environment) as service:
        scan = await _clamdscan(clamd, file, "--fdpass")
        _row("clamdscan --fdpass", scan.seconds, None, None, scan.said)
        for name, url in (("penstock, local", file.as_uri()), ("penstock, remote", f"{storage_url}/file")):
            scan = await _over_nats(platform, service, url, file)
            _row(name, scan.seconds, None, scan.peak_mib, scan.said)
    with file.open("r+b") as out:
        out.write(bytes(68))
    partial = environment | {"ANTIVIRUS_MAX_SCAN_SIZE": str(_PARTIAL_BYTES), "ANTIVIRUS_MAX_SCAN_SIZE_MODE": "partial"}
    with _service(folder, partial) as service:
        scan = await _over_nats(platform, service, f"{storage_url}/file", file)
        _row("penstock, remote, in part", scan.seconds, None, scan.peak_mib, scan.said)


def _head(size: str) -> None:
    print(f"\n{size:26} {'s':>7} {'ratio':>6} {'peak, MiB':>10}  said")


def _row(name: str, seconds: float, ratio: float | None, peak_mib: float | None, said: str) -> None:
    shown = "" if ratio is None else f"{ratio:.2f}"
    peak = "" if peak_mib is None else f"{peak_mib:.1f}"
    print(f"{name:26} {seconds:7.1f} {shown:>6} {peak:>10}  {said}", flush=True)


async def _clamdscan(clamd: Clamd, file: Path, way: str) -> Scan:
    command = ["clamdscan", "--config-file", str(clamd.folder / "clamd.conf"), way, "--no-summary", str(file)]
    begin = time.perf_counter()
    result = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    return Scan(seconds, (result.stdout or result.stderr).strip().removeprefix(f"{file}: "))


async def _command(file: Path, environment: dict[str, str]) -> Scan:
    """Run the command, whose own start and self-test do not count."""
    command = [sys.executable, "-m", "penstock", "antivirus", "scan", "--json", str(file)]
    chosen = os.environ | environment | {"PENSTOCK_ANTIVIRUS_SCANNER": "clamav"}
    result = await asyncio.to_thread(subprocess.run, command, capture_output=True, env=chosen, check=False)
    if not result.stdout:
        raise RuntimeError(result.stderr.decode())
    report = json.loads(result.stdout)[0]
    return Scan(report["seconds"], f"{report['verdict']}: {report['bytes_scanned']} bytes {report['detail']}")


async def _over_nats(platform: Platform, service: SingleService, url: str, file: Path) -> Scan:
    upload, size_bytes = str(uuid.uuid4()), os.stat(file).st_size
    idle = _forget_peak(service.process.pid)
    begin = time.perf_counter()
    await platform.say(start(url, size_bytes, upload))
    answer = await platform.answer_to(upload, timeout_seconds=_LIMIT_SECONDS)
    seconds = time.perf_counter() - begin
    result = answer["Result"] or {}
    scan = result.get("Scan") or {}
    said = f"{answer['Outcome']}, {scan.get('End')}: {scan.get('BytesScanned')} bytes {result['ErrorMsg']}"
    return Scan(seconds, said, _status(service.process.pid, "VmHWM") - idle)


def _forget_peak(pid: int) -> float:
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins at what it is now
    return _status(pid, "VmRSS")


def _status(pid: int, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the kernel does not tell {name}")
    return int(found[1]) / 1024


@contextmanager
def _service(folder: Path, environment: dict[str, str]) -> Iterator[SingleService]:
    service = SingleService(folder / "service", "antivirus", "server", **environment)
    try:
        service.ready(_LIMIT_SECONDS)  # clamd is shown 2 GiB to prove that it looks at them
        yield service
    finally:
        service.process.terminate()
        service.stop()


@contextmanager
def _storage(folder: Path) -> Iterator[str]:
    """Serve the files of a folder, as cheap as it gets."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with (folder / self.path[1:]).open("rb") as file:
                size_bytes = os.fstat(file.fileno()).st_size
                first, last = 0, size_bytes - 1
                if wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                    first, last = int(wanted[1]), int(wanted[2])
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {first}-{last}/{size_bytes}")
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(last + 1 - first))
                self.end_headers()
                self.connection.sendfile(file, first, last + 1 - first)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    main()
