"""Reads what a stream holds already, without leaving a trace."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final

import structlog
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from ...events.codec import UndecodableEvent, UnknownEventType, decode
from ...jetstream.headers import status_of
from .history import History
from .messages import delivery_of
from .streams import EVENTS

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from nats.js.manager import JetStreamManager

    from ...jetstream import NatsClient

log = structlog.get_logger(__name__)

_AT_A_TIME: Final = 500
_SILENCE_SECONDS: Final = 5.0
"""Whoever has not answered for so long has lost our question."""
_FORGOTTEN_AFTER_SECONDS: Final = 60.0


async def read_past(
    client: NatsClient,
    manager: JetStreamManager,
    types: AbstractSet[type],
    *,
    first: int | datetime,
    last: int | None,
) -> tuple[frozenset[int], int]:
    """Read the stream of events from `first` to `last` (None: to its present end).

    Returns:
        The sequences of the events of `types` whose uploads have no end there, and the last sequence.

    Raises:
        nats.errors.Error: it could not be read to the end.
    """
    state = (await manager.stream_info(EVENTS)).state
    last = state.last_seq if last is None else last
    history = History(types)
    if state.messages and not (isinstance(first, int) and first > last):
        await _Reading(client, history, last).run(manager, first)
    return history.open(), last


class _Reading:
    """One pass over the stream."""

    def __init__(self, client: NatsClient, history: History, last: int) -> None:
        self._client = client
        self._history = history
        self._last = last
        self._inbox = client.new_inbox()
        self._asked = 0
        self._read = 0
        self._done = False
        self._heard = asyncio.Event()

    async def run(self, manager: JetStreamManager, first: int | datetime) -> None:
        by_time = isinstance(first, datetime)
        info = await manager.add_consumer(
            EVENTS,
            ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_TIME if by_time else DeliverPolicy.BY_START_SEQUENCE,
                opt_start_time=first if isinstance(first, datetime) else None,
                opt_start_seq=None if isinstance(first, datetime) else first,
                ack_policy=AckPolicy.NONE,
                inactive_threshold=_FORGOTTEN_AFTER_SECONDS,
                mem_storage=True,
            ),
        )
        handle = self._client.listen(self._inbox, self._receive)
        try:
            await self._read_all(f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS}.{info.name}".encode())
        finally:
            self._client.unlisten(handle)
        with suppress(NotFoundError):
            await manager.delete_consumer(EVENTS, info.name)
        if self._read >= 10_000:
            log.info("past_read", stream=EVENTS, events=self._read)

    async def _read_all(self, next_message: bytes) -> None:
        question = json.dumps({"batch": _AT_A_TIME, "no_wait": True}).encode()
        while not self._done:
            if self._asked <= 0:
                self._asked = _AT_A_TIME
                self._client.send(next_message, question, reply=self._inbox.encode())
            self._heard.clear()
            try:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    await self._heard.wait()
            except TimeoutError as error:
                raise NatsTimeout from error

    def _receive(self, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        del subject
        self._heard.set()
        delivery = delivery_of(reply)
        if delivery is None:
            if status_of(headers) in (b"404", b"408"):  # fewer messages than asked for
                self._done = True
            return
        self._asked -= 1
        self._read += 1
        if delivery.sequence <= self._last:
            self._note(delivery.sequence, data)
        self._done = self._done or delivery.sequence >= self._last or delivery.pending == 0

    def _note(self, sequence: int, data: bytes) -> None:
        try:
            self._history.add(sequence, decode(data).event)
        except UnknownEventType:
            pass
        except UndecodableEvent:
            self._history.add_undecodable(sequence)
