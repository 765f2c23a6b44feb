"""Why a request of an uploader cannot be carried out. Status codes are given to them in `http/problems`."""

from __future__ import annotations

from ..errors import InvalidRequest, Unavailable


class TooLarge(InvalidRequest):
    """More bytes than are allowed, or than were announced."""

    code = "too-large"


class WrongOffset(InvalidRequest):
    """The request does not continue where the upload ends."""

    code = "wrong-offset"

    def __init__(self, *, sent: int, offset: int) -> None:
        super().__init__(f"Upload-Offset is {sent}, but the upload stands at {offset}. Continue from {offset}.")
        self.offset = offset


class Gone(InvalidRequest):
    """The upload was there once; it has been cancelled, removed, rejected, or has expired."""

    code = "gone"


class ChecksumMismatch(InvalidRequest):
    """The bytes are not those that the checksum was made of; they were not kept."""

    code = "checksum-mismatch"


class UnsupportedChecksum(InvalidRequest):
    """The checksum's algorithm is unknown, or the header cannot be read."""

    code = "unsupported-checksum"


class Interrupted(Unavailable):
    """Another request for the same upload has taken over; what had arrived until then was kept."""

    code = "interrupted"


class Locked(Unavailable):
    """Another request for the same upload does not let go."""

    code = "locked"


class Disconnected(Exception):
    """The client went away in the middle of the body. There is nobody to answer."""
