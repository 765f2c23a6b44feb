"""Those who hear events as they are published."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..events.types import Envelope
    from .base import Hearer

log = structlog.get_logger(__name__)


class Hearers:
    """Who hears which types of events."""

    def __init__(self) -> None:
        self._by_type: dict[type, list[Hearer]] = {}

    @property
    def types(self) -> tuple[type, ...]:
        """The types that somebody hears."""
        return tuple(self._by_type)

    @contextmanager
    def added(self, types: Sequence[type], hearer: Hearer) -> Iterator[None]:
        """Have `hearer` be told of events of `types` while the context is open."""
        for kind in types:
            self._by_type.setdefault(kind, []).append(hearer)
        try:
            yield
        finally:
            for kind in types:
                hearers = self._by_type[kind]
                hearers.remove(hearer)
                if not hearers:
                    del self._by_type[kind]

    def tell(self, envelope: Envelope) -> None:
        """Tell all who hear its type of an event; that one of them fails is nobody else's business."""
        for hearer in tuple(self._by_type.get(type(envelope.event), ())):
            try:
                hearer(envelope)
            except Exception:
                log.exception("event_hearer_failed", event_type=envelope.event_type, event_id=envelope.event_id)
