"""What those who work see of tracing, and what they are given where no traces are sent.

Also without traces, whatever is published carries a `traceparent` that continues the one it came with, as the Go
services do it: then who listens before and after us can join their spans.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeAlias

from .traceparent import trace_id_of

if TYPE_CHECKING:
    from types import TracebackType

Attribute: TypeAlias = str | int | float | bool | None
"""What can be said of a span; None and empty text say nothing."""


class Span(Protocol):
    """A piece of work on an upload, while its context is open. An exception that leaves the context has failed it."""

    @property
    def trace_parent(self) -> str:
        """W3C `traceparent` for what is sent from here; never empty."""
        ...

    def note(self, **attributes: Attribute) -> None:
        """Say more about it."""
        ...

    def failed(self, reason: str) -> None:
        """Say that the work has failed, though nothing is raised."""
        ...

    def discard(self) -> None:
        """Leave it out of the trace: nothing came of it. What was sent from it stays in the trace all the same."""
        ...

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        ...


class Tracing(Protocol):
    """Begins spans. It never blocks, and nothing of it fails work, wherever the traces may be sent to."""

    def span(self, name: str, parent: str = "", **attributes: Attribute) -> Span:
        """Return a span, which begins now.

        Args:
            name: what is done; one of few names, without values.
            parent: `traceparent` of what led here; if it is empty or none, a new trace begins.
            attributes: what is known of it already; in the trace their names have `penstock.` in front.
        """
        ...


def child_of(parent: str) -> str:
    """Return the `traceparent` of a span that nobody records: in the parent's trace, or in a new one."""
    # Not secrets: it is enough that they are rarely the same. This runs for every event.
    trace_id = trace_id_of(parent) or f"{random.getrandbits(128) or 1:032x}"
    return f"00-{trace_id}-{random.getrandbits(64) or 1:016x}-00"


class _Unsent:
    """A span that nobody records. Its `traceparent` is made when somebody asks for it."""

    __slots__ = ("_parent", "_trace_parent")

    def __init__(self, parent: str) -> None:
        self._parent = parent
        self._trace_parent = ""

    @property
    def trace_parent(self) -> str:
        self._trace_parent = self._trace_parent or child_of(self._parent)
        return self._trace_parent

    def note(self, **attributes: Attribute) -> None:
        pass

    def failed(self, reason: str) -> None:
        pass

    def discard(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Untraced:
    """Sends no traces."""

    def span(self, name: str, parent: str = "", **attributes: Attribute) -> Span:
        """Return a span of which only the `traceparent` remains."""
        del name, attributes
        return _Unsent(parent)


UNTRACED: Final = Untraced()
"""For who is not given anything else. It has no state."""
