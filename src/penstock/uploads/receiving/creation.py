"""Begins uploads: room and quota are set aside, an empty blob is made, and the catalogue is told, in this order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...core.media_types import media_type_of
from ...ids import new_upload_id
from ...tracing.traceparent import checked
from ..errors import QuotaExceeded, TooMany
from ..protocols.metadata import UNKNOWN_TYPE
from ..protocols.names import checked_name, checked_path
from ..standing import Standing
from ..upload import Upload

if TYPE_CHECKING:
    from datetime import timedelta

    from ...blobs.base import BlobStore
    from ...clock import Clock
    from ..catalogue.catalogue import Catalogue
    from ..locking.locks import Locks
    from ..protocols.proviso import Proviso
    from ..standing import Recent
    from ..steady import SteadyTime
    from .admission import Admission
    from .arrivals import Arrivals
    from .finals import Finals
    from .room import Room


class Creation:
    """Begins them.

    Args:
        catalogue: is told of each.
        blobs: keep their bytes.
        clock: dates them.
        time: what `expiration` is counted in.
        expiration: how long each may take.
        admission: refuses what is too large or too much.
        room: is set aside.
        finals: begins those that are made of parts.
        locks: keep others from one of no bytes while it is handed on.
        arrivals: hands those on.
        recent: remembers where they stand.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        blobs: BlobStore,
        clock: Clock,
        time: SteadyTime,
        expiration: timedelta,
        admission: Admission,
        room: Room,
        finals: Finals,
        locks: Locks,
        arrivals: Arrivals,
        recent: Recent,
    ) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._clock = clock
        self._time = time
        self._expiration = expiration
        self._admission = admission
        self._room = room
        self._finals = finals
        self._locks = locks
        self._arrivals = arrivals
        self._recent = recent

    async def create(
        self,
        filename: str | None,
        *,
        path: str | None = None,
        size_bytes: int | None,
        space: str = "default",
        media_type: str = UNKNOWN_TYPE,
        metadata: str = "",
        initiator_id: str = "",
        owner: str = "",
        trace_parent: str = "",
        concat: str = "",
        explicit_end: bool = False,
        proviso: Proviso | None = None,
    ) -> Standing:
        """Begin an upload; one of no bytes is complete at once, and so is one that is made of complete parts.

        With `explicit_end`, it is complete only when a request says so; with a `proviso`, it becomes the file at its
        path only if that holds then.

        When this returns, the upload survives kill -9. Without a path, the file is in no folder; without a name either,
        it is named after its ID. `trace_parent` is the request's; the upload is processed in its trace unless another
        request completes it and has one as well. A file whose type nobody tells has the one that its name suggests.

        Raises:
            UnsafeName: the name is not taken.
            TooLarge: it is over the limit of the server, the space or the `owner`.
            QuotaExceeded: it is more than one of them has left.
            TooMany: one of them begins uploads too fast, or has too many that are not finished.
            StorageFull: there is no room for it.
            NotAPart: it is to be made of something that is no part.
            ChecksumMismatch: it is complete, and not what its metadata says.
            FileThere, OtherVersion: it is complete, and the `proviso` does not hold.
        """
        upload_id = new_upload_id()
        name = upload_id if filename is None else filename
        path = checked_name(name) if path is None else checked_path(path)
        self._admission.check_size(space, owner, size_bytes or 0)
        name = path.rpartition("/")[2]
        upload = Upload(
            id=upload_id,
            filename=name,
            path=path if "/" in path else "",
            space=space,
            size_bytes=size_bytes,
            media_type=media_type_of(name) if media_type == UNKNOWN_TYPE else media_type,
            metadata=metadata,
            initiator_id=initiator_id,
            owner=owner,
            trace_parent=checked(trace_parent),
            created_at=self._clock.now(),
            expires_at=self._time.latest() + self._expiration,
            concat=concat,
            explicit_end=explicit_end,
            proviso=proviso,
        )
        if upload.parts:
            final = await self._finals.create(upload)
            return Standing.of(final, 0)
        await self._catalogue.check(upload)
        self._admission.begin(space, owner)
        await self._room.begin(upload_id, size_bytes)
        try:
            # The blob comes first, so that what the catalogue knows has its bytes.
            await self._catalogue.add(upload, first=partial(self._blobs.create, upload_id))
        except BaseException as error:
            self._room.end(upload_id, arrived=False)
            if isinstance(error, QuotaExceeded | TooMany):
                await self._blobs.discard(upload_id)  # what was left when it was checked, another one has got
            raise
        self._room.entered(upload_id)
        if size_bytes == 0 and not explicit_end:
            async with self._locks.alone(upload_id):
                return await self._arrivals.finish(upload, await self._blobs.seal(upload_id))
        standing = Standing(upload, 0)
        self._recent.put(standing)
        return standing
