"""The parts of `penstock serve` that take uploads in, keep account of them, and let people at what was released."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ..uploads.catalogue.catalogue import Catalogue
from ..uploads.catalogue.feed import Feed
from ..uploads.files.files import Files
from ..uploads.files.removal import Removal
from ..uploads.gateway.gateway import Gateway
from ..uploads.locking.shared_locks import SharedLocks
from ..uploads.quotas.quota import Ledger
from ..uploads.quotas.usage import Usages
from ..uploads.receiving.receiver import Receiver
from ..uploads.remembered import RememberedTime
from ..uploads.steady import SteadyTime
from .instances import FEED_POLL, open_locks

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from ..blobs.sharing import SupportsFences
    from ..clock import Clock
    from ..settings import Settings
    from ..telemetry import Metrics
    from ..uploads.allowances import Allowances
    from .ground import Ground, Wrap
    from .processing import Processing


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploading:
    """What is about uploads."""

    feed: Feed
    catalogue: Catalogue
    usages: Usages
    locks: SharedLocks | None
    """Those of all instances; None: this is the only one."""
    gateway: Gateway
    time: SteadyTime
    """What ages are counted to."""
    remembered: RememberedTime
    receiver: Receiver
    files: Files
    removal: Removal


async def open_uploading(
    stack: AsyncExitStack,
    settings: Settings,
    ground: Ground,
    processing: Processing,
    clock: Clock,
    metrics: Metrics,
    allowances: Allowances,
    wrap: Wrap,
) -> Uploading:
    """Open it, on a stack that closes it."""
    database, leases, blobs = ground.database, ground.leases, ground.blobs
    feed = await stack.enter_async_context(Feed(database, clock, poll=None if leases is None else FEED_POLL))
    ledger = Ledger(allowances, shared=database.is_shared)
    guard = None if leases is None else leases.guard
    catalogue = wrap("catalogue", Catalogue(database, feed, clock, ledger, guard))
    usages = Usages(database, ledger)
    await usages.count_anew()
    locks = None
    if leases is not None:
        fences = cast("SupportsFences", blobs)  # as every store has that is opened for several instances
        locks = await stack.enter_async_context(open_locks(leases, catalogue, fences, clock))
    gateway = Gateway(
        catalogue=catalogue,
        blobs=blobs,
        bus=ground.bus,
        publisher=processing.publisher,
        clock=clock,
        tracing=ground.tracing,
        records=ground.store,
        room=processing.coordinator.room,
        locks=locks,
        # What goes anywhere else is heard there, and a copy takes its time.
        foresee=processing.foregone if settings.bus == "local" and ground.storage.final is None else None,
    )
    time = SteadyTime(clock, believed_after=settings.upload_expiration)
    remembered = RememberedTime(database, time)
    await remembered.recall()
    receiver = Receiver(
        catalogue=catalogue,
        gateway=gateway,
        blobs=blobs,
        clock=clock,
        metrics=metrics,
        expiration=settings.upload_expiration,
        time=time,
        max_size_bytes=settings.max_size_bytes,
        allowances=allowances,
        locks=locks,
    )
    removal = Removal(
        database=database,
        catalogue=catalogue,
        receiver=receiver,
        clock=clock,
        kept_versions=settings.file_versions or None,
    )
    return Uploading(
        feed=feed,
        catalogue=catalogue,
        usages=usages,
        locks=locks,
        gateway=gateway,
        time=time,
        remembered=remembered,
        receiver=receiver,
        files=Files(database=database, receiver=receiver, blobs=blobs, ledger=ledger, removal=removal),
        removal=removal,
    )
