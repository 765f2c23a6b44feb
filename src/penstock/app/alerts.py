"""Posts alerts to where the administrator wants them, again and again until they are taken.

What waits is in memory: an alert that could not be posted when the process ends is tried once more, and then given up.
The log and the metrics have it in any case.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self

import httpx
import msgspec
import structlog

from ..antivirus.alert import AlertKind

if TYPE_CHECKING:
    from ..antivirus.alert import Alert
    from ..clock import Clock
    from ..telemetry import Metrics

log = structlog.get_logger(__name__)

_MOST_WAITING: Final = 1000
_TRIES: Final = 20
"""With pauses that double from 1 s up to 5 minutes: an hour and more."""
_LONGEST_PAUSE_SECONDS: Final = 300.0
_TIMEOUT_SECONDS: Final = 10.0
_LAST_ONES_SECONDS: Final = 5.0
_SCANNER_QUIET_SECONDS: Final = 300.0
"""A scanner that comes and goes is told of this often at most."""
_AGAIN: Final = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


class Alerts:
    """Takes alerts at once, and posts them one after the other while its context is open."""

    def __init__(self, url: str | None, *, token: str = "", clock: Clock, metrics: Metrics | None = None) -> None:
        """`url`: where to; None: alerts are counted, and no more. `token`: sent as a bearer token, if there is one."""
        self._url = url
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._clock = clock
        self._metrics = metrics
        self._waiting: deque[Alert] = deque()
        self._news = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._quiet_until = float("-inf")
        self._said_not_used = False

    async def __aenter__(self) -> Self:
        # Certificates are read here, and only where something is to be posted: that takes a while.
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False) if self._url else None
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
                while self._waiting and await self._post(self._client, self._waiting[0]):
                    self._waiting.popleft()
        for alert in self._waiting:
            self._give_up(alert, "the service ended")
        await self._client.aclose()

    def tell(self, alert: Alert) -> None:
        """Take an alert; it is posted in its turn."""
        if alert.kind is AlertKind.VIRUS_FOUND and self._metrics is not None:
            self._metrics.viruses_found.labels(alert.scanner).inc()
        if self._url is None or not self._is_wanted(alert):
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._give_up(self._waiting.popleft(), f"more than {_MOST_WAITING} wait")
        self._waiting.append(alert)
        self._news.set()

    def _is_wanted(self, alert: Alert) -> bool:
        if alert.kind is AlertKind.SCANNER_READY:
            wanted, self._said_not_used = self._said_not_used, False
            return wanted
        if alert.kind is AlertKind.SCANNER_NOT_USED:
            now = self._clock.monotonic()
            if now < self._quiet_until:
                return False
            self._quiet_until, self._said_not_used = now + _SCANNER_QUIET_SECONDS, True
        return True

    async def _post_all(self) -> None:
        while self._client is not None:
            self._news.clear()
            while self._waiting:
                alert = self._waiting[0]
                await self._post_in_time(self._client, alert)
                if self._waiting and self._waiting[0] is alert:
                    self._waiting.popleft()
            await self._news.wait()

    async def _post_in_time(self, client: httpx.AsyncClient, alert: Alert) -> None:
        for number in range(_TRIES):
            if await self._post(client, alert):
                return
            pause = min(_LONGEST_PAUSE_SECONDS, 2.0**number)
            await self._clock.sleep(timedelta(seconds=pause))
        self._give_up(alert, f"tried {_TRIES} times")

    async def _post(self, client: httpx.AsyncClient, alert: Alert) -> bool:
        """Post it once; return whether it is done with. The address may be a secret, and is not logged."""
        body = msgspec.json.encode(alert)
        try:
            async with self._one_at_a_time:
                answer = await client.post(self._url or "", content=body, headers=self._headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            log.warning("alert_not_posted", kind=alert.kind, upload=alert.upload_id, error=type(error).__name__)
            return False
        if answer.is_success:
            self._count("sent")
            return True
        log.warning("alert_not_posted", kind=alert.kind, upload=alert.upload_id, status=answer.status_code)
        if answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR and answer.status_code not in _AGAIN:
            self._give_up(alert, f"it was answered with status {answer.status_code}")
            return True
        return False

    def _give_up(self, alert: Alert, why: str) -> None:
        self._count("failed")
        log.error("alert_given_up", kind=alert.kind, id=alert.id, upload=alert.upload_id, why=why)

    def _count(self, result: str) -> None:
        if self._metrics is not None:
            self._metrics.alerts.labels(result).inc()
