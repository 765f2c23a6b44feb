"""Sends a file by tus, and goes on by itself: through cut connections, restarts of the server, and of this command."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

import httpx

from ...core.media_types import UNKNOWN, media_type_of
from ...errors import NotFound
from ..api import PREFIX, Refused, ServerAway, cause, document, explain
from . import tus
from .patience import Patience
from .sources import FileChanged, Fingerprint, unreadable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import timedelta
    from io import FileIO

    from ...clock import Clock
    from .remembered import Claim
    from .sources import Source

PIECE_BYTES: Final = 1024 * 1024
"""What is in memory at a time, and what is read from disk at once."""
_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0, read=180.0, pool=None)
"""The server answers after its disk has everything, which takes a while for large files. If that takes longer, asking
for the offset tells us all the same."""
_BEGINNINGS: Final = 3
"""How often an upload that has expired on the server is begun anew in one run."""


class _Later(Exception):
    """The server says that it may work later."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(explain(answer))
        self.seconds = tus.pause_in(answer.headers)


class Sender:
    """Sends files to one server.

    Args:
        client: The connections to it.
        url: Its address.
        space: Where files end up.
        patience: How long no byte may get through before giving up.
        clock: Measures that.
    """

    def __init__(self, client: httpx.AsyncClient, url: str, *, space: str, patience: timedelta, clock: Clock) -> None:
        self._client = client
        self._url = url
        self._space = space
        self._patience = patience
        self._clock = clock

    async def send(
        self,
        source: Source,
        claim: Claim,
        *,
        moved: Callable[[int], None],
        troubled: Callable[[str], None],
    ) -> str:
        """Send a file and return its upload ID; it has arrived, or had arrived before and was processed since.

        Args:
            source: The file.
            claim: What is remembered of it. It keeps the upload's address until the caller forgets it.
            moved: Is told how many bytes the server has or will have next.
            troubled: Is told why there is a pause.

        Raises:
            Refused: the server does not want it, or somebody cancelled it there.
            GaveUp: no progress for too long.
            FileChanged: the file was changed meanwhile; what had arrived is withdrawn.
            InvalidRequest: the file cannot be read.
        """
        fingerprint = source.fingerprint()
        one = _OneUpload(self, source, claim, fingerprint, moved)
        patience, best = Patience(self._patience, clock=self._clock), -1
        told: int | None = None
        sent = False
        while True:
            try:
                offset = await one.offset() if told is None else told
                stuck, told, sent = sent and offset == best, None, False
                if offset > best:
                    best = offset
                    patience.progress()
                moved(offset)
                if offset == fingerprint.size_bytes:
                    return one.upload_id
                if offset > fingerprint.size_bytes:
                    raise Refused(f"{source.shown}: the server has more bytes of it than there are")
                if stuck:
                    troubled("the server takes no bytes")
                    await patience.pause(source.shown, "the server takes no bytes")
                told, sent = await one.send_from(offset), True
            except FileChanged:
                await one.withdraw()
                raise
            except httpx.TransportError as error:
                troubled(cause(error))
                await patience.pause(source.shown, cause(error))
            except (_Later, ServerAway) as later:
                troubled(str(later))
                seconds = later.seconds if isinstance(later, _Later) else 0.0
                await patience.pause(source.shown, str(later), asked_seconds=seconds)

    # What `_OneUpload` asks of the server.

    async def create(self, source: Source, fingerprint: Fingerprint) -> str:
        """Begin an upload and return its address."""
        path = source.place if "/" in source.place else ""
        kind = media_type_of(source.path.name)
        filetype = "" if kind == UNKNOWN else kind
        metadata = {"filename": source.path.name, "filetype": filetype, "space": self._space, "path": path}
        headers = tus.creation(fingerprint.size_bytes, metadata)
        answer = await self._client.post(f"{self._url}/uploads/", headers=headers, timeout=_TIMEOUT)
        self._check(answer, source)
        if answer.status_code != 201 or "Location" not in answer.headers:
            raise Refused(
                f"what answers at {self._url} is no Penstock server. Name another one with --url or PENSTOCK_URL."
            )
        return str(httpx.URL(f"{self._url}/uploads/").join(answer.headers["Location"]))

    async def head(self, upload: str, source: Source) -> int | None:
        """Return how many bytes the server has; None when it has no such upload any more."""
        answer = await self._client.head(upload, headers=tus.VERSION, timeout=_TIMEOUT)
        if tus.meaning(answer.status_code) is tus.Meaning.GONE:
            return None
        self._check(answer, source)
        return _offset_of(answer)

    async def view(self, upload_id: str) -> dict[str, Any] | None:
        """Return what the server says of an upload; None when it does not know it."""
        answer = await self._client.get(f"{self._url}{PREFIX}/uploads/{upload_id}", timeout=_TIMEOUT)
        try:
            return document(self._url, answer)
        except NotFound:
            return None

    async def patch(
        self, upload: str, source: Source, offset: int, pieces: AsyncIterator[bytes], length: int
    ) -> int | None:
        """Send bytes; return how many the server has then, if it tells."""
        headers = tus.continuation(offset, length)
        answer = await self._client.patch(upload, headers=headers, content=pieces, timeout=_TIMEOUT)
        if tus.meaning(answer.status_code) is tus.Meaning.GONE:
            return None  # the next question will tell more
        self._check(answer, source)
        return tus.offset_in(answer.headers)

    async def delete(self, upload: str) -> None:
        """Take an upload back, as well as it goes."""
        try:
            await self._client.delete(upload, headers=tus.VERSION, timeout=_TIMEOUT)
        except httpx.TransportError:
            return  # it expires by itself

    @staticmethod
    def _check(answer: httpx.Response, source: Source) -> None:
        match tus.meaning(answer.status_code):
            case tus.Meaning.DONE:
                return
            case tus.Meaning.AGAIN:
                raise _Later(answer)
            case _:
                raise Refused(f"{source.shown}: {explain(answer)}")


class _OneUpload:
    """One file on its way: which upload it goes to, and how far it is."""

    def __init__(
        self, sender: Sender, source: Source, claim: Claim, fingerprint: Fingerprint, moved: Callable[[int], None]
    ) -> None:
        self._sender = sender
        self._source = source
        self._claim = claim
        self._fingerprint = fingerprint
        self._moved = moved
        self._upload = claim.upload_of(fingerprint)
        self._outdated = claim.upload if self._upload is None else None
        self._begun = 0

    @property
    def upload_id(self) -> str:
        return (self._upload or "").rstrip("/").rpartition("/")[2]

    async def offset(self) -> int:
        """Return where to go on, in an upload that is begun first if need be."""
        if self._outdated is not None:
            await self._drop_outdated(self._outdated)
            self._outdated = None
        if self._upload is None:
            return await self._begin()
        offset = await self._sender.head(self._upload, self._source)
        if offset is not None:
            return offset
        view = await self._sender.view(self.upload_id)
        if view is not None and view["received_at"] is not None:
            return self._fingerprint.size_bytes  # it had arrived, and its steps have ended since
        if view is not None and view["phase"] == "cancelled":
            self._claim.forget()
            raise Refused(f"{self._source.shown}: upload {self.upload_id} was cancelled on the server")
        return await self._begin()

    async def send_from(self, offset: int) -> int | None:
        """Send the rest; return where the server is then, if it tells."""
        if self._upload is None:
            return None
        length = self._fingerprint.size_bytes - offset
        return await self._sender.patch(self._upload, self._source, offset, self._pieces(offset), length)

    async def withdraw(self) -> None:
        """Take back what was sent of a file that has changed."""
        self._claim.forget()
        if self._upload is not None:
            await self._sender.delete(self._upload)

    async def _begin(self) -> int:
        if self._begun >= _BEGINNINGS:
            raise Refused(f"{self._source.shown}: the server forgets the upload again and again before it is complete")
        self._upload = await self._sender.create(self._source, self._fingerprint)
        # Only now: one that is away or busy has forgotten nothing, and how long it is tried is up to the patience.
        self._begun += 1
        self._claim.note(self._source, self._fingerprint, self._upload)
        return 0

    async def _drop_outdated(self, upload: str) -> None:
        """Free what is left of an earlier state of the file, unless it had arrived whole."""
        offset = await self._sender.head(upload, self._source)
        view = None if offset is None else await self._sender.view(upload.rstrip("/").rpartition("/")[2])
        if view is not None and view["phase"] == "receiving":
            await self._sender.delete(upload)
        self._claim.forget()

    async def _pieces(self, offset: int) -> AsyncIterator[bytes]:
        """Yield the file from `offset` on; the last piece only if the file is still the one that was begun."""
        file = await asyncio.to_thread(self._open, offset)
        try:
            left = self._fingerprint.size_bytes - offset
            while left:
                piece = await asyncio.to_thread(self._read, file, min(PIECE_BYTES, left))
                left -= len(piece)
                offset += len(piece)
                yield piece
                self._moved(offset)
        finally:
            file.close()

    def _open(self, offset: int) -> FileIO:
        try:
            file = self._source.path.open("rb", buffering=0)
            file.seek(offset)
        except OSError as error:
            raise unreadable(self._source.shown, error) from error
        return file

    def _read(self, file: FileIO, length: int) -> bytes:
        try:
            piece = file.read(length)
            now = Fingerprint.of(os.fstat(file.fileno()))
        except OSError as error:
            raise unreadable(self._source.shown, error) from error
        if not piece or now != self._fingerprint:
            raise FileChanged(f"{self._source.shown} was changed while it was uploaded. Upload it again.")
        return piece


def _offset_of(answer: httpx.Response) -> int:
    offset = tus.offset_in(answer.headers)
    if offset is None:
        raise Refused(f"the answer to HEAD {answer.url} has no Upload-Offset: no tus server")
    return offset
