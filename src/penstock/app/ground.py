"""What the rest of `penstock serve` stands on, opened in order: the folder, the database, bytes, store and bus."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..blobs.base import BlobStore
from ..bus.base import Bus
from ..db import Database
from ..store.base import ProgressStore
from ..tracing import Tracing
from ..uploads.locking.leases import Leases
from .folder import locked_folder
from .instances import check_same_installation, check_same_place, database_of, delivery_key, open_leases
from .opening import bus_of, store_of
from .reserve import Reserve
from .storage import Storage, storage_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager, AsyncExitStack

    from ..clock import Clock
    from ..core.policy import Policy
    from ..settings import Settings

Wrap: TypeAlias = "Callable[[str, Any], Any]"
"""Takes a port's name and the part behind it, returns what is used in its place; tests put faults in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is open from the beginning to the end."""

    reserve: Reserve
    tracing: Tracing
    database: Database
    leases: Leases | None
    """None: this is the only instance."""
    folder: Path
    """For bytes on their way in."""
    storage: Storage
    blobs: BlobStore
    """The store of `storage`, open."""
    key: bytes | None
    """What addresses for steps are signed with; None: what the data folder has."""
    store: ProgressStore
    bus: Bus


async def open_ground(
    stack: AsyncExitStack,
    settings: Settings,
    policy: Policy,
    clock: Clock,
    wrap: Wrap,
    *,
    tracing: AbstractAsyncContextManager[Tracing],
) -> Ground:
    """Open it, on a stack that closes it.

    Raises:
        ConfigurationError: a setting is wrong, or a folder or server that it names cannot be used.
    """
    database = database_of(settings)
    stack.enter_context(locked_folder(settings.data_dir, shared=database.is_shared))
    reserve = Reserve(settings.data_dir)
    await asyncio.to_thread(reserve.give_way)
    spans = await stack.enter_async_context(tracing)
    await stack.enter_async_context(database)
    await asyncio.to_thread(reserve.keep)
    leases = await _open_leases(stack, settings, database)
    folder = settings.data_dir / "blobs"
    storage = storage_of(settings, folder, wrap, fenced=leases is not None)
    blobs = wrap("blobs", await stack.enter_async_context(storage.blobs))
    key = None
    if leases is not None and storage.identity is not None:
        await check_same_place(database, storage.identity)
        key = await delivery_key(database)
    return Ground(
        reserve=reserve,
        tracing=spans,
        database=database,
        leases=leases,
        folder=folder,
        storage=storage,
        blobs=blobs,
        key=key,
        store=wrap("store", await stack.enter_async_context(store_of(settings, policy, database))),
        bus=wrap("bus", await stack.enter_async_context(bus_of(settings, clock))),
    )


async def _open_leases(stack: AsyncExitStack, settings: Settings, database: Database) -> Leases | None:
    if not database.is_shared:
        return None
    if settings.staging == "local":
        await check_same_installation(database, settings.data_dir)
    return await stack.enter_async_context(open_leases(settings, database))
