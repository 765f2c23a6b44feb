"""Why something cannot be done with a file. Status codes are given to them in `http/problems`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from ..errors import InvalidRequest, PenstockError

if TYPE_CHECKING:
    from .upload import Upload


class StillProcessing(PenstockError):
    """The file is there, but its steps have not passed it yet (RFC 8470, 5.2: 425 Too Early)."""

    code = "processing"
    retryable = True

    @classmethod
    def of(cls, upload: Upload) -> Self:
        """Return the error that says so, in the same words whatever was to be done."""
        return cls(
            f"{upload.filename} is being processed. Follow it at /api/v1/uploads/{upload.id}, and read it when it is "
            "released."
        )


class FileThere(InvalidRequest):
    """There is a file already where none is to be replaced."""

    code = "file-exists"


class OtherVersion(InvalidRequest):
    """The file is another one than the request is meant for."""

    code = "precondition"


UNMET: Final = (FileThere, OtherVersion)
"""A condition of a request does not hold (RFC 9110, 13)."""
BY_CODE: Final = {kind.code: kind for kind in UNMET}
