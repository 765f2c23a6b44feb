"""Builds all parts of `penstock serve` but the way in, opens them in order and closes them in reverse.

The order, and why:

1. The data folder's lock: two servers on one folder would take each other's files for orphans, unless they share a
   database (`instances`).
2. Traces, of all that follows; then database, blobs, store, bus: what the rest stands on.
3. Subscriptions, before anything is published: the embedded bus drops what nobody wants.
4. Reconciliation: uploads whose bytes are complete are announced, then what each record awaits.
5. Timers, sweeper and the other loops.

The way in (`server`) is opened after all of these and closed before them, so that nothing new begins while the rest
ends.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from ..clock import Clock, SystemClock
from ..events.types import DELAY, VIRUSSCAN
from ..health import Check
from ..settings.services import Service
from ..steps.runner import StepRunner
from ..telemetry import Metrics
from ..uploads.catalogue import Catalogue
from ..uploads.collecting import Means
from ..uploads.collector import Collector
from ..uploads.expiry import Sweeper
from ..uploads.feed import Feed
from ..uploads.files import Files
from ..uploads.gateway import Gateway
from ..uploads.leading import lead
from ..uploads.orphans import Orphans
from ..uploads.quarantine import Quarantine
from ..uploads.quota import Ledger
from ..uploads.receiver import Receiver
from ..uploads.remembered import RememberedTime
from ..uploads.steady import SteadyTime
from ..uploads.usage import Usages
from .allowances import allowances_of, show_usage
from .delivery import open_own_delivery
from .dispatching import Dispatching
from .folder import locked_folder
from .garbage import NOTICED, Garbage
from .instances import (
    EMPTY_AFTER,
    FEED_POLL,
    check_same_installation,
    check_same_place,
    database_of,
    delivery_key,
    finish_what_the_dead_have_left,
    open_leases,
    open_locks,
)
from .loops import running
from .opening import bus_of, store_of
from .parts import Parts
from .policy import policy_of
from .processing import Processing
from .reserve import Reserve
from .scanner import open_virusscan
from .storage import storage_of
from .tracing import tracing_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from ..settings import Settings
    from ..steps.kit import StepDefinition
    from .scanning import Scanning
    from .storage import Storage

Wrap: TypeAlias = "Callable[[str, Any], Any]"
"""Takes a port's name and the part behind it, returns what is used in its place; tests put faults in between."""

_ALMOST_FULL_BYTES: Final = 1024**3


def _as_it_is(port: str, part: Any) -> Any:
    del port
    return part


class App:
    """Everything but the way in. `services` is there once it is open."""

    services: Parts

    def __init__(
        self,
        settings: Settings,
        definitions: Sequence[StepDefinition] = (),
        *,
        clock: Clock | None = None,
        wrap: Wrap = _as_it_is,
    ) -> None:
        self._settings = settings
        self._clock = SystemClock() if clock is None else clock
        self._definitions = list(definitions)
        self._wrap = wrap
        self._policy = policy_of(settings)
        self._allowances = allowances_of(settings)
        self._metrics = Metrics()
        self._tracing = tracing_of(settings, Service.SERVE)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open everything; nothing stays open when that fails.

        Raises:
            ConfigurationError: a setting is wrong, or a folder or server that it names cannot be used.
        """
        async with AsyncExitStack() as stack:
            await self._open(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def _open(self, stack: AsyncExitStack) -> None:
        settings, clock, wrap = self._settings, self._clock, self._wrap
        database = database_of(settings)
        stack.enter_context(locked_folder(settings.data_dir, shared=database.is_shared))
        reserve = Reserve(settings.data_dir)
        await asyncio.to_thread(reserve.give_way)
        tracing = await stack.enter_async_context(self._tracing)
        await stack.enter_async_context(database)
        await asyncio.to_thread(reserve.keep)
        leases = None
        if database.is_shared:
            if settings.staging == "local":
                await check_same_installation(database, settings.data_dir)
            leases = await stack.enter_async_context(open_leases(settings))
        bytes_folder = settings.data_dir / "blobs"
        storage = storage_of(settings, bytes_folder, wrap, fenced=leases is not None)
        blobs = wrap("blobs", await stack.enter_async_context(storage.blobs))
        key = None
        if leases is not None and storage.identity is not None:
            await check_same_place(database, storage.identity)
            key = await delivery_key(database)
        store = wrap("store", await stack.enter_async_context(store_of(settings, self._policy, database)))
        bus = wrap("bus", await stack.enter_async_context(bus_of(settings, clock)))
        dispatching = Dispatching(
            settings,
            store=store,
            bus=bus,
            clock=clock,
            blobs=blobs,
            folder=bytes_folder,
            lending=storage.lending,
            database=database,
            key=key,
        )
        processing = Processing(
            settings,
            self._policy,
            store=store,
            bus=bus,
            clock=clock,
            metrics=self._metrics,
            tracing=tracing,
            publisher=await stack.enter_async_context(dispatching.publisher),
        )
        feed = await stack.enter_async_context(Feed(database, clock, poll=None if leases is None else FEED_POLL))
        ledger = Ledger(self._allowances, shared=database.is_shared)
        guard = None if leases is None else leases.guard
        catalogue = wrap("catalogue", Catalogue(database, feed, clock, ledger, guard))
        usages = Usages(database, ledger)
        await usages.count_anew()
        locks = None
        if leases is not None:
            locks = await stack.enter_async_context(open_locks(leases, catalogue, blobs, clock))
        gateway = Gateway(
            catalogue=catalogue,
            blobs=blobs,
            bus=bus,
            publisher=processing.publisher,
            clock=clock,
            tracing=tracing,
            room=processing.coordinator.room,
            locks=locks,
            # What goes anywhere else is heard there, and a copy takes its time.
            foresee=processing.foregone if settings.bus == "local" and storage.final is None else None,
        )
        time = SteadyTime(clock, believed_after=settings.upload_expiration)
        remembered = RememberedTime(database, time)
        await remembered.recall()
        receiver = Receiver(
            catalogue=catalogue,
            gateway=gateway,
            blobs=blobs,
            clock=clock,
            metrics=self._metrics,
            expiration=settings.upload_expiration,
            time=time,
            max_size_bytes=settings.max_size_bytes,
            allowances=self._allowances,
            locks=locks,
        )
        files = Files(
            database=database,
            catalogue=catalogue,
            receiver=receiver,
            blobs=blobs,
            ledger=ledger,
            clock=clock,
            kept_versions=settings.file_versions or None,
        )
        orphans = Orphans(database)
        sweeper = Sweeper(
            catalogue=catalogue,
            blobs=blobs,
            gateway=gateway,
            receiver=receiver,
            feed=feed,
            orphans=orphans,
            clock=clock,
            retention=settings.retention,
            orphans_after=settings.upload_expiration,
            time=time,
            remembered=remembered,
            room=reserve.lent,
            empty_after=timedelta(0) if locks is None else EMPTY_AFTER,
        )
        means = Means(
            catalogue=catalogue,
            blobs=blobs,
            gateway=gateway,
            receiver=receiver,
            noticed=Orphans(database, where=NOTICED),
            time=time,
            retention=settings.retention,
            records=None if settings.store == "noop" else store,
        )
        garbage = Garbage(
            Collector(means, older_than=settings.gc_older_than),
            reserve=reserve,
            metrics=self._metrics,
            clock=clock,
            interval=settings.gc_interval,
        )
        definitions = list(self._definitions)
        scanning = None
        if VIRUSSCAN in self._policy.every_step:
            scanning = await open_virusscan(stack, settings, clock, self._metrics)
            definitions.append(scanning.definition)

        await stack.enter_async_context(processing.coordinator.subscribe(workers=settings.workers))
        await stack.enter_async_context(gateway.subscribe())
        for definition in definitions:
            as_files = definition.name != VIRUSSCAN  # it reads what is no file as it comes
            delivery = await open_own_delivery(stack, settings, bytes_folder, blobs, as_files=as_files)
            timeout = settings.step_timeout.get(definition.name)
            runner = StepRunner(
                definition,
                bus=bus,
                publisher=processing.publisher,
                delivery=delivery,
                clock=clock,
                timeout=timeout,
                grace=settings.grace_period,
                tracing=tracing,
            )
            await stack.enter_async_context(runner)
        if locks is None:
            await sweeper.sweep()
            if await orphans.seen():  # nothing is on its way in yet: what has no entry twice never gets one
                await sweeper.sweep()
        await gateway.reconcile()
        await processing.reconciler.announce()
        loops = [*processing.loops(), *dispatching.loops()]
        if locks is None:
            loops += [sweeper.run(), garbage.run(), files.removal.run()]
        else:
            alone: list[Callable[[], Coroutine[Any, Any, None]]] = [
                partial(finish_what_the_dead_have_left, gateway, locks, clock, settings.instance_lease),
                sweeper.run,
                garbage.run,
                files.removal.run,
            ]
            loops.append(lead(alone, locks, clock))
        if scanning is not None:
            scanning.hold(await processing.commands.pausing(VIRUSSCAN))  # who knows why: it was before we started
            loops.append(scanning.watch())
            loops.append(scanning.look_after(partial(processing.commands.hurry, VIRUSSCAN)))
        await stack.enter_async_context(running(loops))
        self.services = Parts(
            receiver=receiver,
            gateway=gateway,
            catalogue=catalogue,
            usages=usages,
            quarantine=Quarantine(database),
            feed=feed,
            blobs=blobs,
            files=files,
            garbage=garbage,
            claims=dispatching.claims,
            dispatcher=dispatching.publisher,
            ways=dispatching.ways,
            store=store,
            commands=processing.commands,
            survey=processing.survey,
            bus=bus,
            metrics=self._metrics,
            clock=clock,
            stalled_after=settings.stalled_after,
            public_url=settings.public_url,
            listens_at=settings.http_addr.host,
            allowed_hosts=settings.allowed_hosts,
            delivery_url=settings.delivery_url,
            trusted_proxies=settings.trusted_proxies,
            user_header=settings.user_header,
            cors_origins=settings.cors_origins,
            checks=lambda: self._checks(storage, processing, scanning),
            look_up=lambda: self._look_up(processing, catalogue, usages, scanning),
        )

    async def _look_up(
        self, processing: Processing, catalogue: Catalogue, usages: Usages, scanning: Scanning | None
    ) -> None:
        await processing.look_up()
        if scanning is not None:
            scanning.look_up(self._metrics)
        for phase, number in (await catalogue.counts()).items():
            self._metrics.uploads.labels(phase).set(number)
        for usage in await usages.of_named():
            show_usage(usage, self._metrics)

    async def _checks(self, storage: Storage, processing: Processing, scanning: Scanning | None) -> list[Check]:
        """Look at everything that can be wrong while running."""
        folder = self._settings.data_dir
        free = await asyncio.to_thread(shutil.disk_usage, folder)
        checks = [
            Check(
                "disk",
                free.free > _ALMOST_FULL_BYTES,
                f"{free.free / 2**30:.1f} GiB free in {folder}.",
                "" if free.free > _ALMOST_FULL_BYTES else "Free some space: uploads are refused when it is used up.",
            ),
            *await storage.checks(),
            *await processing.checks(),
            await processing.check_stalled(),
        ]
        if scanning is not None:
            checks += scanning.checks()
        elsewhere = self._settings.bus != "local"  # who answers there, nobody here can tell
        unanswered = [step for step in self._policy.every_step if step not in self._handled and not elsewhere]
        detail = f"Nobody answers {', '.join(unanswered)}." if unanswered else "Every step has somebody who answers."
        checks.append(Check("steps", not unanswered, detail, "Load them with --steps FILE." if unanswered else ""))
        return checks

    @property
    def _handled(self) -> set[str]:
        return {DELAY, VIRUSSCAN, *(definition.name for definition in self._definitions)}
