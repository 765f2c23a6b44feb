"""Processes that are there at once: copies of one that has imported everything, each for one life of the server.

Run as a program, this is that one process: a line of JSON on its standard input begins a life, a line on its standard
output tells how it ended.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import msgspec
import uvloop

from penstock import backends
from penstock.db import Database
from penstock.logs import configure

from .life import Order, live
from .scanner import InstantScanner

LONGEST_SECONDS = 200
ROOT = Path(__file__).parents[2]


class Forks:
    """Begins lives, one after the other."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def live(self, order: Order) -> int:
        """Live a life to its end; return the exit status: 0, or the negative number of the signal that ended it."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise RuntimeError("the process that is copied was not started")
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, f"the process that is copied has ended with status {process.wait(timeout=60)}"
        return int(answer)

    def __enter__(self) -> Self:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "OC"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=inherited,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate(timeout=LONGEST_SECONDS + 10)


def main() -> None:
    backends.TABLE["scanner"]["yara"] = backends.Backend(f"{InstantScanner.__module__}:{InstantScanner.__name__}")
    for kind, name in [("blobs", "local"), ("store", "sqlite"), ("bus", "local")]:
        backends.load(kind, name)
    for kind, name in [("delivery", "path"), ("step", "virusscan")]:
        backends.load(kind, name)
    with tempfile.TemporaryDirectory(prefix="penstock-") as name:
        template = Path(name) / "penstock.db"
        _in_a_copy(partial(_make_tables, template), Path(name))
        # What a copy would not have are the other threads.
        assert threading.active_count() == 1
        gc.collect()
        gc.freeze()  # what is never looked at again is shared by all copies
        for line in sys.stdin.buffer:
            order = msgspec.json.decode(line, type=Order)
            _provide_tables(template, Path(order.folder) / "data")
            status = _in_a_copy(partial(_live, order), Path(order.folder))
            print(status, flush=True)  # noqa: T201  this is the answer


def _make_tables(path: Path) -> None:
    async def open_once() -> None:
        async with Database(f"sqlite:///{path}"):
            pass

    asyncio.run(open_once())


def _provide_tables(template: Path, folder: Path) -> None:
    """Save the first life the time that it takes to make them."""
    if not folder.exists():
        folder.mkdir()
        shutil.copy(template, folder)


def _live(order: Order) -> None:
    configure("info", "json")
    uvloop.run(live(order))


def _in_a_copy(work: Callable[[], None], folder: Path) -> int:
    """Have a copy of this process work; return its exit status, as `Forks.live` does. It logs into the folder."""
    pid = os.fork()
    if pid == 0:
        _end_with(work, folder)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _end_with(work: Callable[[], None], folder: Path) -> NoReturn:
    signal.alarm(LONGEST_SECONDS)  # whoever hangs is ended by it
    with (folder / "log").open("ab") as log:
        for standard in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), standard.fileno())
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001  a copy must not go on as the process that it was copied from
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
