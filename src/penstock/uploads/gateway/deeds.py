"""What is done with one upload: a change in the catalogue, a deed on its bytes, and a statement on the bus.

They come in an order in which a death between any two of them is healed by doing the same again:

- *Beginning*: the bytes are on disk, then the catalogue says so, then the bus. What the catalogue has in processing is
  announced again at start, and in between if the bus did not take it.
- *Release*: the bytes are released, then the catalogue says so, then what is still staged of them is removed, then the
  bus says so. Until the catalogue says so, nobody can read them, and they are where the steps would look for them. The
  decision comes again until the statement is made; what stays staged, the sweeper removes.
- *Giving up* (deleted, cancelled, expired): the catalogue says so, then the bus, then the bytes are removed, then the
  catalogue notes that they are gone. Until then the upload is among those `to_discard`, and the rest is done again.

What is done twice is recognised: by phase and run in the catalogue, by derived IDs on the bus.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from ...blobs.base import BlobMissing, SupportsPath
from ...errors import InvalidRequest
from ..file_errors import UNMET
from ..protocols.metadata import file_checksum
from ..upload import Phase, Upload
from . import notices
from .assembly import Assembly
from .comparison import objection
from .endings import Endings

if TYPE_CHECKING:
    from ...blobs.base import BlobStore
    from ...bus.publish import Publisher
    from ...clock import Clock
    from ...tracing import Tracing
    from ..catalogue.catalogue import Catalogue
    from .at_once import AtOnce
    from .last_bytes import LastBytes

log = structlog.get_logger(__name__)

_MOST_ANNOUNCED: Final = 100_000
"""Runs that an instance among others remembers to have announced: nobody tells it of those that ended elsewhere."""


class Deeds(Endings):
    """Begins and ends. Callers see to it that nobody else in this process works on the same upload meanwhile.

    Args:
        catalogue: knows all uploads.
        blobs: keeps their bytes.
        publisher: speaks on the bus.
        clock: dates changes.
        tracing: is told of what begins.
        alone: whether no other instance writes down what steps do.
        at_once: releases what no step is for; None: that is decided on the bus like anything else.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        blobs: BlobStore,
        publisher: Publisher,
        clock: Clock,
        tracing: Tracing,
        alone: bool,
        at_once: AtOnce | None,
    ) -> None:
        super().__init__(catalogue=catalogue, blobs=blobs, publisher=publisher, clock=clock, alone=alone)
        self._path_of = blobs.path if isinstance(blobs, SupportsPath) else None
        self._tracing = tracing
        self._assembly = Assembly(catalogue, blobs)
        self._at_once = at_once

    def announced(self, upload_id: str, run: int) -> bool:
        """Tell whether the beginning of an upload's run is announced, as far as this process knows."""
        return self._announced.get(upload_id) == run

    def note_announced(self, upload_id: str, run: int) -> None:
        """Note that the bus has taken the beginning of an upload's run, or that the coordinator has begun it."""
        if not self._alone and len(self._announced) >= _MOST_ANNOUNCED:
            self._announced.clear()  # most have ended at other instances; the others are announced by the same IDs
        self._announced[upload_id] = run

    def forget_announcements(self) -> None:
        """Have every run announced again: the bus has lost what was on its way."""
        self._announced.clear()

    async def all_there(self, upload: Upload) -> bool:
        """Tell whether all is there that an upload needs to be processed. Of a part that is never so.

        Nor is it of one whose client says when all is there: until then it may still say what the file hashes to, and
        take no for an answer.
        """
        if upload.parts:
            return await self._assembly.possible(upload)
        return not (upload.is_part or upload.explicit_end) and await self._assembly.is_full(upload)

    async def complete(self, upload: Upload) -> Upload:
        """Flush the bytes of an upload to disk that are all there, and begin its processing; return it."""
        if upload.parts:
            await self._assembly.make(upload)
        return await self.begin(upload, await self._blobs.seal(upload.id))

    async def begin(self, upload: Upload, size_bytes: int, last: LastBytes | None = None) -> Upload:
        """Begin the processing of an upload of which all bytes are there, unless it has begun; return it.

        One whose metadata names another checksum than its bytes have is cancelled, with the reason; so is one whose
        proviso does not hold, with its code as the outcome. `last`: what is not on disk yet; None: nothing.
        """
        if upload.phase is not Phase.RECEIVING:
            return upload
        expected = file_checksum(upload.metadata)
        if expected is not None and (wrong := await objection(self._blobs, upload.id, expected)):
            return await self._refuse(msgspec.structs.replace(upload, size_bytes=size_bytes), wrong)
        with self._tracing.span(
            "upload received", upload.trace_parent, upload_id=upload.id, size_bytes=size_bytes
        ) as span:
            complete = msgspec.structs.replace(
                upload,
                phase=Phase.PROCESSING,
                run=1,
                size_bytes=size_bytes,
                received_at=self._clock.now(),
                trace_parent=span.trace_parent,
            )
            try:
                ended = None if self._at_once is None else await self._at_once.release(upload, complete, last)
                if ended is not None:
                    return ended
                if last is not None:
                    await last.seal()
                changed = await self._catalogue.change(upload, complete)
            except UNMET as error:
                span.discard()
                refused = msgspec.structs.replace(upload, size_bytes=size_bytes)
                return await self._refuse(refused, str(error), outcome=error.code)
            if not changed:
                span.discard()
                return await self.get(upload.id)  # another process did, or gave it up
            return await self._begun(complete)

    async def begin_again(self, upload: Upload, cause: str) -> Upload:
        """Begin another run, unless `cause` (if any) has asked for the present one; return the upload.

        Raises:
            InvalidRequest: its bytes are not all there, are gone, or are released.
        """
        while True:
            if upload.phase not in (Phase.PROCESSING, Phase.REJECTED):
                raise InvalidRequest(
                    f"upload {upload.id} is {upload.phase}. Only one in processing or rejected can be restarted."
                )
            if cause and await self._catalogue.caused_by(upload.id) == cause:
                return await self.announce(upload) if upload.phase is Phase.PROCESSING else upload
            again = msgspec.structs.replace(
                upload, phase=Phase.PROCESSING, run=upload.run + 1, outcome="", reason="", ended_at=None
            )
            if await self._catalogue.change(upload, again, cause=cause):
                return await self._begun(again)
            upload = await self.get(upload.id)

    async def announce(self, upload: Upload) -> Upload:
        """Have the coordinator begin the present run; return the upload.

        A bus that does not take it leaves it not `announced`. Without bytes there is nothing to begin with.
        """
        try:
            url = await self._url_of(upload.id)
        except BlobMissing:
            return await self._reject_for_lack_of_bytes(upload)
        if await self._said(notices.received(upload, url), trace_parent=upload.trace_parent):
            self.note_announced(upload.id, upload.run)
        return upload

    async def _refuse(self, upload: Upload, reason: str, outcome: str = "") -> Upload:
        """Give up an upload of which all has arrived, for its own fault."""
        refused = msgspec.structs.replace(
            upload, phase=Phase.CANCELLED, ended_at=self._clock.now(), reason=reason, outcome=outcome
        )
        if not await self._catalogue.change(upload, refused):
            return await self.get(upload.id)
        if outcome:
            log.info("upload_condition_not_met", upload=upload.id, outcome=outcome, reason=reason)
        else:
            log.warning("upload_is_not_what_was_announced", upload=upload.id, reason=reason)
        await self.give_up(refused)
        return refused

    async def _begun(self, upload: Upload) -> Upload:
        self.recorder.begun(upload)
        return await self.announce(upload)

    async def _url_of(self, upload_id: str) -> str:
        """Return where the bytes are, in the words of the Go services; empty where they are no file."""
        if self._path_of is None:
            return ""
        path = await asyncio.to_thread(self._path_of, upload_id)  # a volume in the network may take its time
        return path.absolute().as_uri()
