"""The manner `put`: `PUT` to `<address>/<ID of the start event>`, `PATCH` for the rest of what broke off (`pushed`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ..pushed import PARTIAL, number, read_digest, written_digest
from .parcel import Manner

if TYPE_CHECKING:
    from .line import Line
    from .parcel import Parcel

_PAUSE_SECONDS: Final = 1.0
"""Before a receiver is asked again that is still reading what it has."""


class Putting(Manner):
    """Nothing has to be remembered: who comes after a death asks the receiver how much it has."""

    async def send(self, line: Line, parcel: Parcel) -> str:
        """Send what the receiver lacks; one that does not tell gets all of it."""
        url, size = f"{line.url}/{parcel.start_id}", parcel.size_bytes
        offset = await self._offset(line, url, parcel)
        if offset is None:
            return url
        headers = {
            "Content-Length": str(size - offset),
            "Content-Type": PARTIAL if offset else "application/octet-stream",
            "Repr-Digest": written_digest(parcel.sha256),
            "Penstock-Upload": parcel.start.upload_id,
            "Penstock-Step": parcel.start.step_to_start,
        }
        if offset:
            headers |= {"Upload-Offset": str(offset), "Upload-Length": str(size), "Upload-Complete": "?1"}
        (await line.ask("PATCH" if offset else "PUT", url, headers, parcel.read(offset))).check()
        return url

    async def _offset(self, line: Line, url: str, parcel: Parcel) -> int | None:
        """Return from where on to send; None when all of it is there.

        A receiver that has all of it, and is still reading that to tell its digest, says Retry-After. How long it is
        asked is limited by who sends (`PushWay`).
        """
        answer = await line.ask("HEAD", url, {})
        while "Retry-After" in answer.headers and answer.taken and "Repr-Digest" not in answer.headers:
            await asyncio.sleep(_PAUSE_SECONDS)
            answer = await line.ask("HEAD", url, {})
        offset = number(answer.headers.get("Upload-Offset"))
        if not answer.taken or offset is None or offset > parcel.size_bytes:
            return 0
        if answer.headers.get("Upload-Complete") != "?1":
            parcel.kept_bytes = offset  # where that is all of it, it lacks the end, which has no bytes
            return offset
        return None if read_digest(answer.headers.get("Repr-Digest", "")) == parcel.sha256 else 0
