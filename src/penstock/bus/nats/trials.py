"""Finds out which event ends the process that handles it, so that it does not do so for ever.

The server counts deliveries, but an event may come often for good reasons: a store that is away, workers that are busy.
So an event that has come suspiciously often is handled under a mark, in the stream of what is set aside, which is
removed when its handler has ended in whatever way. A mark that is still there when the event comes again stands for a
process that has died, or hangs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog
from nats import errors
from nats.js.errors import NotFoundError

from .outbox import Message
from .streams import SET_ASIDE, SET_ASIDE_SUBJECT

if TYPE_CHECKING:
    from nats.js.manager import JetStreamManager

    from ...jetstream import NatsClient
    from .consumers import Consumer
    from .outbox import Outbox

log = structlog.get_logger(__name__)


class Trial:
    """The handling of one event under a mark."""

    def __init__(self, subject: str, client: NatsClient, manager: JetStreamManager, outbox: Outbox) -> None:
        self._subject = subject
        self._client = client
        self._manager = manager
        self._outbox = outbox

    async def deaths(self) -> int:
        """Return how many processes have begun to handle the event and never came to an end with it.

        Raises:
            nats.errors.Error: there is no answer.
        """
        try:
            info = await self._manager.stream_info(SET_ASIDE, subjects_filter=self._subject)
        except NotFoundError:
            return 0
        return (info.state.subjects or {}).get(self._subject, 0)

    async def begin(self) -> None:
        """Leave a mark; only then handle the event.

        Raises:
            BusUnavailable: it may or may not be there.
        """
        await self._outbox.publish([Message(self._subject.encode(), b"", b"")])

    def end(self) -> None:
        """Remove all marks of the event: this process has survived it. A mark that stays all the same is only one."""
        question = json.dumps({"filter": self._subject}).encode()
        try:
            self._client.send(f"$JS.API.STREAM.PURGE.{SET_ASIDE}".encode(), question)
        except errors.Error as error:
            log.warning("trial_mark_stays", subject=self._subject, error=str(error) or type(error).__name__)


class Trials:
    """Makes the trials of all events."""

    def __init__(self, client: NatsClient, manager: JetStreamManager, outbox: Outbox) -> None:
        self._client = client
        self._manager = manager
        self._outbox = outbox

    def of(self, consumer: Consumer, sequence: int) -> Trial:
        """Return the trial of the event that has number `sequence` in the stream, for the group of a consumer.

        A stream that was made anew counts anew; so its consumer's age is part of the name.
        """
        since = int(consumer.created.timestamp())
        subject = f"{SET_ASIDE_SUBJECT}.trial.{consumer.name}.{since}.{sequence}"
        return Trial(subject, self._client, self._manager, self._outbox)
