"""What is to be seen of a bus: whether it carries events, how many wait, and what became of those that failed."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from ..bus.base import OnServer
from ..errors import Unavailable
from ..health import Check

if TYPE_CHECKING:
    from prometheus_client import Counter as Counted

    from ..bus.aside import KeptAside
    from ..bus.base import Bus
    from ..telemetry import Metrics

_PATIENCE_SECONDS: Final = 3.0
_LOOK: Final = (
    "See `penstock postprocessing set-aside list`; once the cause is mended, have them handled with "
    "`set-aside again`, or give them up with `set-aside discard`."
)


class BusWatch:
    """Looks at one bus for one service."""

    def __init__(self, bus: Bus, metrics: Metrics) -> None:
        self._bus = bus
        self._metrics = metrics
        self._failures: Counter[str] = Counter()
        self._set_aside: Counter[str] = Counter()

    async def checks(self) -> list[Check]:
        """Tell whether events are carried, and handled; nothing for a bus that cannot be away."""
        if not isinstance(self._bus, OnServer):
            return []
        trouble = self._bus.trouble()
        hint = "Work goes on when it is back." if trouble else ""
        carried = Check("bus", ok=not trouble, detail=trouble or "It answers.", hint=hint, gates=True)
        return [carried] if trouble else [carried, await check_set_aside(self._bus.kept_aside())]

    def look_up(self) -> None:
        """Set the metrics of the bus."""
        bus, metrics = self._bus, self._metrics
        for group in bus.groups():
            metrics.queue_depth.labels(group).set(bus.pending(group))
            _count(metrics.event_failures.labels(group), self._failures, group, bus.failures(group))
            if isinstance(bus, OnServer):
                _count(metrics.set_aside.labels(group), self._set_aside, group, bus.set_aside_count(group))


async def check_set_aside(kept: KeptAside) -> Check:
    """Tell how many events could not be handled."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            count = await kept.count()
    except (Unavailable, TimeoutError) as error:
        detail = str(error) or f"It did not answer within {_PATIENCE_SECONDS:.0f} seconds."
        return Check("set-aside", ok=False, detail=detail, hint="Look again.")
    if not count:
        return Check("set-aside", ok=True, detail="No event is set aside.")
    return Check("set-aside", ok=False, detail=f"{count} events could not be handled and are set aside.", hint=_LOOK)


def _count(metric: Counted, known: Counter[str], group: str, total: int) -> None:
    """Add to a metric what has come since it was last looked at."""
    metric.inc(total - known[group])
    known[group] = total
