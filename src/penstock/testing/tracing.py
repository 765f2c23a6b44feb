"""Traces that stay here, for tests to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ..tracing.base import Attribute, child_of

if TYPE_CHECKING:
    from types import TracebackType


class RecordedSpan:
    """A span, with all that was said of it."""

    def __init__(self, tracing: RecordedTracing, name: str, parent: str, attributes: dict[str, Attribute]) -> None:
        """Spans are made by `RecordedTracing.span`."""
        self.name = name
        self.parent = parent
        self.attributes = attributes
        self.error = ""
        """Why it failed; empty if it did not."""
        self.trace_parent = f"{child_of(parent)[:-2]}01"
        self._tracing = tracing
        self._discarded = False

    def note(self, **attributes: Attribute) -> None:
        """Say more about it."""
        self.attributes |= attributes

    def failed(self, reason: str) -> None:
        """Say that the work has failed."""
        self.error = reason

    def discard(self) -> None:
        """Leave it out."""
        self._discarded = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.failed(f"{type(error).__name__}: {error}")
        if not self._discarded:
            self._tracing.ended.append(self)


class RecordedTracing:
    """A `penstock.tracing.Tracing` that keeps its spans in `ended`, in the order in which they end."""

    def __init__(self) -> None:
        self.ended: list[RecordedSpan] = []

    def span(self, name: str, parent: str = "", **attributes: Attribute) -> RecordedSpan:
        """Return a span that is recorded, whatever its parent is."""
        return RecordedSpan(self, name, parent, attributes)
