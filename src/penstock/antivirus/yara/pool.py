"""The worker processes: started when needed, replaced when lost, never more than a fixed number."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from ..base import ScannerUnavailable
from .compiled import CompiledRules
from .process import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from .process import Ready, Setup

log = structlog.get_logger(__name__)


class WorkerPool:
    """Lends workers out, one file each. A worker whose scan did not end well is killed, not lent again.

    All use the rules as the first one has compiled them, until `reload` puts others in their place.
    """

    def __init__(self, setup: Setup, size: int) -> None:
        self._setup = setup
        self._rules = CompiledRules()
        self._compiling = asyncio.Lock()
        self._places = asyncio.Semaphore(size)
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._discarded: set[Worker] = set()
        self._closed = False

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """Lend a worker, an idle one or else a new one; wait while all are busy.

        Raises:
            RulesInvalid: a new one was needed, and the rules do not compile (any more).
            ScannerUnavailable: a new one was needed and did not start, or the pool is closed.
        """
        async with self._places:
            worker = self._take_idle() or await self._start()
            self._busy.add(worker)
            ended_well = False
            try:
                yield worker
                ended_well = True
            finally:
                self._busy.discard(worker)
                if ended_well and not self._closed and worker.rules is self._rules:
                    self._idle.append(worker)
                else:
                    self._discard(worker)

    async def reload(self, setup: Setup, prove: Callable[[Worker], Awaitable[None]]) -> Ready:
        """Compile other rules; if that goes well and `prove` raises nothing, all scans that begin now use them.

        Scans that run go on with what they began with.

        Raises:
            RulesInvalid: they do not compile; nothing has changed.
            ScannerUnavailable: no worker could be started, or the pool is closed; nothing has changed.
        """
        rules = CompiledRules()
        try:
            worker = await self._proven(await Worker.start(setup, rules), prove)
        except BaseException:
            rules.close()
            raise
        old, self._rules, self._setup = self._rules, rules, setup
        old.close()
        while self._idle:
            self._discard(self._idle.pop())
        self._idle.append(worker)
        return worker.ready

    async def _proven(self, worker: Worker, prove: Callable[[Worker], Awaitable[None]]) -> Worker:
        ended_well = False
        try:
            await prove(worker)
            ended_well = not self._closed
        finally:
            if not ended_well:
                self._discard(worker)
                await worker.ended()
        if not ended_well:
            raise ScannerUnavailable("the YARA scanner has been closed")
        return worker

    async def close(self) -> None:
        """End all workers. Scans that still run end with `ScannerUnavailable`."""
        self._closed = True
        self._rules.close()
        while self._idle:
            self._discard(self._idle.pop())
        for worker in self._busy:
            worker.kill()
        for worker in self._busy | self._discarded:
            if not await worker.ended():
                log.error("yara_worker_does_not_end", pid=worker.pid)
        self._discarded.clear()

    def _take_idle(self) -> Worker | None:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive():
                return worker
            log.warning("yara_worker_lost", pid=worker.pid)
            self._discard(worker)
        return None

    async def _start(self) -> Worker:
        if self._closed:
            raise ScannerUnavailable("the YARA scanner has been closed")
        worker = await self._start_one()
        if self._was_closed():
            self._discard(worker)
            await worker.ended()
            raise ScannerUnavailable("the YARA scanner has been closed")
        ready = worker.ready
        log.info(
            "yara_worker_started",
            pid=worker.pid,
            database=ready.database,
            rules=ready.rules,
            warnings=ready.warnings,
        )
        return worker

    async def _start_one(self) -> Worker:
        if self._rules.complete:
            return await Worker.start(self._setup, self._rules)
        async with self._compiling:  # one after the other, until one has got ready
            if not self._rules.complete:
                self._rules.empty()
            return await Worker.start(self._setup, self._rules)

    def _was_closed(self) -> bool:
        """Look again: `close` may have been called while we waited."""
        return self._closed

    def _discard(self, worker: Worker) -> None:
        worker.discard()
        self._discarded = {gone for gone in self._discarded if not gone.has_ended} | {worker}
