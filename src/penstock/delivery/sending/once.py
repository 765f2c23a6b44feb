"""Addresses that die with the first complete reading: when each byte of a file was handed over, in whatever ranges.

That an address is used up is noted in the ledger, so a restart and other instances know it. How far a reading has come
is known to this process only: after a restart it counts from the beginning.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import structlog

from ...errors import Unavailable
from .claims import TokenUsed, awaited_step

if TYPE_CHECKING:
    from ...store.base import ProgressStore
    from .claims import Claim
    from .ledger import Ledger

log = structlog.get_logger(__name__)

_KEPT: Final = 10_000
_SPANS: Final = 1000
"""So many ranges of a file are told apart; who asks for more, smaller and scattered, has to begin anew."""


class Once:
    """Counts what was read."""

    def __init__(self, ledger: Ledger, store: ProgressStore) -> None:
        """`ledger` remembers what was used up; `store` knows which steps are awaited."""
        self._ledger = ledger
        self._store = store
        self._read: OrderedDict[tuple[str, str], list[tuple[int, int]] | None] = OrderedDict()
        self._noting: dict[tuple[str, str], asyncio.Event] = {}
        """What is being noted in the ledger right now."""

    async def check(self, claim: Claim) -> None:
        """Make sure that a file was not read yet. Who hears that it was hears so after a kill, too.

        Raises:
            TokenUsed: it was.
            DatabaseUnavailable: nobody can tell now.
        """
        if (noting := self._noting.get((claim.upload_id, claim.start_id))) is not None:
            await noting.wait()
        if self.is_used_up(claim) or await self._ledger.is_used_up(claim.upload_id, claim.start_id):
            raise TokenUsed(
                f"this address was good for one reading, and upload {claim.upload_id} was read. Another attempt of the "
                "step has an address of its own."
            )

    def is_used_up(self, claim: Claim) -> bool:
        """Tell whether this process has seen a file being read completely."""
        return self._read.get((claim.upload_id, claim.start_id), []) is None

    async def note(self, claim: Claim, start: int, stop: int, size_bytes: int) -> None:
        """Note that a range was handed over completely; with the last one that was missing, the address is used up."""
        key = claim.upload_id, claim.start_id
        spans = self._read.get(key, [])
        if spans is None:
            return
        spans = joined([*spans, (start, stop)])[:_SPANS]
        whole = size_bytes == 0 or spans == [(0, size_bytes)]
        self._read[key] = None if whole else spans
        self._read.move_to_end(key)
        if len(self._read) > _KEPT:
            self._read.popitem(last=False)
        if whole:
            self._noting[key] = noted = asyncio.Event()
            try:
                await self._use_up(claim)
            except Unavailable as error:  # this process knows it; after a restart the step's end will be the end of it
                log.warning("used_up_address_not_noted", upload=claim.upload_id, error=str(error))
            finally:
                if self._noting.get(key) is noted:
                    del self._noting[key]
                noted.set()

    async def _use_up(self, claim: Claim) -> None:
        """Note it in the ledger, unless the step is over by now.

        That ends its address anyway, and the upload's line may say by now that a later step was started.
        """
        noted = False
        while not noted:
            line = await self._ledger.line(claim.upload_id)
            if await awaited_step(self._store, claim.upload_id, claim.start_id) is None:
                return
            noted = await self._ledger.use_up(claim.upload_id, claim.start_id, instead_of=line)


def joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in order, those that touch or overlap made one."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(stop, found[-1][1])
        elif start < stop:
            found.append((start, stop))
    return found
