"""The endpoint for pushed files as a worker runs it: a process of its own."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .copies import start, without_settings
from .ports import free_port


class Receiver(NamedTuple):
    """A running one."""

    url: str
    folder: Path
    pid: int

    @property
    def files(self) -> list[Path]:
        """Those that are whole."""
        return sorted(path for path in self.folder.iterdir() if not path.name.startswith("."))


@contextmanager
def running_receiver(folder: Path, secret: str = "") -> Iterator[Receiver]:
    folder.mkdir(exist_ok=True)
    port = free_port()
    log = folder.with_name(f"{folder.name}.log")
    process = start(
        ["step", "receive", str(folder), "--receive-addr", f"127.0.0.1:{port}"],
        log=log,
        environment=without_settings() | {"PENSTOCK_DELIVERY_PUSH_SECRET": secret},
    )
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.02)
        else:
            raise AssertionError(f"the receiver does not listen: {log.read_text()}")
        yield Receiver(f"http://127.0.0.1:{port}/files", folder, process.pid)
    finally:
        process.kill()
        process.wait(60)
