"""What the library's errors mean, in our words: its own messages hold addresses with signatures, and keys."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from ..base import BlobMissing, BlobUnavailable, StorageFull

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATUS: Final = re.compile(r"status code: (\d{3}(?: [A-Z][A-Za-z-]*)*)")
_CODE: Final = re.compile(r"<Code>(\w{1,60})</Code>")
_ADDRESS: Final = re.compile(r"\S+://\S*")
_NO_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})
_FULL: Final = frozenset(
    {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceededException"}
)
"""How services say that there is no room, or no quota left; some with the status 507 alone."""
_LONGEST: Final = 200


@contextmanager
def trouble_about(upload_id: str | None, place: str) -> Iterator[None]:
    """Raise the port's errors for what the library says about an upload's object, or (None) about the place."""
    try:
        yield
    except FileNotFoundError as error:
        if said := _code(str(error)) & _NO_BUCKET:
            raise BlobUnavailable(f"{place} does not exist ({said.pop()}).") from None
        raise BlobMissing(f"no bytes are kept for upload {upload_id}") from None
    except (PermissionDeniedError, UnauthenticatedError) as error:
        _check_room(upload_id, place, error)
        raise BlobUnavailable(
            f"{place} does not let us in: {reason_of(error)}. Check the credentials and what they allow."
        ) from None
    except TimeoutError:
        raise BlobUnavailable(f"{place} does not answer in time.") from None
    except (BaseError, OSError, ValueError) as error:
        _check_room(upload_id, place, error)
        about = "" if upload_id is None else f" for upload {upload_id}"
        raise BlobUnavailable(f"{place} failed{about}: {reason_of(error)}.") from None


def _check_room(upload_id: str | None, place: str, error: Exception) -> None:
    """Tell whether a service is full from whether it is away.

    Raises:
        StorageFull: it is.
    """
    text = str(error)
    if _code(text) & _FULL or _status(text).startswith("507"):
        raise StorageFull(
            f"{place} has no room for more of upload {upload_id}: {reason_of(error)}. What it has is kept: make room, "
            "then resume where it ends."
        ) from None


def reason_of(error: Exception) -> str:
    """Return what went wrong, without anything that may be secret."""
    text = str(error)
    if status := _status(text):
        return " ".join([status, *(f"({code})" for code in sorted(_code(text)))])
    told = _ADDRESS.sub("…", text.partition("\n")[0].partition("<")[0])
    return told[:_LONGEST].strip(" .:")


def _status(text: str) -> str:
    found = _STATUS.search(text)
    return found.group(1) if found else ""


def _code(text: str) -> set[str]:
    return set(_CODE.findall(text))
