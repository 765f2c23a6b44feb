"""The way `push`: the file is sent to the worker before its step is started.

What breaks off is tried again after a pause, and goes on from where it was with receivers that can do that (`pushed`).
The address of a target is checked at each try (`targets`), and no redirect is followed. Nothing has to be remembered:
who comes after a death asks the receiver how much it has.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, NamedTuple

import httpx
import structlog

from ...errors import Unavailable
from ..download import server_of
from ..pushed import PARTIAL, number, read_digest, written_digest
from .base import NotDelivered, Way
from .pull import ASK, PullWay
from .targets import TargetRefused

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator
    from datetime import timedelta

    from ...blobs.base import BlobStore
    from ...clock import Clock
    from ...events.types import StartPostprocessingStep
    from .base import Report
    from .digests import Digests
    from .targets import Targets
    from .tokens import Tokens

log = structlog.get_logger(__name__)

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_PASSING: Final = frozenset({408, 409, 423, 425, 429, 460, 500, 502, 503, 504, 507})
"""What may be otherwise next time; any other refusal stays one."""
_TAKEN: Final = frozenset({200, 201, 204})


class _Failed(Exception):
    """A try has failed; another one may not."""


class _Refused(Exception):
    """A try has failed, and so would every other."""


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

    def __init__(self, url: str, pushing: Pushing) -> None:
        """`url` is the worker's address, without a slash at its end."""
        self._url = url
        self._how = pushing

    async def address(self, start: StartPostprocessingStep, start_id: str, report: Report) -> str:
        """Send the file; return where it was sent to."""
        how = self._how
        sha256 = await how.digests.of(start, report)
        push = _Push(how, f"{self._url}/{start_id}", start, sha256, report)
        began_at = how.clock.monotonic()
        for tried in range(1, how.tries + 1):
            try:
                await push.attempt()
            except (_Refused, TargetRefused) as error:
                raise self._not_delivered(tried, began_at, error) from error
            except (_Failed, Unavailable) as error:
                log.info("push_failed", server=server_of(self._url), upload=start.upload_id, tried=tried)
                if tried == how.tries:
                    raise self._not_delivered(tried, began_at, error) from error
                report(None, f"could not send the file to {server_of(self._url)}, tries again: {error}")
                await asyncio.sleep(min(_FIRST_PAUSE_SECONDS * 2 ** (tried - 1), _LONGEST_PAUSE_SECONDS))
            else:
                break
        return push.url

    def _not_delivered(self, tried: int, began_at: float, error: Exception) -> NotDelivered:
        times = "once" if tried == 1 else f"{tried} times in {self._how.clock.monotonic() - began_at:.0f} s"
        return NotDelivered(
            f"the file could not reach the worker at {server_of(self._url)}: tried {times}; the last time, {error}"
        )


class PushOnRequestWay(PullWay):
    """Tells the step where to ask for its file, which is then sent by `push`."""

    name = "push-on-request"

    def __init__(self, url: str, tokens: Tokens, push: Way) -> None:
        """`url` is where steps reach this server; `push` sends a file."""
        super().__init__(url, tokens, below=f"/{ASK}")
        self.push = push


class _Push:
    """One file on its way to one place."""

    def __init__(self, how: Pushing, url: str, start: StartPostprocessingStep, sha256: str, report: Report) -> None:
        self.url = url
        self._how = how
        self._start = start
        self._sha256 = sha256
        self._report = report

    async def attempt(self) -> None:
        """Send what the receiver lacks.

        Raises:
            _Failed, _Refused, TargetRefused, TargetUnknown: it does not have all of it.
        """
        stall = self._how.stall_limit.total_seconds()
        asked = httpx.URL(self.url)
        port = asked.port or (443 if asked.scheme == "https" else 80)
        address = await self._how.targets.address(asked.host, port)
        # The address that was checked is the one that is connected to; everything else goes by the name.
        to = asked.copy_with(host=address)
        headers = {"Host": asked.netloc.decode("ascii")}
        if self._how.secret:
            headers["Authorization"] = f"Bearer {self._how.secret}"
        async with httpx.AsyncClient(
            verify=self._how.tls,
            timeout=httpx.Timeout(stall, connect=min(10.0, stall), pool=None),
            follow_redirects=False,
            trust_env=False,
            headers=headers,
        ) as client:
            try:
                async with asyncio.timeout(self._patience_seconds):
                    await self._send(client, to, {"sni_hostname": asked.host})
            except httpx.HTTPError as error:
                raise _Failed(str(error) or type(error).__name__) from error
            except TimeoutError as error:
                raise _Failed("it took the bytes too slowly") from error

    @property
    def _patience_seconds(self) -> float:
        """A receiver that trickles is given up: at least 256 KiB a second are asked for, after some grace."""
        return 2 * self._how.stall_limit.total_seconds() + self._start.filesize / (256 * 1024)

    async def _send(self, client: httpx.AsyncClient, to: httpx.URL, extensions: dict[str, str]) -> None:
        offset = await self._offset(client, to, extensions)
        if offset is None:
            return
        size = self._start.filesize
        headers = {
            "Content-Length": str(size - offset),
            "Content-Type": PARTIAL if offset else "application/octet-stream",
            "Repr-Digest": written_digest(self._sha256),
            "Penstock-Upload": self._start.upload_id,
            "Penstock-Step": self._start.step_to_start,
        }
        if offset:
            headers |= {"Upload-Offset": str(offset), "Upload-Length": str(size), "Upload-Complete": "?1"}
        method = "PATCH" if offset else "PUT"
        answer = await client.request(method, to, headers=headers, content=self._body(offset), extensions=extensions)
        _check(answer)

    async def _offset(self, client: httpx.AsyncClient, to: httpx.URL, extensions: dict[str, str]) -> int | None:
        """Return from where on to send; None when all of it is there."""
        answer = await client.head(to, extensions=extensions)
        offset = number(answer.headers.get("Upload-Offset"))
        if answer.status_code not in _TAKEN or offset is None or offset > self._start.filesize:
            return 0
        if answer.headers.get("Upload-Complete") != "?1":
            return offset if offset < self._start.filesize else 0
        return None if read_digest(answer.headers.get("Repr-Digest", "")) == self._sha256 else 0

    async def _body(self, offset: int) -> AsyncGenerator[bytes, None]:
        size, where = self._start.filesize, server_of(self.url)
        async with aclosing(self._how.blobs.read(self._start.upload_id, start=offset, stop=size)) as pieces:
            async for piece in pieces:
                yield piece
                offset += len(piece)
                self._report(offset / size, f"sent {offset} of {size} bytes to {where}")


def _check(answer: httpx.Response) -> None:
    status = answer.status_code
    if status in _TAKEN:
        return
    said = f"it answered {status} {answer.reason_phrase}".strip()
    if answer.is_redirect:
        said += ", which is not followed: set the address that it leads to"
    raise _Failed(said) if status in _PASSING else _Refused(said)
