"""One large upload: rate, CPU and memory of Penstock and its peers on the same machine.

    make bench ARGS="receive -- [GiB ...]"      (default: 2)

Prints a line per server and size. "bare loop" reads a socket and writes a file, nothing else.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from _load import Target, send_file
from _servers import SERVERS, cpu_seconds, resident_mib, running


def main() -> None:
    """Measure each size with each server."""
    sizes = [float(one) for one in sys.argv[1:]] or [2.0]
    print(f"{'server':14} {'GiB':>5} {'MiB/s':>8} {'CPU s':>7} {'CPU s/GiB':>10} {'peak RSS MiB':>13}")
    for size_gib in sizes:
        with tempfile.NamedTemporaryFile(dir="/dev/shm") as source:
            block = os.urandom(1 << 20)
            for _ in range(int(size_gib * 1024)):
                source.write(block)
            source.flush()
            _bare_loop(Path(source.name), size_gib)
            for name in SERVERS:
                with running(name) as target:
                    _measure(target, Path(source.name), size_gib)


def _measure(target: Target, file: Path, size_gib: float) -> None:
    before, done, peak = cpu_seconds(target.pid), threading.Event(), [0.0]

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], resident_mib(target.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    seconds = send_file(target, file)
    done.set()
    watcher.join()
    _row(target.name, size_gib, seconds, cpu_seconds(target.pid) - before, peak[0])


def _row(name: str, size_gib: float, seconds: float, cpu: float, peak_mib: float) -> None:
    rate = size_gib * 1024 / seconds
    print(f"{name:14} {size_gib:5.1f} {rate:8.0f} {cpu:7.2f} {cpu / size_gib:10.2f} {peak_mib:13.0f}", flush=True)


def _bare_loop(file: Path, size_gib: float) -> None:
    """Measure the least that receiving can cost."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        process = multiprocessing.get_context("fork").Process(target=_loop, args=(listener,))
        process.start()
        with socket.create_connection(listener.getsockname()) as connection, file.open("rb") as source:
            begin = time.perf_counter()
            connection.sendfile(source)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
            seconds = time.perf_counter() - begin
            times = psutil.Process(process.pid).cpu_times()
            _row("bare loop", size_gib, seconds, times.user + times.system, resident_mib(process.pid or 0))
        process.join()


def _loop(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    buffer = bytearray(1 << 18)
    with connection, tempfile.TemporaryFile(dir="/dev/shm") as out:
        while received := connection.recv_into(buffer):
            out.write(memoryview(buffer)[:received])
        connection.sendall(b"x")
        connection.recv(1)


if __name__ == "__main__":
    main()
