"""The bus for one process: events are handed over in memory and die with it. See `LocalBus`."""

from __future__ import annotations

from .bus import LocalBus

__all__ = ["LocalBus"]
