"""The way `push`: the file is sent to the worker before its step is started.

What breaks off is tried again after a pause, and goes on from where it was with receivers that can do that. How a file
is handed over is a manner of its own: `putting`, `posting`, `tus`. The address of a target is checked at each try
(`targets`), and no redirect is followed (`line`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from ...errors import Unavailable
from ..addresses import server_of
from .base import NotDelivered, Way
from .line import Failed, Refused, open_line
from .parcel import Parcel
from .targets import TargetRefused, TargetUnknown

if TYPE_CHECKING:
    import ssl
    from datetime import timedelta

    from ...blobs.base import BlobStore
    from ...clock import Clock
    from ...events.types import StartPostprocessingStep
    from .base import Report
    from .digests import Digests
    from .parcel import Manner
    from .targets import Targets

log = structlog.get_logger(__name__)

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_GETTING_ON_BYTES: Final = 1024 * 1024
"""A try that got so much further is not counted: a line that breaks now and then is no reason to give a file up."""
_SLOWEST_BYTES_PER_SECOND: Final = 256 * 1024


class Pushing(NamedTuple):
    """How files are sent, whatever the step."""

    blobs: BlobStore
    digests: Digests
    targets: Targets
    clock: Clock
    tls: ssl.SSLContext | bool
    secret: str
    """Shown to receivers as a bearer token; empty: none."""
    tries: int
    stall_limit: timedelta


class PushWay(Way):
    """Sends files to one worker."""

    name = "push"
    at_once = False

    def __init__(self, url: str, pushing: Pushing, manner: Manner) -> None:
        """`url` is the worker's address, without a slash at its end; `manner` is how it takes files."""
        self._url = url
        self._how = pushing
        self._manner = manner

    async def address(self, start: StartPostprocessingStep, start_id: str, report: Report) -> str:
        """Send the file; return where it was sent to."""
        how = self._how
        sha256 = await how.digests.of(start.upload_id, start.filesize, report)
        parcel = Parcel(how.blobs, start, start_id, sha256=sha256, report=report)
        began_at, tried, all_tries, furthest = how.clock.monotonic(), 0, 0, 0
        while True:
            all_tries += 1
            try:
                return await self._send(parcel)
            except (Failed, Unavailable, TargetRefused) as error:
                tried = 1 if parcel.kept_bytes - furthest >= _GETTING_ON_BYTES else tried + 1
                furthest = max(furthest, parcel.kept_bytes)
                log.info("push_failed", server=server_of(self._url), upload=start.upload_id, tried=all_tries)
                if tried >= how.tries or isinstance(error, Refused | TargetRefused):
                    raise self._not_delivered(all_tries, began_at, error) from error
                report(None, f"could not send the file to the worker, tries again: {_told(error)}")
            await asyncio.sleep(min(_FIRST_PAUSE_SECONDS * 2 ** (tried - 1), _LONGEST_PAUSE_SECONDS))

    async def _send(self, parcel: Parcel) -> str:
        """Send what the receiver lacks.

        Raises:
            Failed, Refused, TargetRefused, Unavailable: it does not have all of it.
        """
        how = self._how
        line = open_line(self._url, how.targets, tls=how.tls, secret=how.secret, stall_limit=how.stall_limit)
        async with line as opened:
            try:
                # A receiver that trickles is given up.
                async with asyncio.timeout(
                    2 * how.stall_limit.total_seconds() + parcel.size_bytes / _SLOWEST_BYTES_PER_SECOND
                ):
                    return await self._manner.send(opened, parcel)
            except TimeoutError as error:
                raise Failed("it took the bytes too slowly") from error

    def _not_delivered(self, tried: int, began_at: float, error: Exception) -> NotDelivered:
        times = "once" if tried == 1 else f"{tried} times in {self._how.clock.monotonic() - began_at:.0f} s"
        return NotDelivered(
            f"the file could not reach the worker at {server_of(self._url)}: tried {times}; the last time, {error}",
            told=f"the file could not reach the worker: tried {times}; the last time, {_told(error)}",
        )


def _told(error: Exception) -> str:
    """Return why a try failed, without the names of our machines."""
    match error:
        case Failed(told=told):
            return told
        case TargetRefused():
            return "its address is not one that files may be sent to"
        case TargetUnknown():
            return "its host has no address right now"
        case _:
            return "the file could not be read from the storage"
