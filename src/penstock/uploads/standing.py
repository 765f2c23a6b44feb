"""Where an upload stands while it comes in, and what may still be added to it."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from ..errors import NotFound
from .errors import ChecksumMismatch, Gone, InconsistentLength, MadeOfParts, TooLarge, WrongOffset
from .file_errors import BY_CODE
from .limits import check_size
from .upload import Phase, Upload

if TYPE_CHECKING:
    from datetime import datetime

_COMPLETE: Final = (Phase.PROCESSING, Phase.RELEASED)


class Standing(NamedTuple):
    """An upload, and how much of it has arrived and is kept."""

    upload: Upload
    offset: int

    @classmethod
    def of(cls, upload: Upload, staged_bytes: int) -> Standing:
        """Return where an upload stands that has this much in the staging area."""
        return cls(upload, (upload.size_bytes or 0) if upload.phase in _COMPLETE else staged_bytes)

    @property
    def complete(self) -> bool:
        """Whether all bytes are there and were handed on."""
        return self.upload.phase in _COMPLETE

    @property
    def full(self) -> bool:
        """Whether all bytes are there, handed on or not."""
        return self.offset == self.upload.size_bytes

    def in_trace(self, trace_parent: str) -> Standing:
        """Return the same in another trace; empty: in the one that it is in."""
        if not trace_parent:
            return self
        return Standing(msgspec.structs.replace(self.upload, trace_parent=trace_parent), self.offset)

    def declared(self, size_bytes: int | None, *, max_size_bytes: int | None) -> Standing:
        """Return the same with the size that a request names; None: it does not.

        Raises:
            InconsistentLength: another one is known already, or more has arrived.
            TooLarge: it is over the limit.
        """
        if size_bytes is None or size_bytes == self.upload.size_bytes:
            return self
        if self.upload.size_bytes is not None:
            raise InconsistentLength(
                f"Upload-Length is {size_bytes}, but it was {self.upload.size_bytes} before for upload "
                f"{self.upload.id}, and cannot change."
            )
        check_size(size_bytes, max_size_bytes)
        if size_bytes < self.offset:
            raise InconsistentLength(f"Upload-Length is {size_bytes}, but {self.offset} bytes have arrived already.")
        return Standing(msgspec.structs.replace(self.upload, size_bytes=size_bytes), self.offset)

    def check_begins(self, offset: int) -> None:
        """Make sure that a request begins where the upload ends, and may.

        Raises:
            MadeOfParts: the upload takes no bytes of its own.
            WrongOffset: the request begins elsewhere.
        """
        if self.upload.parts:
            raise MadeOfParts(f"upload {self.upload.id} is made of parts, and takes no bytes of its own.")
        if offset != self.offset:
            raise WrongOffset(sent=offset, offset=self.offset)

    def check_fits(self, length: int | None, *, max_size_bytes: int | None) -> None:
        """Compare a request that adds `length` bytes (None: it does not say) with what is missing.

        Raises:
            TooLarge: it goes on after the upload's end, or over the limit.
        """
        size = self.upload.size_bytes
        if size is None:
            check_size(self.offset + (length or 0), max_size_bytes)
        elif self.offset + (length or 0) > size:
            raise TooLarge(
                f"the body has {length} bytes, but upload {self.upload.id} lacks only {size - self.offset} of its "
                f"{size}. Nothing of it was kept."
            )


class Recent:
    """Remembers where the uploads stand that were continued last, so that nobody has to ask catalogue and storage.

    What is taken out for a change is put back when the change went well; else the next one looks for itself.
    """

    def __init__(self, most: int) -> None:
        """`most` uploads are remembered, at some 1 KiB each."""
        self._most = most
        self._standings: OrderedDict[str, Standing] = OrderedDict()

    def __len__(self) -> int:
        return len(self._standings)

    def put(self, standing: Standing) -> None:
        """Remember where an upload stands."""
        self._standings[standing.upload.id] = standing
        if len(self._standings) > self._most:
            self._standings.popitem(last=False)

    def take(self, upload_id: str) -> Standing | None:
        """Forget where an upload stands, and return it; None when it was not known."""
        return self._standings.pop(upload_id, None)


def check_alive(upload: Upload, now: datetime) -> None:
    """Make sure that an upload can be received, or has been.

    Raises:
        Gone: it was cancelled, removed or rejected, or has expired.
    """
    if upload.phase in _COMPLETE:
        return
    if upload.phase is not Phase.RECEIVING:
        raise gone(upload)
    if upload.expires_at is not None and upload.expires_at <= now:
        until = f"{upload.expires_at:%Y-%m-%d %H:%M:%S}"
        raise Gone(f"upload {upload.id} was not complete by {until} UTC. Begin a new one.")


def check_accepted(upload: Upload) -> None:
    """Make sure that an upload whose last bytes have just arrived was accepted.

    Raises:
        FileThere, OtherVersion: its proviso does not hold any more.
        ChecksumMismatch: it is not what its metadata says.
        Gone: it was given up meanwhile.
    """
    if upload.phase is Phase.CANCELLED and upload.outcome in BY_CODE:
        raise BY_CODE[upload.outcome](f"{upload.reason} Nothing of what was sent was kept.")
    if upload.phase is Phase.CANCELLED and upload.reason:
        raise ChecksumMismatch(f"upload {upload.id} was given up: {upload.reason}. Begin a new one.")
    if upload.phase is not Phase.RECEIVING and upload.phase not in _COMPLETE:
        raise gone(upload)


def unknown(upload_id: str) -> NotFound:
    """Return the error about an upload that nobody knows."""
    return NotFound(f"there is no upload {upload_id[:64]!r}. Begin a new one.")


def gone(upload: Upload) -> Gone:
    """Return the error about an upload that has come to a bad end."""
    why = f": {upload.reason}" if upload.reason else ""
    return Gone(f"upload {upload.id} is {upload.phase}{why}. Begin a new one.")
