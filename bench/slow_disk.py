"""How quickly `/healthz` answers while files come in, with a disk on which each write and each flush takes 100 ms.

    make bench ARGS="slow_disk -- [SECONDS [MS [UPLOADERS]]]"       (default: 10 s, 100 ms, 8)

The slow disk is memory behind a library that is loaded before libc (`peers/slow_disk.c`; it takes a C compiler), so it
is as slow for SQLite as it is for us. So many clients send files of 4 MiB by tus, one after the other, while another
one asks `/healthz` again and again; `idle` is without them. Then the same with a disk that is not slowed down. Ends
with status 1 when one of a hundred answers takes longer than 200 ms while the disk is slow, or no file has arrived.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from _load import send_file
from _servers import resident_mib, running

from penstock.db import Database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _load import Target

LIMIT_MS: Final = 200.0
_SIZE_BYTES: Final = 4 * 2**20
_PAUSE_SECONDS: Final = 0.01
"""Between two questions."""
_SHIM: Final = Path(__file__).parent / "peers" / "slow_disk.c"


class Answers(NamedTuple):
    """How long the answers took that came."""

    milliseconds: list[float]

    def at(self, percent: int) -> float:
        """Return what so many of a hundred did not exceed."""
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]

    def __str__(self) -> str:
        return f"{len(self.milliseconds):8} {self.at(50):8.2f} {self.at(99):8.2f} {self.at(100):8.2f}"


class Uploaders:
    """Clients that send one file after the other."""

    def __init__(self, target: Target, file: Path, count: int) -> None:
        self._target = target
        self._file = file
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send) for _ in range(count)]
        self.sent = 0
        self.failure: Exception | None = None

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send while the context is open, and to the end of what was begun."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in self._threads:
                thread.join()

    def _send(self) -> None:
        try:
            while not self._end.is_set():
                send_file(self._target, self._file)
                with self._lock:
                    self.sent += 1
        except Exception as error:  # noqa: BLE001  whatever it is, the measurement has failed
            self.failure = error


def main() -> int:
    """Measure with a slow disk and with a fast one; return 1 when the slow one is felt."""
    given = [int(one) for one in sys.argv[1:]]
    seconds, slow_ms, uploaders = [*given, *(10, 100, 8)[len(given) :]]
    print("ms a write           answers  p50, ms  p99, ms  longest  files RSS, MiB", flush=True)
    with tempfile.TemporaryDirectory() as made:
        shim, file = Path(made) / "slow_disk.so", Path(made) / "file"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", shim, _SHIM, "-ldl"], check=True)
        file.write_bytes(os.urandom(_SIZE_BYTES))
        late = _measure(shim, file, slow_ms, seconds, uploaders)
        _measure(shim, file, 0, seconds, uploaders)
    return int(late > LIMIT_MS)


def _measure(shim: Path, file: Path, slow_ms: int, seconds: int, uploaders: int) -> float:
    """Print a server's figures; return what 99 of a hundred answers did not exceed while files came in."""
    os.environ.update(LD_PRELOAD=str(shim), SLOW_DISK_MS=str(slow_ms))
    try:
        with running("penstock", fill=lambda folder: asyncio.run(_begin(folder))) as target:
            print(f"{slow_ms:10} {'idle':8} {_asked(target, seconds)}", flush=True)
            clients = Uploaders(target, file, uploaders)
            with clients.sending():
                answers = _asked(target, seconds)
            print(f"{slow_ms:10} {'uploads':8} {answers} {clients.sent:6} {resident_mib(target.pid):8.0f}", flush=True)
    finally:
        del os.environ["LD_PRELOAD"], os.environ["SLOW_DISK_MS"]
    if clients.failure is not None:
        raise clients.failure
    if not clients.sent:
        raise RuntimeError("no file has arrived")
    return answers.at(99)


async def _begin(folder: Path) -> None:
    """Have the tables there: to make them takes many writes, and is not what is measured."""
    async with Database(f"sqlite:///{folder / 'penstock.db'}"):
        pass


def _asked(target: Target, seconds: int) -> Answers:
    took = []
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        answer.read()
        took.append((time.perf_counter() - begin) * 1000)
        if answer.status != 200:
            raise RuntimeError(f"/healthz answered {answer.status}")
        time.sleep(_PAUSE_SECONDS)
    connection.close()
    return Answers(took)


if __name__ == "__main__":
    sys.exit(main())
