"""Posts alerts to where the administrator wants them, again and again until they are taken.

What waits is in memory: an alert that could not be posted when the process ends is tried once more, and then given up.
The log and the metrics have it in any case.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self

import msgspec
import structlog

from ..antivirus.alert import Alert, AlertKind
from ..errors import ConfigurationError

if TYPE_CHECKING:
    import httpx

    from ..clock import Clock
    from ..telemetry import Metrics

log = structlog.get_logger(__name__)

_MOST_WAITING: Final = 1000
_TRIES: Final = 20
"""With pauses that double from 1 s up to 5 minutes: an hour and more."""
_LONGEST_PAUSE_SECONDS: Final = 300.0
_TIMEOUT_SECONDS: Final = 10.0
"""For each post as a whole, up to the beginning of the answer; what follows that is not read."""
_LAST_ONES_SECONDS: Final = 5.0
_SCANNER_QUIET_SECONDS: Final = 300.0
"""A scanner that comes and goes is told of this often at most."""
_AGAIN: Final = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(slots=True, eq=False)
class _Waiting:
    """An alert that is still to be posted."""

    alert: Alert
    due_at: float
    tries: int = 0


class Alerts:
    """Takes alerts at once, and posts them one after the other while its context is open.

    One that is not taken waits for its next turn by itself: the others go on.
    """

    def __init__(self, url: str | None, *, token: str = "", clock: Clock, metrics: Metrics | None = None) -> None:
        """`url`: where to; None: alerts are counted, and no more. `token`: sent as a bearer token, if there is one.

        Raises:
            ConfigurationError: the token is none.
        """
        if not all("!" <= mark <= "~" for mark in token):
            raise ConfigurationError(
                "antivirus_alert_token: not a bearer token, for it has marks in it that a header cannot carry. Write "
                "letters, digits and signs of ASCII, without spaces."
            )
        self._url = url
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._clock = clock
        self._metrics = metrics
        self._waiting: deque[_Waiting] = deque()
        self._news = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._quiet_until = float("-inf")
        self._said_not_used = False
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        if self._url is not None:
            # Loading it, and the certificates that a client reads, takes a while: only who posts waits for that.
            import httpx

            self._client = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False)
        self._posting = asyncio.create_task(self._post_all())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(_LAST_ONES_SECONDS),
                self._one_at_a_time,
            ):  # what is being posted comes to its end
                self._posting.cancel()
        self._posting.cancel()
        await asyncio.gather(self._posting, return_exceptions=True)
        if self._client is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_ONES_SECONDS):
                for one in list(self._waiting):
                    if await self._post(self._client, one.alert):
                        self._waiting.remove(one)
        for one in self._waiting:
            self._give_up(one.alert, "the service ended")
        await self._client.aclose()

    def tell(self, alert: Alert) -> None:
        """Take an alert; it is posted in its turn."""
        if alert.kind is AlertKind.VIRUS_FOUND and self._metrics is not None:
            self._metrics.viruses_found.labels(alert.scanner).inc()
        if self._url is None or not self._is_wanted(alert):
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._give_up(self._waiting.popleft().alert, f"more than {_MOST_WAITING} wait")
        self._waiting.append(_Waiting(alert, self._clock.monotonic()))
        self._news.set()

    def _is_wanted(self, alert: Alert) -> bool:
        """Tell whether it is news; a scanner that is not used is told of again and again, so nothing is missed."""
        if alert.kind is AlertKind.SCANNER_READY:
            wanted, self._said_not_used = self._said_not_used, False
            return wanted
        if alert.kind is AlertKind.SCANNER_NOT_USED:
            now = self._clock.monotonic()
            if self._said_not_used or now < self._quiet_until:
                return False
            self._quiet_until, self._said_not_used = now + _SCANNER_QUIET_SECONDS, True
        return True

    async def _post_all(self) -> None:
        while self._client is not None:
            self._news.clear()
            one = min(self._waiting, key=lambda waiting: waiting.due_at, default=None)
            if one is None:
                await self._news.wait()
            elif (pause := one.due_at - self._clock.monotonic()) > 0:
                await self._news_or(pause)
            else:
                await self._take_turn(self._client, one)

    async def _news_or(self, pause_seconds: float) -> None:
        """Wait until it is time for one that waits, or another has come."""
        pause = asyncio.ensure_future(self._clock.sleep(timedelta(seconds=pause_seconds)))
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait({pause, news}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            news.cancel()
            await asyncio.gather(pause, news, return_exceptions=True)

    async def _take_turn(self, client: httpx.AsyncClient, one: _Waiting) -> None:
        done = await self._post(client, one.alert)
        one.tries += 1
        if one not in self._waiting:  # it was given up meanwhile
            return
        if not done and one.tries < _TRIES:
            one.due_at = self._clock.monotonic() + min(_LONGEST_PAUSE_SECONDS, 2.0 ** (one.tries - 1))
            return
        self._waiting.remove(one)
        if not done:
            self._give_up(one.alert, f"tried {_TRIES} times")

    async def _post(self, client: httpx.AsyncClient, alert: Alert) -> bool:
        """Post it once; return whether it is done with. The address may be a secret, and is not logged."""
        try:
            status = await self._status_of(client, alert)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others are to be posted
            log.warning("alert_not_posted", kind=alert.kind, upload=alert.upload_id, error=type(error).__name__)
            return False
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            self._count("sent")
            return True
        log.warning("alert_not_posted", kind=alert.kind, upload=alert.upload_id, status=status)
        if status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _AGAIN:
            self._give_up(alert, f"it was answered with status {status}")
            return True
        return False

    async def _status_of(self, client: httpx.AsyncClient, alert: Alert) -> int:
        """Return how it was answered; nothing but that is read, for nobody knows how long the answer is."""
        body = msgspec.json.encode(alert)
        async with (
            self._one_at_a_time,
            asyncio.timeout(_TIMEOUT_SECONDS),
            client.stream("POST", self._url or "", content=body, headers=self._headers) as answer,
        ):
            return answer.status_code

    def _give_up(self, alert: Alert, why: str) -> None:
        self._count("failed")
        log.error("alert_given_up", kind=alert.kind, id=alert.id, upload=alert.upload_id, why=why)

    def _count(self, result: str) -> None:
        if self._metrics is not None:
            self._metrics.alerts.labels(result).inc()
