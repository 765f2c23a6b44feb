"""Builds all parts of `penstock serve` but the way in, opens them in order and closes them in reverse.

The order, and why:

1. The data folder's lock: two servers on one folder would take each other's files for orphans.
2. Database, blobs, store, bus: what the rest stands on.
3. Subscriptions, before anything is published: the embedded bus drops what nobody wants.
4. Reconciliation: uploads whose bytes are complete are announced, then what each record awaits.
5. Timers, sweeper and the other loops.

The way in (`server`) is opened after all of these and closed before them, so that nothing new begins while the rest
ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import structlog

from . import backends
from .antivirus.limits import Oversize
from .blobs.base import BlobStore
from .bus.base import Bus
from .bus.publish import Publisher
from .clock import Clock, SystemClock
from .core.policy import Policy, appends_delay
from .db import Database
from .errors import ConfigurationError
from .events.types import DELAY, VIRUSSCAN, Outcome
from .health import Check
from .postprocessing.commands import Commands
from .postprocessing.coordinator import Coordinator
from .postprocessing.reconcile import Reconciler
from .postprocessing.survey import Survey
from .postprocessing.timers import Timers
from .steps.runner import StepRunner
from .store.base import ProgressStore
from .telemetry import Metrics
from .uploads.catalogue import Catalogue
from .uploads.expiry import Sweeper
from .uploads.feed import Feed
from .uploads.gateway import Gateway
from .uploads.orphans import Orphans
from .uploads.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
    from pathlib import Path

    from .settings import Settings
    from .steps.base import GuardedStep
    from .steps.kit import StepDefinition

log = structlog.get_logger(__name__)

Wrap: TypeAlias = "Callable[[str, Any], Any]"
"""Takes a port's name and the part behind it, returns what is used in its place; tests put faults in between."""


_SELF_TEST_EVERY: Final = timedelta(minutes=5)
_SELF_TEST_AGAIN: Final = timedelta(seconds=5)
_ALMOST_FULL_BYTES: Final = 1024**3


def _as_it_is(port: str, part: Any) -> Any:
    del port
    return part


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the way in reaches: the parts of an open application."""

    receiver: Receiver
    gateway: Gateway
    catalogue: Catalogue
    feed: Feed
    blobs: BlobStore
    store: ProgressStore
    commands: Commands
    survey: Survey
    bus: Bus
    metrics: Metrics
    clock: Clock
    stalled_after: timedelta
    public_url: str | None
    """The server's address as clients see it; None: as each request names it."""
    checks: Callable[[], Awaitable[list[Check]]]
    """Looks at everything that can be wrong while running."""


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
        self._metrics = Metrics()
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
        stack.enter_context(locked_folder(settings.data_dir))
        database = await stack.enter_async_context(Database(f"sqlite:///{settings.data_dir / 'penstock.db'}"))
        bytes_folder = settings.data_dir / "blobs"
        blobs = wrap("blobs", await stack.enter_async_context(backends.load("blobs", "local")(bytes_folder)))
        store = wrap("store", await stack.enter_async_context(self._store(database)))
        bus = wrap("bus", await stack.enter_async_context(backends.load("bus", "local")(clock)))
        publisher = Publisher(bus, clock)
        feed = await stack.enter_async_context(Feed(database, clock))
        catalogue = wrap("catalogue", Catalogue(database, feed, clock))
        gateway = Gateway(catalogue=catalogue, blobs=blobs, bus=bus, publisher=publisher, clock=clock)
        coordinator = Coordinator(
            store=store, bus=bus, publisher=publisher, policy=self._policy, clock=clock, metrics=self._metrics
        )
        receiver = Receiver(
            catalogue=catalogue,
            gateway=gateway,
            blobs=blobs,
            clock=clock,
            metrics=self._metrics,
            expiration=settings.upload_expiration,
            max_size_bytes=settings.max_size_bytes,
        )
        reconciler = Reconciler(store=store, coordinator=coordinator, clock=clock, interval=settings.reconcile_interval)
        timers = Timers(store=store, coordinator=coordinator, clock=clock)
        sweeper = Sweeper(
            catalogue=catalogue,
            blobs=blobs,
            gateway=gateway,
            feed=feed,
            orphans=Orphans(database),
            clock=clock,
            retention=settings.retention,
            orphans_after=settings.upload_expiration,
        )
        definitions = list(self._definitions)
        virusscan = await self._virusscan(stack)
        if virusscan is not None:
            definitions.append(virusscan.definition)

        await stack.enter_async_context(coordinator.subscribe(workers=settings.workers))
        await stack.enter_async_context(gateway.subscribe())
        delivery = backends.load("delivery", "path")(bytes_folder)
        for definition in definitions:
            timeout = settings.step_timeout.get(definition.name)
            runner = StepRunner(
                definition,
                bus=bus,
                publisher=publisher,
                delivery=delivery,
                clock=clock,
                timeout=timeout,
                grace=settings.grace_period,
            )
            await stack.enter_async_context(runner)
        for _ in range(2):  # nothing is on its way in yet: bytes that have no entry twice in a row never get one
            await sweeper.sweep()
        await gateway.reconcile()
        await reconciler.announce()
        loops = [timers.run(), reconciler.run(), sweeper.run()]
        if virusscan is not None:
            loops.append(virusscan.watch(_SELF_TEST_EVERY, _SELF_TEST_AGAIN))
        await stack.enter_async_context(_running(loops))
        self.services = Parts(
            receiver=receiver,
            gateway=gateway,
            catalogue=catalogue,
            feed=feed,
            blobs=blobs,
            store=store,
            commands=Commands(store=store, coordinator=coordinator),
            survey=Survey(store=store, clock=clock, stalled_after=settings.stalled_after),
            bus=bus,
            metrics=self._metrics,
            clock=clock,
            stalled_after=settings.stalled_after,
            public_url=settings.public_url,
            checks=lambda: self._checks(settings.data_dir, virusscan),
        )

    def _store(self, database: Database) -> Any:
        name = self._settings.store
        backend = backends.load("store", name)
        if name == "noop" and self._policy.steps:
            log.warning("store_noop_with_steps", hint="nothing is stored, so no upload with a step ever ends")
        if name == "memory":
            log.warning("store_memory", hint="after a restart every upload in processing begins with its first step")
        return backend(database) if name == "sqlite" else backend()

    async def _virusscan(self, stack: AsyncExitStack) -> GuardedStep | None:
        """Open the scanner and put it to the test, if scanning is among the steps."""
        settings = self._settings
        if VIRUSSCAN not in self._policy.steps:
            return None
        scanner = await stack.enter_async_context(scanner_of(settings, self._clock))
        virusscan: GuardedStep = backends.load("step", VIRUSSCAN)(
            scanner,
            clock=self._clock,
            workers=settings.antivirus_workers,
            infected=Outcome(settings.antivirus_infected_file_handling),
            limit_bytes=settings.antivirus_max_scan_size_bytes,
            oversize=Oversize(settings.antivirus_max_scan_size_mode),
            timeout=settings.antivirus_scan_timeout,
        )
        await virusscan.check()
        return virusscan

    async def _checks(self, folder: Path, virusscan: GuardedStep | None) -> list[Check]:
        """Look at everything that can be wrong while running."""
        free = await asyncio.to_thread(shutil.disk_usage, folder)
        numbers = await self.services.survey.numbers()
        checks = [
            Check(
                "disk",
                free.free > _ALMOST_FULL_BYTES,
                f"{free.free / 2**30:.1f} GiB free in {folder}.",
                "" if free.free > _ALMOST_FULL_BYTES else "Free some space: uploads are refused when it is used up.",
            ),
            Check(
                "stalled",
                numbers.stalled == 0,
                f"{numbers.stalled} uploads wait for an answer for too long.",
                "" if numbers.stalled == 0 else "See `penstock postprocessing list`, then `resume` what should go on.",
            ),
        ]
        if virusscan is not None:
            problem = virusscan.problem
            detail = problem or f"{self._settings.antivirus_scanner} finds the EICAR test file."
            hint = "Uploads are held back until it works; then they go on by themselves." if problem else ""
            checks.append(Check("scanner", not problem, detail, hint, gates=True))
        unanswered = [step for step in self._policy.steps if step not in self._handled]
        detail = f"Nobody answers {', '.join(unanswered)}." if unanswered else "Every step has somebody who answers."
        checks.append(Check("steps", not unanswered, detail, "Load them with --steps FILE." if unanswered else ""))
        return checks

    @property
    def _handled(self) -> set[str]:
        return {DELAY, VIRUSSCAN, *(definition.name for definition in self._definitions)}


def policy_of(settings: Settings) -> Policy:
    """Return the policy that the settings describe.

    Raises:
        ConfigurationError: a step is named twice, or has a name that cannot be.
    """
    if appends_delay(settings.steps, settings.delay):
        log.warning("delay_runs_last", hint="a delay is set but not among the steps; list it to choose its place")
    return Policy.create(
        settings.steps,
        delay=settings.delay,
        max_retries=settings.max_retries,
        retry_backoff=settings.retry_backoff,
        step_timeouts=dict(settings.step_timeout),
    )


def check_handlers(settings: Settings, definitions: Sequence[StepDefinition]) -> None:
    """Make sure that somebody answers each step: on the embedded bus nobody else can.

    Raises:
        ConfigurationError: a step has nobody.
    """
    known = [DELAY, VIRUSSCAN, *(definition.name for definition in definitions)]
    for step in settings.steps:
        if step not in known:
            close = get_close_matches(step, known, n=1)
            meant = f"Did you mean {close[0]}? Otherwise" if close else "To add it,"
            origin = settings.origins.get("steps")
            raise ConfigurationError(
                f"steps={','.join(settings.steps)} ({origin}): nobody answers step {step!r}. "
                f"{meant} load a file that defines it with --steps FILE."
            )
    for definition in definitions:
        if definition.name not in settings.steps:
            log.warning("step_is_not_used", step=definition.name, hint="it is defined but not among the steps")


def scanner_of(settings: Settings, clock: Clock) -> Any:
    """Return the scanner that the settings choose, not opened yet."""
    backend = backends.load("scanner", settings.antivirus_scanner)
    if settings.antivirus_scanner == "clamav":
        return backend(
            settings.antivirus_clamav_socket,
            clock=clock,
            stream_max_bytes=settings.antivirus_clamav_stream_max_length_bytes,
            max_file_bytes=settings.antivirus_clamav_max_file_size_bytes,
            max_scans=settings.antivirus_workers,
        )
    workers = min(settings.antivirus_workers, os.cpu_count() or 1)
    return backend(settings.antivirus_yara_rules, clock=clock, max_workers=workers)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Make the data folder and hold its lock, which ends with our process, however that ends.

    Raises:
        ConfigurationError: the folder cannot be made or written, or another server works in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        raise ConfigurationError(
            f"data_dir={folder}: {error.strerror}. Choose a folder that may be written, such as with --data-dir."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                f"data_dir={folder}: another penstock works in this folder. Stop it first."
            ) from error
        yield


@asynccontextmanager
async def _running(loops: Sequence[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run loops that never end by themselves while the context is open."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
