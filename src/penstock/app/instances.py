"""What several instances of `penstock serve` need beside what one needs: a database, a bus, and one place for bytes."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from sqlalchemy import Connection, insert, select

from ..db import Database
from ..db.tables import installation
from ..db.tables import secrets as secrets_table
from ..delivery.sending.tokens import KEY_BYTES
from ..errors import ConfigurationError, PenstockError
from ..uploads.locking.fencing import BlobFences
from ..uploads.locking.leases import Leases
from ..uploads.locking.shared_locks import SharedLocks
from .loops import running
from .opening import UNSEEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..blobs.sharing import SupportsFences, SupportsIdentity
    from ..clock import Clock
    from ..settings import Settings
    from ..uploads.catalogue.catalogue import Catalogue
    from ..uploads.gateway.gateway import Gateway

log = structlog.get_logger(__name__)

EMPTY_AFTER: Final = timedelta(minutes=5)
"""How long an empty staged file may wait for its entry: another instance may just be about to make it."""
FEED_POLL: Final = timedelta(seconds=0.3)
"""How often to look for what others have written, while somebody follows the feed."""
_IN_OBJECTS: Final = "objects:"
"""What the name of an installation begins with in the database that stages in an object store."""
_DELIVERY: Final = "delivery"


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

    async def present(*, make: bool) -> str:
        return await asyncio.to_thread(_identity, path, make=make)

    installed = await _other_than(present, database, prefix="")
    if installed is not None:
        raise ConfigurationError(
            f"data_dir={folder}: this is not the folder that belongs to the database {database}. All instances need "
            f"the same one, such as a volume in the network. If it was put back from a backup, write {installed} to "
            f"{path}."
        )


async def check_same_place(database: Database, staging: SupportsIdentity) -> None:
    """Make sure that this place for bytes on their way in is the one that the database knows the uploads of.

    Raises:
        ConfigurationError: it is another one.
        BlobUnavailable: it does not answer.
    """
    installed = await _other_than(staging.identity, database, prefix=_IN_OBJECTS)
    if installed is not None:
        raise ConfigurationError(
            f"staging=objects: this is not the bucket and prefix that belong to the database {database}. All instances "
            f"need the same ones. If it was put back from a backup, write {installed} to the object "
            "`staging/installation` below storage_prefix."
        )


class _Identity(Protocol):
    async def __call__(self, *, make: bool) -> str: ...


async def _other_than(identity: _Identity, database: Database, *, prefix: str) -> str | None:
    """Return what a place should be according to the database, or None: it is that. The first one is remembered."""
    kept_in = select(installation.c.id).where(
        installation.c.id.startswith(prefix) if prefix else ~installation.c.id.contains(":")
    )
    known = await database.read(lambda connection: connection.execute(kept_in).scalar())
    present = await identity(make=known is None)

    def settled(connection: Connection) -> str:
        found: str | None = connection.execute(kept_in).scalar()
        if found is None:
            connection.execute(insert(installation), {"id": prefix + present})
        return present if found is None else found.removeprefix(prefix)

    installed = await database.write(settled)
    return None if present == installed else installed


async def delivery_key(database: Database) -> bytes:
    """Return the secret that all instances sign addresses with, where they share no folder; it is made once."""

    def made(connection: Connection) -> bytes:
        kept = select(secrets_table.c.secret).where(secrets_table.c.name == _DELIVERY)
        found: bytes | None = connection.execute(kept).scalar()
        if found is None:
            found = secrets.token_bytes(KEY_BYTES)
            connection.execute(insert(secrets_table), {"name": _DELIVERY, "secret": found})
        return bytes(found)

    return await database.write(made)


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
async def open_leases(settings: Settings, lookups: Database) -> AsyncIterator[Leases]:
    """Connect to the leases of all instances; `lookups` is the same database, and is only asked."""
    async with (
        Database(settings.database_url, only_writes=True) as database,
        Database(settings.database_url, only_writes=True) as heart,
    ):
        yield Leases(database, machine=machine(), lease=settings.instance_lease, heart=heart, lookups=lookups)


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
