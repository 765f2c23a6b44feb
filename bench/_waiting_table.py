"""The table that the measurement of many waiting uploads ends with, as docs/benchmarks.md has it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from _waiting_processes import Cost

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Row:
    """What one store has cost; None for what there is not."""

    store: str
    start: Cost | None = None
    """From the start of the process until it is ready."""
    listing: Cost | None = None
    resume: Cost | None = None
    """The command."""
    resumed: Cost | None = None
    """Until the step of each upload was started again, and the CPU time of the service."""
    sweep: Cost | None = None
    service_mib: float = 0.0
    command_mib: float = 0.0
    latencies: dict[str, list[float]] = field(default_factory=dict)
    """How long single uploads took meanwhile, in seconds, by phase."""


_HEADS = (
    "store", "start-up", "`list`", "`resume -s`", "all resumed after", "sweep", "peak MiB: service", "command",
    "another upload, ms: quiet", "after start", "`list`", "`resume`",
)  # fmt: skip
_PHASES = ("quiet", "after start", "list", "resume")


def print_table(rows: Sequence[Row]) -> None:
    """Print wall time and (CPU time) in seconds; latencies as median / 99th percentile / longest in ms."""
    print()
    _line(_HEADS)
    _line(["---"] * len(_HEADS))
    for row in rows:
        costs = (row.start, row.listing, row.resume, row.resumed, row.sweep)
        memory = (row.service_mib, row.command_mib)
        _line(
            (
                row.store,
                *map(_cost, costs),
                *(f"{mib:.0f}" for mib in memory),
                *(_quantiles(row.latencies.get(phase, [])) for phase in _PHASES),
            )
        )
    print(flush=True)


def _line(cells: Sequence[str]) -> None:
    print("|", " | ".join(cells), "|")


def _cost(cost: Cost | None) -> str:
    return "–" if cost is None else f"{cost.seconds:.1f} ({cost.cpu_seconds:.1f})"


def _quantiles(taken: Sequence[float]) -> str:
    if len(taken) < 2:
        return "–"
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return f"{cuts[49] * 1000:.0f} / {cuts[98] * 1000:.0f} / {max(taken) * 1000:.0f}"
