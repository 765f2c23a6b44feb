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
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from ..clock import Clock, SystemClock
from ..events.types import DELAY, VIRUSSCAN
from ..health import Check
from ..settings.services import Service
from ..steps.runner import StepRunner
from ..telemetry import Metrics
from ..uploads.catalogue.quarantine import Quarantine
from .allowances import allowances_of, show_usage
from .delivery import open_own_delivery
from .dispatching import Dispatching
from .ground import open_ground
from .loops import running
from .parts import Parts
from .policy import policy_of
from .processing import Processing
from .scanner import open_virusscan
from .tidying import Tidying
from .tracing import tracing_of
from .uploading import open_uploading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..settings import Settings
    from ..steps.kit import StepDefinition
    from .ground import Ground, Wrap
    from .scanning import Scanning
    from .storage import Storage
    from .uploading import Uploading

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
        settings, clock, metrics = self._settings, self._clock, self._metrics
        ground = await open_ground(stack, settings, self._policy, clock, self._wrap, tracing=self._tracing)
        dispatching = Dispatching(
            settings,
            store=ground.store,
            bus=ground.bus,
            clock=clock,
            blobs=ground.blobs,
            folder=ground.folder,
            lending=ground.storage.lending,
            database=ground.database,
            key=ground.key,
        )
        processing = Processing(
            settings,
            self._policy,
            store=ground.store,
            bus=ground.bus,
            clock=clock,
            metrics=metrics,
            tracing=ground.tracing,
            publisher=await stack.enter_async_context(dispatching.publisher),
        )
        uploading = await open_uploading(
            stack, settings, ground, processing, clock, metrics, self._allowances, self._wrap
        )
        tidying = Tidying(settings, ground, uploading, clock, metrics)
        scanning = None
        if VIRUSSCAN in self._policy.every_step:
            scanning = await open_virusscan(stack, settings, clock, metrics)

        await stack.enter_async_context(processing.coordinator.subscribe(workers=settings.workers))
        await stack.enter_async_context(uploading.gateway.subscribe())
        await self._open_steps(stack, ground, processing, scanning)
        await tidying.begin()
        await uploading.gateway.reconcile()
        await processing.reconciler.announce()
        loops = [*processing.loops(), *dispatching.loops(), *tidying.loops()]
        if scanning is not None:
            scanning.hold(await processing.commands.pausing(VIRUSSCAN))  # who knows why: it was before we started
            loops.append(scanning.watch())
            loops.append(scanning.look_after(partial(processing.commands.hurry, VIRUSSCAN)))
        await stack.enter_async_context(running(loops))
        self.services = Parts(
            receiver=uploading.receiver,
            gateway=uploading.gateway,
            catalogue=uploading.catalogue,
            usages=uploading.usages,
            quarantine=Quarantine(ground.database),
            feed=uploading.feed,
            blobs=ground.blobs,
            files=uploading.files,
            garbage=tidying.garbage,
            claims=dispatching.claims,
            dispatcher=dispatching.publisher,
            ways=dispatching.ways,
            store=ground.store,
            commands=processing.commands,
            survey=processing.survey,
            bus=ground.bus,
            metrics=metrics,
            clock=clock,
            stalled_after=settings.stalled_after,
            public_url=settings.public_url,
            listens_at=settings.http_addr.host,
            allowed_hosts=settings.allowed_hosts,
            delivery_url=settings.delivery_url,
            trusted_proxies=settings.trusted_proxies,
            user_header=settings.user_header,
            cors_origins=settings.cors_origins,
            checks=lambda: self._checks(ground.storage, processing, scanning),
            look_up=lambda: self._look_up(processing, uploading, scanning),
        )

    async def _open_steps(
        self, stack: AsyncExitStack, ground: Ground, processing: Processing, scanning: Scanning | None
    ) -> None:
        settings = self._settings
        for definition in [*self._definitions, *([] if scanning is None else [scanning.definition])]:
            as_files = definition.name != VIRUSSCAN  # it reads what is no file as it comes
            delivery = await open_own_delivery(stack, settings, ground.folder, ground.blobs, as_files=as_files)
            runner = StepRunner(
                definition,
                bus=ground.bus,
                publisher=processing.publisher,
                delivery=delivery,
                clock=self._clock,
                timeout=settings.step_timeout.get(definition.name),
                grace=settings.grace_period,
                tracing=ground.tracing,
            )
            await stack.enter_async_context(runner)

    async def _look_up(self, processing: Processing, uploading: Uploading, scanning: Scanning | None) -> None:
        await processing.look_up()
        if scanning is not None:
            scanning.look_up(self._metrics)
        for phase, number in (await uploading.catalogue.counts()).items():
            self._metrics.uploads.labels(phase).set(number)
        for usage in await uploading.usages.of_named():
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
