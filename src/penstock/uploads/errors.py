"""Why a request of an uploader cannot be carried out. Status codes are given to them in `http/problems`.

::

InvalidRequest
├── BadHeader             a header, or what it says, cannot be read
│   ├── InconsistentLength a length that was another one before
│   └── UnsupportedChecksum
├── UnsafeName            (in `names`)
├── VersionMismatch       another version of tus
├── UnsupportedBody       a body of the wrong media type
├── TooLarge              more bytes than allowed, or than announced
├── AlreadyComplete       nothing can be added any more
├── WrongOffset           not where the upload ends
├── MadeOfParts           bytes for an upload that takes none of its own
├── ChecksumMismatch      not the bytes that were meant
├── Disconnected          the body ended before its end
├── Idle                  the body stood still
└── Gone                  cancelled, removed, rejected or expired
Unavailable
├── Interrupted           another request has taken over, or the server is ending
└── Locked                another request does not let go
"""

from __future__ import annotations

from ..errors import InvalidRequest, Unavailable


class BadHeader(InvalidRequest):
    """A header is missing, cannot be read, or asks for what this server does not do."""

    code = "bad-header"


class UnsupportedChecksum(BadHeader):
    """The checksum's algorithm is unknown, or the header cannot be read."""

    code = "unsupported-checksum"


class VersionMismatch(InvalidRequest):
    """The client speaks another version of tus, or does not say which."""

    code = "tus-version"


class UnsupportedBody(InvalidRequest):
    """The body's media type is not the one for bytes of an upload."""

    code = "unsupported-body"


class TooLarge(InvalidRequest):
    """More bytes than are allowed, or than were announced."""

    code = "too-large"


class InconsistentLength(BadHeader):
    """What a request says of the upload's length is not what was said before, or what has arrived."""

    code = "inconsistent-length"


class AlreadyComplete(InvalidRequest):
    """Nothing can be added to the upload any more."""

    code = "already-complete"


class WrongOffset(InvalidRequest):
    """The request does not continue where the upload ends."""

    code = "wrong-offset"

    def __init__(self, *, sent: int, offset: int) -> None:
        super().__init__(f"Upload-Offset is {sent}, but the upload stands at {offset}. Continue from {offset}.")
        self.sent = sent
        self.offset = offset


class MadeOfParts(InvalidRequest):
    """The upload is put together from others; it takes no bytes of its own."""

    code = "made-of-parts"


class Gone(InvalidRequest):
    """The upload was there once; it has been cancelled, removed, rejected, or has expired."""

    code = "gone"


class ChecksumMismatch(InvalidRequest):
    """The bytes are not those that the checksum was made of; they were not kept."""

    code = "checksum-mismatch"


class Disconnected(InvalidRequest):
    """The client went away in the middle of the body, or made a mess of its framing."""

    code = "disconnected"


class Idle(InvalidRequest):
    """No byte of the body arrived for too long."""

    code = "idle"


class Interrupted(Unavailable):
    """Another request has taken over; what had arrived until then was kept, unless it had a checksum."""

    code = "interrupted"


class Ending(Unavailable):
    """The server is ending; what had arrived until then was kept, unless it had a checksum."""

    code = "ending"


class Locked(Unavailable):
    """Another request for the same upload does not let go."""

    code = "locked"
