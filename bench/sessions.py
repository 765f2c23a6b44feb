"""Creation, HEAD, lists and pages beside 100,000 finished uploads and 10,000 open ones, and beside hardly any.

    make bench ARGS="sessions -- [FINISHED [OPEN [ROUNDS]]]"       (default: 100000, 10000, 300)

Two servers run, one with so many and one with two pages of each; they are asked in turns, so that both have the same
luck with whatever else runs. Their catalogues are filled through its own functions before they start. Ends with an
error when an answer is not what it should be.
"""

from __future__ import annotations

import asyncio
import http.client
import secrets
import statistics
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from _servers import resident_mib, running

from penstock.blobs.local import LocalBlobs
from penstock.clock import SystemClock
from penstock.db import Database
from penstock.uploads.catalogue.catalogue import Catalogue
from penstock.uploads.catalogue.feed import Feed
from penstock.uploads.upload import Phase, Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from _load import Target

_AT_ONCE: Final = 512
_SIZE_BYTES: Final = 10_240
_TUS: Final = {"Tus-Resumable": "1.0.0"}
_BODY: Final = {**_TUS, "Content-Type": "application/offset+octet-stream"}
_FOLDERS: Final = 100
_FEW: Final = 200
"""Enough that the pages of lists are full."""


class Uploads(NamedTuple):
    """What is in a server from the start."""

    finished: list[str]
    open: list[str]

    @classmethod
    def made(cls, finished: int, unfinished: int) -> Self:
        """Return IDs for so many."""
        return cls(*([secrets.token_hex(16) for _ in range(count)] for count in (finished, unfinished)))


def main() -> None:
    """Fill one server, leave another empty, and ask both."""
    given = [int(one) for one in sys.argv[1:]]
    finished, unfinished, rounds = [*given, *(100_000, 10_000, 300)[len(given) :]]
    few, many = Uploads.made(_FEW, _FEW), Uploads.made(finished, unfinished)

    def fill(some: Uploads) -> Callable[[Path], None]:
        return lambda folder: asyncio.run(_fill(folder, some))

    with ExitStack() as stack:
        begin = time.perf_counter()
        asked = [Asked(stack.enter_context(running("penstock", fill=fill(some))), some) for some in (few, many)]
        print(f"filled and started in {time.perf_counter() - begin:.0f} s", flush=True)
        for one in asked:
            one.ask_all()  # the first answers read what is on disk into memory
            one.seconds.clear()
        for _ in range(rounds):
            for one in asked:
                one.ask_all()
        _print(asked, finished, unfinished)


async def _fill(folder: Path, uploads: Uploads) -> None:
    clock = SystemClock()
    async with (
        Database(f"sqlite:///{folder / 'penstock.db'}") as database,
        LocalBlobs(folder / "blobs") as blobs,
        Feed(database, clock) as feed,
    ):
        catalogue = Catalogue(database, feed, clock)
        now, some = clock.now(), asyncio.Semaphore(_AT_ONCE)

        async def enter(number: int, upload_id: str, phase: Phase) -> None:
            async with some:
                if phase is Phase.RECEIVING:
                    await blobs.create(upload_id)
                await catalogue.add(_upload(number, upload_id, phase, now))

        for phase, ids in ((Phase.RELEASED, uploads.finished), (Phase.RECEIVING, uploads.open)):
            for begin in range(0, len(ids), _AT_ONCE):
                part = ids[begin : begin + _AT_ONCE]
                await asyncio.gather(*(enter(begin + index, one, phase) for index, one in enumerate(part)))


def _upload(number: int, upload_id: str, phase: Phase, now: datetime) -> Upload:
    created_at = now - timedelta(hours=2) + timedelta(milliseconds=number)
    done = phase is Phase.RELEASED
    name = f"file-{number:06}.bin"
    return Upload(
        id=upload_id,
        filename=name,
        path=f"folder-{number % _FOLDERS:02}/{name}",
        size_bytes=_SIZE_BYTES,
        metadata="filename YmVuY2guYmlu",
        phase=phase,
        run=1 if done else 0,
        outcome="continue" if done else "",
        created_at=created_at,
        expires_at=None if done else now + timedelta(hours=24),
        received_at=created_at if done else None,
        ended_at=created_at if done else None,
    )


class Asked:
    """One server, and how long its answers took."""

    def __init__(self, target: Target, uploads: Uploads) -> None:
        self.target = target
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._uploads = uploads
        self._connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60)
        self._middle = str(max(2, (len(uploads.finished) + len(uploads.open)) // 2))

    def ask_all(self) -> None:
        """Ask everything once."""
        path = "/uploads/" + self._create().headers["Location"].rpartition("/")[2]
        first, rest = bytes(_SIZE_BYTES // 2), bytes(_SIZE_BYTES - _SIZE_BYTES // 2)
        self._ask("PATCH, not the last", "PATCH", path, 204, {**_BODY, "Upload-Offset": "0"}, first)
        self._ask("HEAD, just continued", "HEAD", path, 200, _TUS)
        self._ask("PATCH, the last", "PATCH", path, 204, {**_BODY, "Upload-Offset": str(len(first))}, rest)
        self._ask("HEAD, open", "HEAD", f"/uploads/{secrets.choice(self._uploads.open)}", 200, _TUS)
        self._ask("HEAD, finished", "HEAD", f"/uploads/{secrets.choice(self._uploads.finished)}", 200, _TUS)
        self._ask("PATCH, unknown", "PATCH", f"/uploads/{secrets.token_hex(16)}", 404, {**_BODY, "Upload-Offset": "0"})
        path = "/uploads/" + self._create().headers["Location"].rpartition("/")[2]
        self._ask("DELETE", "DELETE", path, 204, _TUS)
        self._ask("PATCH, removed", "PATCH", path, 410, {**_BODY, "Upload-Offset": "0"})
        one = secrets.choice(self._uploads.finished)
        self._ask("one upload", "GET", f"/api/v1/uploads/{one}", 200)
        for name, query in {
            "list, newest 100": "limit=100",
            "list, from the middle on": f"limit=100&cursor={self._middle}",
            "list, sessions": "sessions=true&limit=100",
            "list, unfinished": "unfinished=true&limit=100",
            "list, rejected": "phase=rejected&limit=100",
            "list, infected": "has_virus=true&limit=100",
        }.items():
            self._ask(name, "GET", f"/api/v1/uploads?{query}", 200)
        self._ask("folder", "GET", "/api/v1/paths?prefix=folder-07/&delimiter=/&limit=2", 200)
        self._ask("folders of a space", "GET", "/api/v1/paths?delimiter=/&limit=100", 200)
        self._ask("page", "GET", "/", 200)
        self._ask("page: usage", "GET", "/api/v1/usage/mine", 200)
        self._ask("metrics", "GET", "/metrics", 200)

    def _create(self) -> Answered:
        length = {"Upload-Length": str(_SIZE_BYTES), "Upload-Metadata": "filename YmVuY2guYmlu"}
        return self._ask("creation", "POST", "/uploads/", 201, {**_TUS, **length})

    def _ask(
        self, name: str, method: str, path: str, status: int, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Answered:
        begin = time.perf_counter()
        self._connection.request(method, path, body, headers or {})
        answer = self._connection.getresponse()
        content = answer.read()
        self.seconds[name].append(time.perf_counter() - begin)
        if answer.status != status:
            raise RuntimeError(f"{method} {path}: {answer.status} instead of {status}: {content[:300]!r}")
        return Answered(answer.headers, content)


class Answered(NamedTuple):
    """What a server said."""

    headers: Mapping[str, str]
    body: bytes


def _print(asked: list[Asked], finished: int, unfinished: int) -> None:
    title, few = f"{finished} finished, {unfinished} open", f"{_FEW} and {_FEW}, ms"
    print(f"{'':26} {few:>20} {title:>42} {'':>6}")
    print(f"{'':26} {'median':>10} {'99 %':>9} {'median':>32} {'99 %':>9} {'ratio':>6}")
    for name in asked[0].seconds:
        (one, one_late), (other, other_late) = (_of(which.seconds[name]) for which in asked)
        print(f"{name:26} {one:10.2f} {one_late:9.2f} {other:32.2f} {other_late:9.2f} {other / one:6.2f}")
    memory = [resident_mib(one.target.pid) for one in asked]
    print(f"{'RSS, MiB':26} {memory[0]:10.0f} {'':9} {memory[1]:32.0f}")


def _of(seconds: list[float]) -> tuple[float, float]:
    """Return median and 99th percentile, in milliseconds."""
    ordered = sorted(seconds)
    return statistics.median(ordered) * 1000, ordered[len(ordered) * 99 // 100] * 1000


if __name__ == "__main__":
    main()
