"""The manner `tus`: an upload to a worker that speaks tus 1.0.0 (tusd, @tus/server, Penstock), at its creation URL.

Where the upload was created is remembered, so that what broke off goes on from there, also after a restart. The facts
about the file are in `Upload-Metadata`. An upload that the worker does not know any more is created anew; what was
there of the old one is left for the worker's own expiry.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final, Protocol

from ..pushed import number
from .line import Failed, Refused
from .parcel import Manner

if TYPE_CHECKING:
    from .line import Answer, Line
    from .parcel import Parcel

_VERSION: Final = {"Tus-Resumable": "1.0.0"}
_FORGOTTEN: Final = frozenset({403, 404, 410})
"""What tus servers answer about uploads that they do not have."""


class Places(Protocol):
    """Remembers where uploads were created, over restarts."""

    async def place(self, upload_id: str, start_id: str) -> str | None:
        """Return where the file for this start is being sent to; None when that is not known."""
        ...

    async def note_place(self, upload_id: str, start_id: str, url: str) -> None:
        """Note it, in place of that for an earlier start of the same upload."""
        ...


class Tus(Manner):
    """Creates, asks and goes on."""

    def __init__(self, places: Places) -> None:
        """`places` remembers where uploads were created."""
        self._places = places

    async def send(self, line: Line, parcel: Parcel) -> str:
        """Send what the worker lacks."""
        upload_id, size = parcel.start.upload_id, parcel.size_bytes
        url = await self._places.place(upload_id, parcel.start_id)
        offset = await _offset(line, url, size) if url is not None and line.leads_to(url) else None
        if url is None or offset is None:
            url, offset = await _created(line, parcel), 0
            await self._places.note_place(upload_id, parcel.start_id, url)
        parcel.kept_bytes = offset
        if offset < size:
            _check_whole(await line.ask("PATCH", url, _patch(offset, size), parcel.read(offset)), size)
        return url


async def _created(line: Line, parcel: Parcel) -> str:
    """Create the upload; return its URL."""
    told = ",".join(f"{name} {b64encode(value.encode()).decode()}" for name, value in parcel.facts().items() if value)
    headers = {**_VERSION, "Content-Length": "0", "Upload-Length": str(parcel.size_bytes), "Upload-Metadata": told}
    answer = await line.ask("POST", line.url, headers)
    answer.check()
    location = answer.headers.get("Location", "")
    if answer.status != 201 or not location:
        raise Refused("it does not speak tus: it answered a creation without saying where")
    return line.place(location)


async def _offset(line: Line, url: str, size_bytes: int) -> int | None:
    """Return how much is there; None when nothing is that could be gone on with."""
    answer = await line.ask("HEAD", url, _VERSION)
    if answer.status in _FORGOTTEN:
        return None
    answer.check()
    offset, length = number(answer.headers.get("Upload-Offset")), number(answer.headers.get("Upload-Length"))
    return offset if offset is not None and length == size_bytes and offset <= size_bytes else None


def _patch(offset: int, size_bytes: int) -> dict[str, str]:
    return {
        **_VERSION,
        "Upload-Offset": str(offset),
        "Content-Length": str(size_bytes - offset),
        "Content-Type": "application/offset+octet-stream",
    }


def _check_whole(answer: Answer, size_bytes: int) -> None:
    """Make sure that an answer to the rest of a file says that all of it is there."""
    if answer.status in _FORGOTTEN:
        raise Failed(str(answer.failure()), told=answer.failure().told)  # it is created anew
    answer.check()
    if number(answer.headers.get("Upload-Offset")) != size_bytes:
        raise Failed("it has not kept all of the file")
