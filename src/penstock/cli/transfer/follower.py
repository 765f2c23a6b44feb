"""Waits for what becomes of uploads.

The stream of events says at once when something happens; what is true is asked of the server, when an event says that
it has changed, after each new connection, and every now and then in any case: some proxies hold streams back.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx

from ...errors import NotFound
from ..api import PREFIX, Refused, ServerAway, cause, document
from ..show import releasing_of
from .patience import GaveUp, Patience
from .sse import EventReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import timedelta

    from ...clock import Clock
    from .sse import Event

ENDED: Final = frozenset({"released", "rejected", "deleted", "cancelled", "expired"})
_SILENCE_SECONDS: Final = 60.0
"""The server sends a sign of life every 15 s; after four missing ones the connection is dead."""
_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0, read=_SILENCE_SECONDS, pool=None)
_LOOK_SECONDS: Final = 15.0
_LOOK_WITHOUT_STREAM_SECONDS: Final = 2.0
_QUESTIONS_A_SECOND: Final = 50


@dataclass(slots=True)
class _Waiting:
    """One upload that somebody waits for."""

    look: asyncio.Event = field(default_factory=asyncio.Event)


class Follower:
    """Waits for any number of uploads over one stream of events. Open it before the first of them is complete.

    Args:
        client: The connections to the server.
        url: Its address.
        patience: How long the server may not answer before giving up; how long the steps take does not matter.
        clock: Measures that.
    """

    def __init__(self, client: httpx.AsyncClient, url: str, *, patience: timedelta, clock: Clock) -> None:
        self._client = client
        self._url = url
        self._patience = patience
        self._clock = clock
        self._waiting: dict[str, _Waiting] = {}
        self._listening = False
        self._last_id = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear events while the context is open."""
        listener = asyncio.create_task(self._listen(), name="listen")
        try:
            yield
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def outcome(
        self, upload_id: str, shown: str, *, heard: Callable[[str], None], troubled: Callable[[str], None]
    ) -> dict[str, Any]:
        """Wait until an upload has ended, and return what the server says of it.

        Args:
            upload_id: The upload.
            shown: Its file, for errors.
            heard: Is told in a few words what happens meanwhile.
            troubled: Is told why the server does not answer.

        Raises:
            NotFound: the server does not know it any more.
            GaveUp: the server has not answered for too long.
        """
        waiting = self._waiting[upload_id] = _Waiting()
        patience = Patience(self._patience, clock=self._clock)
        try:
            while True:
                waiting.look.clear()
                try:
                    view = await self._view(upload_id)
                except (httpx.TransportError, ServerAway) as error:
                    reason = cause(error) if isinstance(error, httpx.TransportError) else str(error)
                    troubled(reason)
                    await patience.pause(shown, reason)
                    continue
                patience.progress()
                if view["phase"] in ENDED:
                    return view
                heard(_standing(view))
                await self._until_news(waiting)
        finally:
            del self._waiting[upload_id]

    async def _view(self, upload_id: str) -> dict[str, Any]:
        answer = await self._client.get(f"{self._url}{PREFIX}/uploads/{upload_id}", timeout=_TIMEOUT)
        return document(self._url, answer)

    async def _until_news(self, waiting: _Waiting) -> None:
        seconds = _LOOK_SECONDS if self._listening else _LOOK_WITHOUT_STREAM_SECONDS
        try:
            async with asyncio.timeout(max(seconds, len(self._waiting) / _QUESTIONS_A_SECOND)):
                await waiting.look.wait()
        except TimeoutError:
            return

    async def _listen(self) -> None:
        """Hear events for ever; while that does not work, those who wait ask often."""
        patience = Patience(self._patience, clock=self._clock)
        while True:
            try:
                async for event in self._events():
                    patience.progress()
                    self._note(event)
                reason = "the stream of events ended"
            except (httpx.TransportError, httpx.StreamError, ServerAway, NotFound, Refused, ValueError) as error:
                reason = str(error)
            finally:
                self._listening = False
            try:
                await patience.pause(self._url, reason)
            except GaveUp:
                patience.progress()  # whoever waits asks by itself, and gives up by itself

    async def _events(self) -> AsyncIterator[Event]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": self._last_id} if self._last_id else {})
        async with self._client.stream(
            "GET", f"{self._url}{PREFIX}/events", headers=headers, timeout=_TIMEOUT
        ) as answer:
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                await answer.aread()
                document(self._url, answer)
                raise Refused(f"{self._url} has no stream of events")
            self._listening = True
            for waiting in self._waiting.values():
                waiting.look.set()  # what was missed in between is asked for
            reader = EventReader()
            async for piece in answer.aiter_bytes():
                for event in reader.feed(piece):
                    self._last_id = event.last_id or self._last_id
                    yield event

    def _note(self, event: Event) -> None:
        try:
            facts = json.loads(event.data)
            waiting = self._waiting.get(facts["upload"])
        except (ValueError, KeyError, TypeError):
            return  # an event of a newer server that we have no use for
        if waiting is not None:
            waiting.look.set()


def _standing(view: dict[str, Any]) -> str:
    """Tell in a few words where an upload stands."""
    if releasing := releasing_of(view):
        return releasing
    run = view["processing"]
    if run is None:
        return str(view["phase"])
    if run["state"] == "backoff":
        return f"{run['step']}: tried {run['attempt']} times, again at {run['next_try_at'][11:19]} UTC"
    share = f" {run['fraction']:.0%}" if run["fraction"] else ""
    return f"{run['step']}{share}" + (" (stalled)" if run["stalled"] else "")
