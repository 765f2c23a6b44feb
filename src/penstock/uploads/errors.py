"""Why a request of an uploader cannot be carried out. Status codes are given to them in `http/problems`.

::

InvalidRequest
├── BadHeader             a header, or what it says, cannot be read
│   ├── InconsistentLength a length that was another one before
│   ├── LengthRequired    nothing says where the body ends
│   ├── UnsupportedChecksum
│   ├── InvalidDigest     a digest field (RFC 9530) cannot be read
│   ├── UnsupportedDigest none of its digests can be verified
│   └── MissingTrailer    a field that should have come after the body
├── BadForm               a form that cannot be read, or not all of it
│   └── FormTooLarge      too many parts, or too much beside the files
├── UnsafeName            (in `names`)
├── VersionMismatch       another version of tus
├── UnsupportedBody       a body of the wrong media type
├── TooLarge              more bytes than allowed, or than announced
├── QuotaExceeded         more bytes than a space or a user has left
├── AlreadyComplete       nothing can be added any more
├── WrongOffset           not where the upload ends
├── MadeOfParts           bytes for an upload that takes none of its own
├── ChecksumMismatch      not the bytes that were meant
│   └── DigestMismatch    the same, said by a digest field
├── Disconnected          the body ended before its end
├── Idle                  the body stood still
└── Gone                  cancelled, removed, rejected or expired
Unavailable
├── Interrupted           another request has taken over, or the server is ending
├── Locked                another request does not let go
└── TooMany               too many uploads or requests: come again later
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from ..errors import InvalidRequest, Unavailable

if TYPE_CHECKING:
    from .allowances import Subject


class BadHeader(InvalidRequest):
    """A header is missing, cannot be read, or asks for what this server does not do."""

    code = "bad-header"


class UnsupportedChecksum(BadHeader):
    """The checksum's algorithm is unknown, or the header cannot be read."""

    code = "unsupported-checksum"


class InvalidDigest(BadHeader):
    """A digest field cannot be read, or a digest has a length that no bytes have (RFC 9530)."""

    code = "invalid-digest"


class UnsupportedDigest(BadHeader):
    """A digest field has no digest that can be verified (RFC 9530)."""

    code = "unsupported-digest"


class MissingTrailer(BadHeader):
    """A field was to come after the body, and has not."""

    code = "missing-trailer"


class BadForm(InvalidRequest):
    """A form cannot be read, or ends before its end; files that were there in whole are kept."""

    code = "bad-form"


class FormTooLarge(BadForm):
    """A form has too many parts, or too much in it that is no file."""

    code = "form-too-large"


class VersionMismatch(InvalidRequest):
    """The client speaks another version of tus, or does not say which."""

    code = "tus-version"


class UnsupportedBody(InvalidRequest):
    """The body's media type is not the one for bytes of an upload; for that of a PATCH, `patch` is (RFC 5789, 2.2)."""

    code = "unsupported-body"

    def __init__(self, message: str, *, patch: str = "") -> None:
        super().__init__(message)
        self.patch = patch


class TooLarge(InvalidRequest):
    """More bytes than are allowed, or than were announced."""

    code = "too-large"


class QuotaExceeded(InvalidRequest):
    """A space, a user, or the whole server has less left of its quota than is needed; nothing was counted."""

    code = "quota-exceeded"

    def __init__(
        self, subject: Subject, *, needed_bytes: int, quota_bytes: int, used_bytes: int, reserved_bytes: int
    ) -> None:
        free = max(0, quota_bytes - used_bytes - reserved_bytes)
        super().__init__(
            f"{needed_bytes} bytes are more than {subject} has left: of a quota of {quota_bytes} bytes, {used_bytes} "
            f"are used and {reserved_bytes} reserved for unfinished uploads, so {free} are free. Delete files or "
            "cancel uploads that are not needed, or ask the operator for more."
        )
        self.facts = {
            "resource": "quota",
            "subject": subject.facts(),
            "needed_bytes": needed_bytes,
            "free_bytes": free,
            "limit_bytes": quota_bytes,
            "used_bytes": used_bytes,
            "reserved_bytes": reserved_bytes,
        }


class InconsistentLength(BadHeader):
    """What a request says of the upload's length is not what was said before, or what has arrived."""

    code = "inconsistent-length"


class LengthRequired(BadHeader):
    """Nothing says where the body of a request ends that is to be a whole file."""

    code = "length-required"


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


class DigestMismatch(ChecksumMismatch):
    """The bytes are not those that a digest field tells of (RFC 9530)."""

    code = "digest-mismatch"


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


class TooMany(Unavailable):
    """More uploads or requests than are allowed; nothing was begun, and it may work later."""

    code = "too-many"

    def __init__(self, message: str, *, resource: str, subject: Subject, limit: int, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.facts = {"resource": resource, "subject": subject.facts(), "limit": limit}

    @classmethod
    def creations(cls, subject: Subject, limit: int, *, retry_after_seconds: int) -> Self:
        """Return the error about uploads that are begun too fast."""
        message = f"{subject} may begin {limit} uploads in a minute. Begin the next one in {retry_after_seconds} s."
        return cls(message, resource="creations", subject=subject, limit=limit, retry_after_seconds=retry_after_seconds)

    @classmethod
    def requests(cls, subject: Subject, limit: int, *, retry_after_seconds: int) -> Self:
        """Return the error about too many requests that send bytes at the same moment."""
        message = (
            f"{subject} may send {limit} uploads at the same time, and does. Send this one when another has ended."
        )
        return cls(message, resource="requests", subject=subject, limit=limit, retry_after_seconds=retry_after_seconds)

    @classmethod
    def unfinished(cls, subject: Subject, limit: int, *, retry_after_seconds: int) -> Self:
        """Return the error about too many uploads that have begun and not ended."""
        message = (
            f"{subject} may have {limit} unfinished uploads, and has. Finish or cancel one of them first; "
            "GET /api/v1/uploads?unfinished=true lists them."
        )
        return cls(
            message, resource="unfinished", subject=subject, limit=limit, retry_after_seconds=retry_after_seconds
        )


UNKEPT: Final = (ChecksumMismatch, InvalidDigest, MissingTrailer, UnsupportedChecksum, UnsupportedDigest)
"""What is found out only when a body has ended, and has nothing of it kept."""
