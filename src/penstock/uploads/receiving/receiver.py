"""Takes uploads in: writes their bytes as they arrive, one request at a time for each.

The length of the staged bytes is the offset; the catalogue hears of an upload when it is created (`creation`) and when
it is complete (`arrivals`), and of nothing in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...blobs.base import BlobMissing, BlobUnavailable, OffsetConflict
from ...tracing.traceparent import checked
from ..allowances import Allowance, Allowances
from ..errors import WrongOffset
from ..limits import SPARE_BYTES
from ..locking.locks import IDLE, UploadLocks
from ..standing import Recent, Standing, check_alive, gone
from ..steady import SteadyTime
from .admission import Admission
from .arrivals import Arrivals, check_id
from .creation import Creation
from .finals import Finals
from .room import Room
from .writing import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Collection
    from datetime import datetime, timedelta

    from ...blobs.base import BlobStore
    from ...clock import Clock
    from ...telemetry import Metrics
    from ..catalogue.catalogue import Catalogue
    from ..gateway.gateway import Gateway
    from ..locking.locks import Locks
    from ..protocols.expected import Expected
    from ..upload import Phase, Upload

_REMEMBERED: Final = 4096


class Receiver:
    """The way in, whatever the protocol.

    Args:
        catalogue: knows all uploads.
        gateway: is told when an upload is complete, or given up.
        blobs: keeps the bytes.
        clock: dates uploads.
        metrics: counts bytes.
        expiration: how long an upload may take.
        time: what that is counted in; None: the clock's time, whose jumps ahead are believed after as long.
        max_size_bytes: the largest upload that is taken; None: no limit.
        idle: how long a client may send nothing in the middle of a body.
        locks: see to it that one at a time works on an upload; None: in this process only.
        spare_bytes: how much of the storage's room is left free.
        allowances: what spaces and users may have; None: nothing is limited but the size.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        gateway: Gateway,
        blobs: BlobStore,
        clock: Clock,
        metrics: Metrics,
        expiration: timedelta,
        time: SteadyTime | None = None,
        max_size_bytes: int | None = None,
        idle: timedelta = IDLE,
        locks: Locks | None = None,
        spare_bytes: int = SPARE_BYTES,
        allowances: Allowances | None = None,
    ) -> None:
        self.max_size_bytes = max_size_bytes
        self._catalogue = catalogue
        self._gateway = gateway
        self._blobs = blobs
        self._time = SteadyTime(clock, believed_after=expiration) if time is None else time
        self._locks = UploadLocks() if locks is None else locks
        self._room = room = Room(
            blobs=blobs, catalogue=catalogue, clock=clock, spare_bytes=spare_bytes, shared=self._locks.shared
        )
        self._recent = Recent(0 if self._locks.shared else _REMEMBERED)
        self._admission = admission = Admission(clock, allowances or _only_size(max_size_bytes))
        self._writer = Writer(
            blobs=blobs,
            room=self._room,
            metrics=metrics,
            admission=self._admission,
            reserve=catalogue.reserve,
            idle=idle,
        )
        finals = Finals(catalogue=catalogue, gateway=gateway, blobs=blobs, room=room, admission=admission)
        self._arrivals = Arrivals(
            catalogue=catalogue, gateway=gateway, blobs=blobs, time=self._time, room=room, finals=finals
        )
        self.known = self._arrivals.known
        self.find = self._arrivals.find
        self.create = Creation(
            catalogue=catalogue,
            blobs=blobs,
            clock=clock,
            time=self._time,
            expiration=expiration,
            admission=admission,
            room=room,
            finals=finals,
            locks=self._locks,
            arrivals=self._arrivals,
            recent=self._recent,
        ).create

    def now(self) -> datetime:
        """Return the time that says whose time is over: a clock that jumps ahead ends no upload."""
        return self._time.now()

    def largest(self, upload: Upload) -> int | None:
        """Return how large an upload may become; None: as large as there is room."""
        return self._admission.largest(upload.space, upload.owner)

    async def offset(self, upload_id: str) -> int:
        """Return how many bytes have arrived and are kept, without disturbing whoever sends them."""
        try:
            return await self._blobs.length(upload_id)
        except BlobMissing:
            return 0

    def written(self, upload_id: str) -> int | None:
        """Return up to which byte the upload will remain, though this process be killed now; None: nobody sends any."""
        holder = self._locks.holder(upload_id)
        return None if holder is None else holder.written_bytes

    async def status(self, upload_id: str) -> Standing:
        """Return where an upload stands, after asking a request that still sends bytes to stop.

        So the offset is one that the next request will be given.

        Raises:
            NotFound, Gone: as `find`.
            Locked: a request for it does not let go.
        """
        standing = Standing.of(await self.find(upload_id), 0)
        if standing.complete or standing.upload.parts:
            return standing
        async with self._locks.hold(upload_id):
            self._recent.take(upload_id)
            return await self._arrivals.healed(await self._arrivals.look(upload_id))

    async def receive(
        self,
        upload_id: str,
        offset: int,
        body: AsyncIterable[bytes],
        *,
        length: int | None,
        size_bytes: int | None = None,
        ends_upload: bool = False,
        expected: Expected | None = None,
        trace_parent: str = "",
    ) -> Standing:
        """Write a request's body to the end of an upload; return where it stands then.

        What arrived before a disconnection or an interruption is kept, except of a request with a checksum, of which
        nothing is kept unless all is right.

        Args:
            upload_id: the upload.
            offset: where the body begins; must be where the upload ends.
            body: the bytes; not touched unless offset and length are right.
            length: how many the body has; None if it does not say.
            size_bytes: how large the upload will be, for one whose size was not known; None: nothing new.
            ends_upload: whether the end of the body is the end of an upload of unknown size, or of one that is only
                complete when a request says so.
            expected: what the body, and the file with it, must hash to; None: nothing is.
            trace_parent: the request's `traceparent`; if it completes the upload, that is processed in this trace.

        Raises:
            NotFound, Gone, Locked: as `status`.
            WrongOffset: nothing was written.
            MadeOfParts: the upload takes no bytes of its own.
            InconsistentLength: another size is known already, and nothing was written; or the request ends the upload
                before its announced end, and what arrived is kept.
            TooLarge: the body is longer than what is missing; nothing of it was kept.
            ChecksumMismatch: nothing of it was kept.
            TooMany: too many others are sending at this moment; nothing was read.
            QuotaExceeded: the size that was not known before is more than is left; what could be written is kept.
            BadHeader: nothing of it was kept, since what comes after it is not what was announced.
            Disconnected, Interrupted, Idle, Ending: see above.
            StorageFull, BlobUnavailable: what could be written is kept.
        """
        check_id(upload_id)
        async with self._locks.hold(upload_id, offset=offset) as hold:
            # Taken out while it changes: whatever goes wrong, the next one looks for itself.
            standing = self._recent.take(upload_id) or await self._arrivals.look(upload_id)
            check_alive(standing.upload, self._time.now())
            standing.check_begins(offset)
            largest = self._admission.largest(standing.upload.space, standing.upload.owner)
            sized = standing.declared(size_bytes, max_size_bytes=largest)
            sized.check_fits(length, max_size_bytes=largest)
            if sized is not standing:
                standing = await self._declare(sized)
            standing = standing.in_trace(checked(trace_parent))
            ends = ends_upload and standing.upload.explicit_end and not standing.complete
            if standing.full:
                await self._writer.check_empty(body, length, hold, expected)
                if ends and expected is not None:
                    await self._writer.check_whole(standing, hold, expected)
                if ends:
                    return await self._arrivals.finish(standing.upload, await self._blobs.seal(upload_id))
                return await self._arrivals.healed(standing)
            try:
                with self._admission.receiving(standing.upload.space, standing.upload.owner):
                    written = await self._writer.append(
                        standing,
                        body,
                        hold,
                        expected,
                        ends_upload=ends_upload,
                        hand_on=self._gateway.received if self._gateway.releases_at_once(standing.upload) else None,
                    )
            except BlobMissing as error:
                await self.find(upload_id)  # says so if it was given up meanwhile
                raise BlobUnavailable(
                    f"the bytes of upload {upload_id} have vanished from the storage. Send them again from the start."
                ) from error
            except OffsetConflict as error:
                raise WrongOffset(sent=offset, offset=error.length_bytes) from error
            if written.is_all:
                return await self._arrivals.finish(standing.upload, written.length_bytes, received=written.received)
            grown = Standing(standing.upload, written.length_bytes)
            self._recent.put(grown)
            return grown

    async def withdraw(self, upload_id: str) -> None:
        """Do what `terminate` does, once: there must be something to give up.

        Raises:
            NotFound, Locked: as `terminate`.
            Gone: its bytes are gone already.
        """
        upload = await self.known(upload_id)
        if not upload.phase.holds_bytes:
            raise gone(upload)
        await self.terminate(upload_id)

    async def terminate(self, upload_id: str, *, only_in: Collection[Phase] | None = None) -> None:
        """Cancel or delete an upload at any time: its bytes are freed, its processing ends. Again: nothing changes.

        Raises:
            NotFound: there is none of this ID.
            Locked: a request for it does not let go.
            InvalidRequest: it has bytes, and is in none of the phases `only_in`; None: any will do.
        """
        check_id(upload_id)
        async with self._locks.hold(upload_id):
            self._recent.take(upload_id)
            await self._gateway.cancel(upload_id, only_in=only_in)
            self._room.end(upload_id, arrived=False)

    async def expire(self, upload: Upload, *, dry_run: bool = False) -> bool:
        """Do what `Gateway.expire` does; the room that the upload was promised is for others."""
        if dry_run:
            return await self._gateway.expire(upload, dry_run=True)
        async with self._locks.alone(upload.id):
            expired = await self._gateway.expire(upload)
            self._recent.take(upload.id)
            self._room.end(upload.id, arrived=not expired)
        return expired

    async def stop(self) -> None:
        """Have all requests end that are still sending bytes: what has arrived is kept, they are told to come again."""
        await self._locks.close()

    async def _declare(self, sized: Standing) -> Standing:
        """Note the size of an upload that was begun without one.

        Raises:
            StorageFull, QuotaExceeded: there is no room for it; the size is not known yet.
            InconsistentLength: another size is known by now.
        """
        upload, offset = sized
        size_bytes = upload.size_bytes or 0
        await self._room.extend(upload.id, size_bytes - offset)
        if not await self._catalogue.declare(upload.id, size_bytes):
            known = await self.find(upload.id)  # says so if it was given up meanwhile
            Standing(known, offset).declared(size_bytes, max_size_bytes=None)  # or if another request was faster
        return sized


def _only_size(max_size_bytes: int | None) -> Allowances:
    return Allowances(instance=Allowance(max_size_bytes=max_size_bytes))
