"""What tests need, ours and those of others: contract suites, a clock to move by hand, faults on demand."""

from __future__ import annotations

from .clock import ManualClock
from .eventually import eventually
from .tracing import RecordedSpan, RecordedTracing

__all__ = ["ManualClock", "RecordedSpan", "RecordedTracing", "eventually"]
