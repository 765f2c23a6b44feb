"""One large upload: rate, CPU and memory of Penstock and its peers on the same machine.

    make bench ARGS="receive -- [GiB ...]"      (default: 2)

Prints a line per server and size. "bare loop" reads a socket and writes a file, nothing else. A server that keeps the
whole body of a request in memory is sent as much in each as its own client sends.
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
from typing import Final

import psutil
from _load import Target, connect, create, read_answer, send_file
from _servers import SERVERS, cpu_seconds, resident_mib, running

PIECES: Final = {"resumable-upload": 4 * 1024 * 1024}
"""Bytes in each request, for servers that keep that many in memory; the others get all in one."""


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
    piece = PIECES.get(target.name)
    seconds = send_file(target, file) if piece is None else _send_pieces(target, file, piece)
    done.set()
    watcher.join()
    _row(target.name, size_gib, seconds, cpu_seconds(target.pid) - before, peak[0])


def _send_pieces(target: Target, file: Path, piece_bytes: int) -> float:
    """Upload a file in several requests on one connection; return the seconds from the first byte to the answer."""
    size_bytes = file.stat().st_size
    with connect(target) as connection, file.open("rb") as source:
        path = create(connection, target, size_bytes)
        begin = time.perf_counter()
        for offset in range(0, size_bytes, piece_bytes):
            count = min(piece_bytes, size_bytes - offset)
            connection.sendall(
                f"PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nTus-Resumable: 1.0.0\r\n"
                f"Upload-Offset: {offset}\r\nContent-Type: application/offset+octet-stream\r\n"
                f"Content-Length: {count}\r\n\r\n".encode()
            )
            connection.sendfile(source, offset, count)
            status, _ = read_answer(connection)
            if status != 204:
                raise RuntimeError(f"{target.name} answered {status} to the body")
        return time.perf_counter() - begin


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
