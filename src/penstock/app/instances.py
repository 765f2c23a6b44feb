"""What several instances of `penstock serve` need beside what one needs: a database, a folder and a bus for all."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import Connection, insert, select

from ..db import Database
from ..db.tables import installation
from ..errors import ConfigurationError, PenstockError
from ..uploads.fencing import BlobFences
from ..uploads.leases import Leases
from ..uploads.shared_locks import SharedLocks
from .loops import running
from .opening import UNSEEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..blobs.base import SupportsFences
    from ..clock import Clock
    from ..settings import Settings
    from ..uploads.catalogue import Catalogue
    from ..uploads.gateway import Gateway

log = structlog.get_logger(__name__)

EMPTY_AFTER: Final = timedelta(minutes=5)
"""How long an empty staged file may wait for its entry: another instance may just be about to make it."""
FEED_POLL: Final = timedelta(seconds=0.3)
"""How often to look for what others have written, while somebody follows the feed."""


def database_of(settings: Settings) -> Database:
    """Return the database that the settings choose, not opened yet.

    Raises:
        ConfigurationError: it is no URL, or the other settings do not go with several instances.
    """
    if not settings.database_url:
        return Database(f"sqlite:///{settings.data_dir / 'penstock.db'}")
    database = Database(settings.database_url, ordered=True)
    if database.is_shared:
        _check_shared(settings)
    return database


def _check_shared(settings: Settings) -> None:
    where = f"database_url ({settings.origins.get('database_url')}) is one that several instances share"
    if settings.bus != "nats":
        raise ConfigurationError(
            f"bus={settings.bus} ({settings.origins.get('bus')}): {where}, but the embedded bus is for one process. "
            "Set PENSTOCK_BUS=nats and OCIS_EVENTS_ENDPOINT=host:4222, or leave database_url empty for one instance."
        )
    if settings.staging != "local":
        raise ConfigurationError(
            f"staging={settings.staging} ({settings.origins.get('staging')}): {where}, which they can only do with "
            "files on their way in. Set PENSTOCK_STAGING=local; released files may be in an object store."
        )
    if settings.store in UNSEEN:
        raise ConfigurationError(
            f"store={settings.store} ({settings.origins.get('store')}): {where}, but this store is for one process. "
            "Set PENSTOCK_STORE=sqlite, which keeps the progress in the same database."
        )


def machine() -> str:
    """Return what is the same for all processes that see each other's writes to a file at once, and for no others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def check_same_installation(database: Database, folder: Path) -> None:
    """Make sure that this folder is the one that the database knows the files of.

    Raises:
        ConfigurationError: it is another one.
    """
    path = folder / "installation"
    known = await database.read(lambda connection: connection.execute(select(installation.c.id)).scalar())
    present = await asyncio.to_thread(_identity, path, make=known is None)

    def settled(connection: Connection) -> str:
        found: str | None = connection.execute(select(installation.c.id)).scalar()
        if found is None:
            connection.execute(insert(installation), {"id": present})
        return found or present

    installed = await database.write(settled)
    if present != installed:
        raise ConfigurationError(
            f"data_dir={folder}: this is not the folder that belongs to the database {database}. All instances need "
            f"the same one, such as a volume in the network. If it was put back from a backup, write {installed} to "
            f"{path}."
        )


def _identity(path: Path, *, make: bool) -> str:
    """Return what the folder says that it is; it is made once, whoever starts at the same moment."""
    if make and not path.exists():
        draft = path.with_suffix(f".{secrets.token_hex(4)}")
        draft.write_text(secrets.token_hex(16))
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    return path.read_text().strip() if path.exists() else ""


@asynccontextmanager
async def open_leases(settings: Settings) -> AsyncIterator[Leases]:
    """Connect to the leases of all instances."""
    async with Database(settings.database_url) as database:
        yield Leases(database, machine=machine(), lease=settings.instance_lease)


@asynccontextmanager
async def open_locks(
    leases: Leases, catalogue: Catalogue, blobs: SupportsFences, clock: Clock
) -> AsyncIterator[SharedLocks]:
    """Live among the other instances while the context is open."""
    locks = SharedLocks(leases, BlobFences(catalogue, blobs, leases.machine), clock)
    await locks.begin()
    log.info("instance_joins", instance=leases.instance, machine=leases.machine)
    try:
        async with running([locks.keep()]):
            yield locks
    finally:
        await locks.end()


async def finish_what_the_dead_have_left(gateway: Gateway, locks: SharedLocks, clock: Clock, pause: timedelta) -> None:
    """Look for uploads that dead instances were working on, until cancelled."""
    while True:
        try:
            await gateway.inherit(await locks.lapsed())
        except PenstockError as error:
            log.warning("lapsed_leases_not_looked_at", error=str(error))
        await clock.sleep(pause)
