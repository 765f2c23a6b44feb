"""Hears what is published to the stream's subject, beside the stream: nothing is kept for us, nothing is shared."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...events.codec import UndecodableEvent, UnknownEventType, decode
from ..hearers import Hearers
from .streams import EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...jetstream import NatsClient
    from ..base import Hearer


class Listening:
    """One subscription for all who listen in this process, there while somebody does."""

    def __init__(self, client: NatsClient) -> None:
        self._client = client
        self._hearers = Hearers()
        self._mentions: tuple[bytes, ...] = ()
        self._handle: int | None = None

    @contextmanager
    def added(self, types: Sequence[type], hearer: Hearer) -> Iterator[None]:
        """Have `hearer` be told of events of `types` while the context is open."""
        try:
            with self._hearers.added(types, hearer):
                self._arrange()
                yield
        finally:
            self._arrange()

    def _arrange(self) -> None:
        self._mentions = tuple(kind.__name__.encode() for kind in self._hearers.types)
        if self._mentions and self._handle is None:
            self._handle = self._client.listen(EVENTS, self._receive)
        elif not self._mentions and self._handle is not None:
            self._client.unlisten(self._handle)
            self._handle = None

    def _receive(self, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        del subject, reply, headers
        # An event's type stands in its envelope in clear. To decode all that goes by would cost more than the rest.
        if not any(name in data for name in self._mentions):
            return
        try:
            envelope = decode(data)
        except (UnknownEventType, UndecodableEvent):
            return  # who reads the stream for a group sets aside what is broken
        self._hearers.tell(envelope)
