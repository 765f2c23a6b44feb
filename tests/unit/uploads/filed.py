"""Uploads that become files: the real parts over a folder, and uploads that end when a test says so."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from penstock.errors import NotFound
from penstock.telemetry import Metrics
from penstock.uploads.files.files import Files
from penstock.uploads.files.removal import Removal
from penstock.uploads.places import Place
from penstock.uploads.receiving.receiver import Receiver
from penstock.uploads.upload import Phase, Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from penstock.db import Database
    from penstock.uploads.protocols.proviso import Proviso
    from penstock.uploads.quotas.quota import Ledger

    from .whole_life import Process

HERE = Place("default", "a.txt")


class World:
    """Uploads that are released when a test says so."""

    def __init__(self, alive: Process, database: Database, ledger: Ledger, *, kept: int | None = None) -> None:
        self.alive = alive
        self.receiver = Receiver(
            catalogue=alive.catalogue,
            gateway=alive.gateway,
            blobs=alive.blobs,
            clock=alive.clock,
            metrics=Metrics(),
            expiration=timedelta(days=1),
        )
        self.removal = Removal(
            database=database,
            catalogue=alive.catalogue,
            receiver=self.receiver,
            clock=alive.clock,
            kept_versions=kept,
        )
        self.files = Files(
            database=database, receiver=self.receiver, blobs=alive.blobs, ledger=ledger, removal=self.removal
        )

    async def create(
        self,
        path: str = "a.txt",
        space: str = "default",
        body: bytes = b"content",
        metadata: str = "",
        proviso: Proviso | None = None,
    ) -> str:
        """Upload something, up to the beginning of its processing."""
        upload_id = await self.begin(path, space, body, metadata, proviso)
        await self.fill(upload_id, body)
        return upload_id

    async def begin(
        self,
        path: str = "a.txt",
        space: str = "default",
        body: bytes = b"content",
        metadata: str = "",
        proviso: Proviso | None = None,
    ) -> str:
        """Begin to upload something."""
        standing = await self.receiver.create(
            None, path=path, space=space, size_bytes=len(body), metadata=metadata, proviso=proviso
        )
        return standing.upload.id

    async def fill(self, upload_id: str, body: bytes = b"content") -> None:
        """Send all of it."""
        await self.receiver.receive(upload_id, 0, pieces(body), length=len(body))

    async def end(self, upload_id: str, outcome: str = "continue") -> None:
        """Have one upload processed, and the others wait."""
        bus = self.alive.outside.bus
        self.alive.outside.answer = outcome
        others = [one for one in bus.waiting if one.event.upload_id != upload_id]
        bus.waiting[:] = [one for one in bus.waiting if one.event.upload_id == upload_id]
        await self.alive.settle()
        bus.waiting.extend(others)

    async def put(
        self, path: str = "a.txt", space: str = "default", body: bytes = b"content", metadata: str = ""
    ) -> str:
        upload_id = await self.create(path, space, body, metadata)
        await self.end(upload_id)
        return upload_id

    async def versions(self, place: Place = HERE) -> list[str]:
        try:
            return [upload.id for upload in (await self.files.versions(place)).versions]
        except NotFound:
            return []

    async def names(self, prefix: str = "", delimiter: str = "", limit: int = 2) -> list[str]:
        """List everything, in pages."""
        names: list[str] = []
        cursor = None
        while True:
            page = await self.files.list("default", prefix=prefix, delimiter=delimiter, limit=limit, cursor=cursor)
            assert len(page.files) + len(page.folders) <= limit
            names += sorted([*page.folders, *(file.file_path for file in page.files)])
            cursor = page.next
            if cursor is None:
                return names


async def pieces(*bodies: bytes) -> AsyncIterator[bytes]:
    for body in bodies:
        yield body


async def phase(world: World, upload_id: str) -> Phase:
    upload = await world.alive.catalogue.get(upload_id)
    assert isinstance(upload, Upload)
    return upload.phase
