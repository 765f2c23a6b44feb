"""What is to be seen of a bus: whether it carries events, how many wait, and what became of those that failed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..bus.base import OnServer
from ..health import Check

if TYPE_CHECKING:
    from prometheus_client import Counter as Counted

    from ..bus.base import Bus
    from ..telemetry import Metrics


class BusWatch:
    """Looks at one bus for one service."""

    def __init__(self, bus: Bus, metrics: Metrics) -> None:
        self._bus = bus
        self._metrics = metrics
        self._failures: Counter[str] = Counter()
        self._set_aside: Counter[str] = Counter()

    def checks(self) -> list[Check]:
        """Tell whether events are carried; nothing for a bus that cannot be away."""
        if not isinstance(self._bus, OnServer):
            return []
        trouble = self._bus.trouble()
        hint = "Work goes on when it is back." if trouble else ""
        return [Check("bus", ok=not trouble, detail=trouble or "It answers.", hint=hint, gates=True)]

    def look_up(self) -> None:
        """Set the metrics of the bus."""
        bus, metrics = self._bus, self._metrics
        for group in bus.groups():
            metrics.queue_depth.labels(group).set(bus.pending(group))
            _count(metrics.event_failures.labels(group), self._failures, group, bus.failures(group))
            if isinstance(bus, OnServer):
                _count(metrics.set_aside.labels(group), self._set_aside, group, bus.set_aside_count(group))


def _count(metric: Counted, known: Counter[str], group: str, total: int) -> None:
    """Add to a metric what has come since it was last looked at."""
    metric.inc(total - known[group])
    known[group] = total
