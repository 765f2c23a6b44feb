"""The store in memory is a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.store.memory import MemoryStore
from penstock.testing.store_contract import KeepsOrder

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from penstock.store.base import ProgressStore


class TestMemoryStore(KeepsOrder):
    """Runs the suite."""

    def open_store(self) -> AbstractAsyncContextManager[ProgressStore]:
        return MemoryStore()
