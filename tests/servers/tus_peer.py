"""A worker that speaks as much tus 1.0.0 as a sender needs, and misbehaves as it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .web import QuietHandler, serving


@dataclass
class TusPeer:
    """What it has, and what it is to do."""

    url: str = ""
    uploads: dict[str, bytearray] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    metadata: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Methods and paths."""
    cuts: list[int] = field(default_factory=list)
    """For each of the next PATCHes: after how many bytes of it the connection is closed."""
    location: str = ""
    """What creations are answered with instead of the truth."""

    def methods(self) -> list[str]:
        return [method for method, _ in self.asked]


class _Handler(QuietHandler):
    protocol_version = "HTTP/1.1"

    @property
    def peer(self) -> TusPeer:
        server: Any = self.server
        found: TusPeer = server.peer
        return found

    def answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Tus-Resumable", "1.0.0")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        peer = self.peer
        peer.asked.append(("POST", self.path))
        path = f"/files/{len(peer.uploads) + 1}"
        peer.uploads[path], peer.lengths[path] = bytearray(), int(self.headers["Upload-Length"])
        peer.metadata.append(self.headers["Upload-Metadata"])
        self.answer(201, Location=peer.location or path)

    def do_HEAD(self) -> None:
        peer = self.peer
        peer.asked.append(("HEAD", self.path))
        if self.path not in peer.uploads:
            self.answer(404)
            return
        at = len(peer.uploads[self.path])
        self.answer(200, Upload_Offset=str(at), Upload_Length=str(peer.lengths[self.path]))

    def do_GET(self) -> None:
        """Give a file, as tus servers may."""
        found = self.peer.uploads.get(self.path)
        if found is None:
            self.answer(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    def do_PATCH(self) -> None:
        peer = self.peer
        peer.asked.append(("PATCH", self.path))
        there, left = peer.uploads.get(self.path), int(self.headers["Content-Length"])
        if there is None or int(self.headers["Upload-Offset"]) != len(there):
            self.close_connection = True
            self.answer(404 if there is None else 409)
            return
        cut = peer.cuts.pop(0) if peer.cuts else left
        left = min(left, cut) if cut < left else left
        while left and (piece := self.rfile.read(min(left, 65536))):
            there += piece
            left -= len(piece)
        if len(there) < peer.lengths[self.path]:
            self.close_connection = True
            return
        self.answer(204, Upload_Offset=str(len(there)))


@contextmanager
def running_tus_peer() -> Iterator[TusPeer]:
    with serving(_Handler) as server:
        running: Any = server
        peer = running.peer = TusPeer(f"{server.url}/files/")
        yield peer
