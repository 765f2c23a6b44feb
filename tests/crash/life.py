"""The lives of a server on one data folder, and the client that uploads to it: it knows what it was told, no more.

The first life has trouble and takes in all kinds of files. The next one has none: it shows what became of them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from penstock import Outcome, StepResult, StepUpload, step
from penstock.app.serve import App
from penstock.blobs.base import BlobStore
from penstock.clock import SystemClock
from penstock.core.progress import State
from penstock.errors import PenstockError
from penstock.settings.load import load_settings
from penstock.settings.table import Settings
from penstock.steps.kit import StepDefinition
from penstock.store.base import ProgressStore
from penstock.testing import eventually
from penstock.uploads.catalogue.catalogue import Catalogue
from penstock.uploads.errors import Gone
from penstock.uploads.upload import Phase, ScanMark, Upload

from .files import FILES, PIECE_BYTES, UNWANTED, File
from .points import Death, Deaths

SETTLE_SECONDS = 90.0
SWEEP = timedelta(minutes=1)
"""How often a server tidies up, and compares what is saved with what should be happening."""
LOOK = timedelta(milliseconds=10)
"""How often it looks for timers that are due."""


class Order(msgspec.Struct, frozen=True):
    """What kind of life is to be lived."""

    folder: str
    death: Death | None = None
    """When to die; None: not before the end."""
    is_last: bool = False
    """Whether this life is to bring everything to its end and report, rather than to take files in."""
    settings: dict[str, str] = {}
    """Settings that differ from those of the other tests."""
    only: tuple[str, ...] = tuple(FILES)
    """Which files there are."""


class Fate(msgspec.Struct, frozen=True):
    """What became of a file."""

    upload_ids: list[str]
    phase: str
    reason: str
    scan: ScanMark | None
    readable: bool
    sha256: str
    story: list[str]
    """What a client is told who follows the upload from its beginning."""


class Report(msgspec.Struct, frozen=True):
    """How things stand after the last life."""

    found: dict[str, int]
    """Where unfinished uploads stood at its beginning, before the client did anything."""
    prefixes: dict[str, bool]
    """Whether the bytes of those were the beginning of the file."""
    fates: dict[str, Fate]
    records: dict[str, str]
    """The files that the coordinator still has a record of, with their states."""
    staged: list[str]


class Told:
    """What the client was told, and who looked at which file. Survives kill -9."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "told"
        self._lines = [line.split() for line in self._path.read_text().splitlines()] if self._path.exists() else []

    def note(self, name: str, what: str, value: object = "-") -> None:
        """Write down one thing."""
        with self._path.open("a") as file:
            file.write(f"{name} {what} {value}\n")
        self._lines.append([name, what, str(value)])

    def last(self, name: str, what: str) -> str | None:
        """Return the last value of it, or None."""
        return next((value for one, kind, value in reversed(self._lines) if (one, kind) == (name, what)), None)


class ImpatientClock(SystemClock):
    """The computer's clock, but for the pauses between two sweeps, which the test ends, and between looks at timers."""

    def __init__(self) -> None:
        self.hurry = asyncio.Event()

    async def sleep(self, duration: timedelta) -> None:
        if duration == SWEEP:
            await self.hurry.wait()
        await super().sleep(min(duration, LOOK))


class Life:
    """A server, and a client beside it."""

    def __init__(self, order: Order) -> None:
        self.folder = Path(order.folder)
        self.files = {name: FILES[name] for name in order.only}
        self.told = Told(self.folder)
        self.clock = ImpatientClock()
        self.faults = Deaths(order.death)
        self.parts: dict[str, Any] = {}
        self.app = App(_settings(self.folder, order.settings), [self._trouble()], clock=self.clock, wrap=self._wrap)

    def _wrap(self, port: str, part: Any) -> Any:
        self.parts[port] = part  # who only watches meets no trouble, and makes none
        return self.faults.wrap(port, part)

    def _trouble(self) -> StepDefinition:
        """A step that looks at the bytes; it fails once for one of the files, and does not want another one."""

        @step("trouble", workers=4)
        def trouble(upload: StepUpload) -> StepResult:
            self.told.note(upload.filename, "seen")
            with upload.open() as file:
                read = sum(len(piece) for piece in iter(lambda: file.read(PIECE_BYTES), b""))
            if read != upload.size_bytes:
                raise AssertionError(f"saw {read} of {upload.size_bytes} bytes")
            mark = self.folder / f"tried-{upload.id}"
            if upload.filename == "retried" and not mark.exists():
                mark.touch()
                return StepResult(Outcome.RETRY)
            if upload.filename == "unwanted":
                return StepResult(Outcome.ABORT, message=UNWANTED)
            return StepResult(Outcome.CONTINUE)

        return trouble

    @property
    def catalogue(self) -> Catalogue:
        catalogue: Catalogue = self.parts["catalogue"]
        return catalogue

    @property
    def blobs(self) -> BlobStore:
        blobs: BlobStore = self.parts["blobs"]
        return blobs

    @property
    def store(self) -> ProgressStore:
        store: ProgressStore = self.parts["store"]
        return store

    # --- the client ---------------------------------------------------------------------------------------------------

    async def send(self, file: File, *, to: int | None = None) -> None:
        """Send what is missing of a file, or what is missing up to byte `to`."""
        receiver = self.app.services.receiver
        upload_id = await self._begun(file)
        try:
            standing = await receiver.status(upload_id)
        except Gone:
            return
        if not standing.complete:
            end = len(file.content) if to is None else to
            length = end - standing.offset if file.announced or to is not None else None
            body = _pieces(file.content[standing.offset : end])
            standing = await receiver.receive(
                upload_id, standing.offset, body, length=length, ends_upload=not file.announced and to is None
            )
        self.told.note(file.name, "offset", standing.offset)
        if standing.complete:
            self.told.note(file.name, "complete")

    async def hang(self, file: File) -> None:
        """Send some more bytes, but never the last one."""
        upload_id = self.told.last(file.name, "id")
        assert upload_id is not None
        body = _pieces(file.content[file.half : -1], then=asyncio.Event())
        await self.app.services.receiver.receive(upload_id, file.half, body, length=len(file.content) - file.half)

    async def withdraw(self, file: File) -> None:
        """Have an upload removed, unless the client knows that it is."""
        if self.told.last(file.name, "withdrawn") is None:
            await self.app.services.receiver.terminate(await self._begun(file))
            self.told.note(file.name, "withdrawn")

    async def _begun(self, file: File) -> str:
        """Return the upload of a file: the one that the client knows, one that it finds in the list, or a new one."""
        upload_id = self.told.last(file.name, "id")
        if upload_id is None:
            uploads = await self.uploads(file)
            upload_id = uploads[0].id if uploads else None
        if upload_id is None:
            size_bytes = len(file.content) if file.announced else None
            upload_id = (await self.app.services.receiver.create(file.name, size_bytes=size_bytes)).upload.id
        self.told.note(file.name, "id", upload_id)
        return upload_id

    # --- who watches --------------------------------------------------------------------------------------------------

    async def uploads(self, file: File) -> list[Upload]:
        return (await self.catalogue.list(filename=file.name)).uploads

    async def records(self) -> dict[str, str]:
        return {saved.progress.filename: str(saved.progress.state) async for saved in self.store.all()}

    async def ended(self, *files: File) -> None:
        """Wait until the uploads of files have ended, and nobody works on them any more."""

        async def have_ended() -> bool:
            for file in files:
                for upload in await self.uploads(file):
                    assert upload.phase.ended, (file, upload)
            at_work = {name for name, state in (await self.records()).items() if state != State.FAILED}
            assert not {file.name for file in files} & at_work, at_work
            return True

        await eventually(have_ended, timeout_seconds=SETTLE_SECONDS)

    async def content(self, upload_id: str) -> bytes:
        async with aclosing(self.blobs.read(upload_id)) as pieces:
            return b"".join([piece async for piece in pieces])


async def live(order: Order) -> None:
    """Live a life. What it has to say of itself is in the folder afterwards."""
    life = Life(order)
    if order.is_last:
        report: object = await _last(life)
    else:
        await _first(life)
        report = life.faults.points
    (life.folder / ("report" if order.is_last else "points")).write_bytes(msgspec.json.encode(report))


async def _first(life: Life) -> None:
    async with life.app, asyncio.TaskGroup() as group:
        waiting = life.files["waiting"]
        await life.send(waiting, to=waiting.half)
        hanging = group.create_task(life.hang(waiting))
        for file in life.files.values():
            if file.name == "halves":
                await life.send(file, to=file.half)
            if file is not waiting:
                await life.send(file)
        if "withdrawn" in life.files:
            await life.withdraw(life.files["withdrawn"])
        await life.ended(*(file for file in life.files.values() if file is not waiting))
        hanging.cancel()


async def _last(life: Life) -> Report:
    async with life.app:
        found, prefixes = {}, {}
        for file in life.files.values():
            for upload in await life.uploads(file):
                if upload.phase is Phase.RECEIVING:
                    content = await life.content(upload.id)
                    found[file.name] = len(content)
                    prefixes[file.name] = file.content.startswith(content)
        # What the client was told is complete ends without it.
        await life.ended(*(file for file in life.files.values() if life.told.last(file.name, "complete")))
        for file in life.files.values():
            if file.ends is Phase.CANCELLED and life.told.last(file.name, "id"):
                await life.withdraw(file)
            else:
                await life.send(file)
        if "withdrawn" in life.files:
            await life.withdraw(life.files["withdrawn"])
        await life.ended(*life.files.values())
        life.clock.hurry.set()
        await eventually(lambda: _tidied_up(life), timeout_seconds=SETTLE_SECONDS)
        fates = {file.name: await _fate(life, file) for file in life.files.values()}
        return Report(found, prefixes, fates, await life.records(), await life.blobs.staged())


async def _tidied_up(life: Life) -> bool:
    """Tell whether nothing is staged but what a restart may want."""
    rejected = (await life.catalogue.list(phases=[Phase.REJECTED])).uploads
    return set(await life.blobs.staged()) == {upload.id for upload in rejected}


async def _fate(life: Life, file: File) -> Fate:
    uploads = await life.uploads(file)
    upload = uploads[0]
    try:
        sha256 = hashlib.sha256(await life.content(upload.id)).hexdigest()
    except PenstockError:
        sha256 = ""
    entries = await life.app.services.feed.since(0, upload=upload.id, limit=1000)
    return Fate(
        upload_ids=[one.id for one in uploads],
        phase=upload.phase,
        reason=upload.reason,
        scan=upload.scan,
        readable=bool(sha256),
        sha256=sha256,
        story=[str(entry.kind) for entry in entries],
    )


async def _pieces(content: bytes, *, then: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]
        await asyncio.sleep(0)
    if then is not None:
        await then.wait()


def _settings(folder: Path, others: dict[str, str]) -> Settings:
    chosen = {
        "data_dir": "data",
        "steps": "virusscan,trouble,delay",
        "delay": "20ms",
        "retry_backoff": "20ms",
        "antivirus_workers": "1",
        "gc_interval": "0",  # garbage is looked for when there is time: not at the same point of each life
    }
    return load_settings(overrides=chosen | others, environ={}, folder=folder)


def points(folder: Path) -> Counter[str]:
    """Return how often the first life came by each point, if it was lived to its end."""
    return Counter(msgspec.json.decode((folder / "points").read_bytes(), type=dict[str, int]))


def report(folder: Path) -> Report:
    """Return what the last life had to say."""
    return msgspec.json.decode((folder / "report").read_bytes(), type=Report)
