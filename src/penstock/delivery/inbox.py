"""Delivery `inbox`: the bytes were pushed into a folder of this machine before the step was started.

`steps.receiving` puts them there. The last part of the start event's address is the file's name. Where that
address is one to ask at (`push-on-request`), it is asked, and the file waited for. What is not there is fetched like
anything else. A file is removed once its step is done with it; while the step has it, it is locked, and
not taken for forgotten.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

import httpx

from .addresses import server_of
from .base import BytesGone, BytesUnavailable, Delivery
from .download import STALL_LIMIT
from .localfile import LocalBytes
from .pushed import ID

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from datetime import timedelta
    from pathlib import Path

    from ..events.types import StartPostprocessingStep
    from .base import Delivered

_ASK: Final = "/delivery/push"
_ASKED: Final = 3
_ANSWER_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.1


class InboxDelivery(Delivery):
    """Hands out what was pushed. Open it before use."""

    def __init__(
        self,
        folder: Path,
        otherwise: Delivery,
        *,
        tls: ssl.SSLContext | bool = True,
        stall_limit: timedelta = STALL_LIMIT,
    ) -> None:
        """Build a delivery.

        Args:
            folder: where the receiver puts files.
            otherwise: has what is not there.
            tls: how who is asked has to prove who it is; False believes any.
            stall_limit: how long to wait without more of a file coming, before it is asked for again.
        """
        self._folder = folder
        self._otherwise = otherwise
        self._tls = tls
        self._stall_seconds = stall_limit.total_seconds()

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(verify=self._tls, timeout=_ANSWER_SECONDS, trust_env=False)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.aclose()

    def deliver(self, start: StartPostprocessingStep) -> AbstractAsyncContextManager[Delivered]:
        """Hand out the file; it is removed at the end, unless that is the end of this process: then it comes again."""
        name = _name_in(start.url)
        if name is None:
            return self._otherwise.deliver(start)
        return self._deliver(start, self._folder / name)

    @asynccontextmanager
    async def _deliver(self, start: StartPostprocessingStep, path: Path) -> AsyncIterator[Delivered]:
        if not await asyncio.to_thread(path.exists):
            if not _is_to_ask(start.url):
                async with self._otherwise.deliver(start) as delivered:
                    yield delivered
                return
            await self._ask(start, path)
        descriptor = await asyncio.to_thread(_opened, path, start)
        try:
            yield LocalBytes(path, start.filesize)
        except Exception:
            await asyncio.to_thread(path.unlink, missing_ok=True)  # the attempt has failed; the next one has its own
            raise
        else:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        finally:
            os.close(descriptor)

    async def _ask(self, start: StartPostprocessingStep, path: Path) -> None:
        """Ask for the file, and wait until it is there.

        Raises:
            BytesGone: the step is over.
            BytesUnavailable: it does not come.
        """
        for _ in range(_ASKED):
            try:
                # Only the status counts: nothing of the body is read, however much there is of it.
                async with asyncio.timeout(_ANSWER_SECONDS), self._client.stream("POST", start.url) as answer:
                    status = answer.status_code
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
                reason = str(error) or "no answer in time"
                raise BytesUnavailable(f"{server_of(start.url)} could not be asked: {reason}") from error
            if status == HTTPStatus.GONE:
                raise BytesGone(f"{server_of(start.url)} answered 410: the step is over")
            if not 200 <= status < 300:
                raise BytesUnavailable(f"{server_of(start.url)} answered {status} when asked for the file")
            if await self._comes(path):
                return
        raise BytesUnavailable(f"{server_of(start.url)} was asked for the file {_ASKED} times, and it did not come")

    async def _comes(self, path: Path) -> bool:
        """Wait for a file for as long as more of it arrives."""
        loop, part, seen_bytes = asyncio.get_running_loop(), path.with_name(f".{path.name}.part"), -1
        heard_at = loop.time()
        while loop.time() - heard_at < self._stall_seconds:
            there, size_bytes = await asyncio.to_thread(_look, path, part)
            if there:
                return True
            if size_bytes != seen_bytes:
                seen_bytes, heard_at = size_bytes, loop.time()
            await asyncio.sleep(_LOOK_SECONDS)
        return False


def _look(path: Path, part: Path) -> tuple[bool, int]:
    try:
        return path.exists(), part.stat().st_size
    except FileNotFoundError:
        return path.exists(), 0


def _is_to_ask(url: str) -> bool:
    return urlsplit(url).path.rpartition("/")[0].rpartition("/")[0].endswith(_ASK)


def _name_in(url: str) -> str | None:
    try:
        name = urlsplit(url).path.rpartition("/")[2]
    except ValueError:
        return None
    return name if ID.fullmatch(name) else None


def _opened(path: Path, start: StartPostprocessingStep) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BytesUnavailable(f"{path} cannot be opened: {error.strerror}") from error
    try:
        _check(descriptor, path, start)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        _check_kept(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(descriptor: int, path: Path, start: StartPostprocessingStep) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size != start.filesize:
        raise BytesUnavailable(f"{path} is not the {start.filesize} bytes of upload {start.upload_id}")


def _check_kept(descriptor: int, path: Path) -> None:
    """Make sure, once it is locked, that nobody has removed it between opening and locking it."""
    if not os.fstat(descriptor).st_nlink:
        raise BytesUnavailable(f"{path} was removed just now: no step had come for it for too long")
