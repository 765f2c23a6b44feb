"""The objects inside events: users, resources, references and timestamps.

On the wire their keys are our field names, and what is empty, zero, false or None is left out, as the Go
services do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Self, TypeAlias

import msgspec
from msgspec import Meta

from .gotime import unix_nanoseconds

if TYPE_CHECKING:
    from datetime import datetime

UINT64_MAX: Final = 2**64 - 1
"""Largest `filesize` and `Timestamp.seconds` that the Go services can read."""

Int32: TypeAlias = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Int64: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Uint32: TypeAlias = Annotated[int, Meta(ge=0, le=2**32 - 1)]
# The upper bound does not fit msgspec's constraints: the struct's own `__post_init__` checks it.
Uint64: TypeAlias = Annotated[int, Meta(ge=0)]


def check_uint64(name: str, value: int) -> None:
    """Refuse a number that no Go service could read back.

    Raises:
        ValueError: `value` does not fit into 64 bits without sign.
    """
    if not 0 <= value <= UINT64_MAX:
        raise ValueError(f"{name}={value}: must be between 0 and {UINT64_MAX}")


class Shared(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of the objects inside events: snake_case on the wire, empty fields left out."""


class UserId(Shared, frozen=True, kw_only=True):
    """Who a user is, without saying anything about them."""

    idp: str = ""
    """Identity provider that issued `opaque_id`, usually a URL."""
    opaque_id: str = ""
    """The user's ID at that provider."""
    type: Int32 = 0
    """0 unknown, 1 primary, 2 secondary, 3 service, 4 application, 5 guest, 6 federated, 7 lightweight,
    8 space owner."""


class OpaqueEntry(Shared, frozen=True, kw_only=True):
    """One value in an `Opaque`."""

    decoder: str = ""
    """How to read `value`, such as `plain` or `json`."""
    value: bytes = b""
    """The value itself (base64 on the wire)."""


class Opaque(Shared, frozen=True, kw_only=True):
    """Values that travel along without us knowing their meaning."""

    map: dict[str, OpaqueEntry | None] = {}
    """By name; written in alphabetical order."""


class User(Shared, frozen=True, kw_only=True):
    """A user as the storage provider knows them; copied unchanged from event to event."""

    id: UserId | None = None
    """Who it is; None if unknown."""
    username: str = ""
    """Login name."""
    mail: str = ""
    """Mail address."""
    mail_verified: bool = False
    """Whether somebody has checked that `mail` is theirs."""
    display_name: str = ""
    """Name for people to read."""
    groups: tuple[str, ...] = ()
    """IDs of the groups that the user is in."""
    opaque: Opaque | None = None
    """Anything else the identity provider sent."""
    uid_number: Int64 = 0
    """POSIX user ID, 0 if none."""
    gid_number: Int64 = 0
    """POSIX group ID, 0 if none."""


class ResourceId(Shared, frozen=True, kw_only=True):
    """Which file or folder."""

    storage_id: str = ""
    """Storage provider; BytesReceived of the Go services does not carry it."""
    opaque_id: str = ""
    """The file or folder within its space."""
    space_id: str = ""
    """The space it is in."""


class Reference(Shared, frozen=True, kw_only=True):
    """Where a file is: a path relative to a folder."""

    resource_id: ResourceId | None = None
    """The folder, usually the root of a space."""
    path: str = ""
    """Relative path, starting with `./`."""


class Timestamp(Shared, frozen=True, kw_only=True):
    """A moment within an event, in nanoseconds since 1970-01-01T00:00:00Z."""

    seconds: Uint64 = 0
    """Whole seconds since 1970."""
    nanos: Uint32 = 0
    """Nanoseconds on top of `seconds`."""

    @classmethod
    def of(cls, at: datetime) -> Self:
        """Return a moment as it stands in events."""
        seconds, nanos = divmod(unix_nanoseconds(at), 1_000_000_000)
        return cls(seconds=seconds, nanos=nanos)

    def __post_init__(self) -> None:
        """Refuse more seconds than fit into 64 bits.

        Raises:
            ValueError: `seconds` is out of range.
        """
        check_uint64("seconds", self.seconds)
