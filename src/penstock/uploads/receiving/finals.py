"""Uploads that are made of parts (tus, Concatenation): entered first, then put together, as often as it takes.

The entry is in the catalogue before anything is copied, so a final goes on after any death: at the next start, or with
the next sweep. The parts may still be on their way in when it is entered; the one that comes last completes it. It
does not need them any more once it is complete. Parts that nobody uses go when their time is over, and so does a final
whose parts have gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from ...errors import InvalidRequest, PenstockError
from ..errors import Ending, Interrupted, Locked, QuotaExceeded, TooMany
from ..standing import check_accepted
from ..upload import Phase, Upload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...blobs.base import BlobStore
    from ..catalogue.catalogue import Catalogue
    from ..gateway.gateway import Gateway
    from .admission import Admission
    from .room import Room

log = structlog.get_logger(__name__)


class NotAPart(InvalidRequest):
    """An upload cannot be made of what was named: nothing was created."""

    code = "not-a-part"


class Finals:
    """Makes them.

    Args:
        catalogue: knows parts and finals.
        gateway: puts them together.
        blobs: keeps their bytes.
        room: promises room for a final beside that of its parts.
        admission: limits how large they are, and how many are begun.
    """

    def __init__(
        self, *, catalogue: Catalogue, gateway: Gateway, blobs: BlobStore, room: Room, admission: Admission
    ) -> None:
        self._catalogue = catalogue
        self._gateway = gateway
        self._blobs = blobs
        self._room = room
        self._admission = admission

    async def create(self, final: Upload) -> Upload:
        """Enter a final, and put it together if all of its parts are there; return it as it is then.

        Who asks again, since the answer was lost, gets the same upload: the one of the same parts and metadata.

        Raises:
            NotAPart: there is something that is not a part of others among its parts.
            TooLarge: the sum of its parts is over the limit.
            QuotaExceeded, TooMany: its space or owner may not have it, even though its parts count no more beside it;
                or begins uploads too fast.
            StorageFull: there is no room for it beside its parts.
            ChecksumMismatch: it is not what its metadata says.
        """
        known = await self._catalogue.same_final(final)
        if known is not None and known.owner == final.owner:
            present = self._checked(await self._gateway.complete(known.id))
            if present.phase is Phase.RECEIVING:
                await self._size_of(present)  # says so if it lacks a part that does not come any more
            return present
        entered = await self._enter(final)
        try:
            present = await self._gateway.complete(entered.id)
        except (Ending, Interrupted, Locked):
            raise  # somebody else puts it together, now or later
        except PenstockError:
            # Its address was not told to anybody, so nobody could ask for it again.
            await self._gateway.cancel(entered.id)
            self._room.end(entered.id, arrived=False)
            raise
        return self._checked(present)

    async def part_complete(self, part: Upload) -> None:
        """Put those together that waited for this part. What fails is left for the next sweep."""
        for final in await self._catalogue.waiting_finals(part.id):
            try:
                self._checked(await self._gateway.complete(final.id))
            except PenstockError as error:
                log.warning("upload_left_for_later", upload=final.id, phase=final.phase, error=str(error))

    async def _enter(self, final: Upload) -> Upload:
        size_bytes = await self._size_of(final)
        self._admission.check_size(final.space, final.owner, size_bytes)
        self._admission.begin(final.space, final.owner)
        final = msgspec.structs.replace(final, size_bytes=size_bytes)
        await self._room.begin(final.id, size_bytes)
        try:
            await self._blobs.create(final.id)
            await self._catalogue.add(final)
        except BaseException as error:
            self._room.end(final.id, arrived=False)
            if isinstance(error, QuotaExceeded | TooMany):
                await self._blobs.discard(final.id)
            raise
        self._room.entered(final.id)
        return final

    async def _size_of(self, final: Upload) -> int:
        parts = await self._catalogue.get_many(set(final.parts))
        return sum(_size_of(part_id, parts, final.owner) for part_id in final.parts)

    def _checked(self, final: Upload) -> Upload:
        if final.phase is not Phase.RECEIVING:
            self._room.end(final.id, arrived=final.phase.holds_bytes)
        check_accepted(final)
        return final


def _size_of(part_id: str, known: Mapping[str, Upload], owner: str) -> int:
    part = known.get(part_id)
    if part is None or part.owner != owner:  # that of another user is not told apart from none
        raise NotAPart(f"Upload-Concat: there is no upload {part_id}. Name parts that were created here.")
    if not part.is_part:
        raise NotAPart(f"Upload-Concat: {part_id} is no part: it was created without Upload-Concat: partial.")
    if part.phase is not Phase.RECEIVING:
        raise NotAPart(f"Upload-Concat: the part {part_id} is {part.phase}. Send it again.")
    if part.size_bytes is None:
        raise NotAPart(
            f"Upload-Concat: the length of the part {part_id} is not known yet. Send its Upload-Length first."
        )
    return part.size_bytes
