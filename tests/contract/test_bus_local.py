"""The bus in memory is a bus."""

from __future__ import annotations

from penstock.bus.base import Bus
from penstock.bus.local import LocalBus
from penstock.clock import SystemClock
from penstock.testing.bus_contract import BusContract


class TestLocalBus(BusContract):
    """Runs the suite."""

    def new_bus(self) -> Bus:
        return LocalBus(SystemClock())
