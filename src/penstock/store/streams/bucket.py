"""How records lie in a stream: what differs between the key-value store and the object store."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from ...errors import ConfigurationError
from ..base import RevisionConflict

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from .stream import Message, Stream

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_SUBJECT: Final = 3000
"""Characters. A server ends the connection when a line with twice the subject exceeds 4096 bytes by its default."""


class Found(NamedTuple):
    """What the stream says of one upload."""

    upload_id: str
    seq: int
    """Which version this is: the revision."""
    data: bytes | None
    """The record's JSON; None when the record was removed."""
    elsewhere: bool = False
    """True when there is a record that has to be read by itself."""


Interpreter: TypeAlias = "Callable[[Message], Found | None]"
"""Takes the messages of a stream in their order, and tells what each says of an upload; None when it says nothing."""


class Bucket(Protocol):
    """Reads and writes single records. Any method may raise `StoreUnavailable`."""

    stream: Stream
    each_says_all: bool
    """Whether a message says all that there is to know of a version, without those before it."""

    def interpreter(self) -> Interpreter:
        """Return a new interpreter of the stream from its beginning."""
        ...

    def subject_of(self, upload_id: str) -> str:
        """Return where versions and the removal of a record are written."""
        ...

    async def read(self, upload_id: str) -> Found | None:
        """Return the current version or the removal of a record; None when there is neither."""
        ...

    async def write(self, upload_id: str, data: bytes, *, expected: int | None) -> int:
        """Write a record if `expected` is its version (None: it has none), and return its new version.

        Raises:
            RevisionConflict: there is another version.
        """
        ...

    async def remove(self, upload_id: str, *, expected: int) -> int | None:
        """Remove a record if `expected` is its version, and return the version of its removal; None when it is gone.

        Raises:
            RevisionConflict: there is another version.
        """
        ...

    def forget(self) -> None:
        """Forget what is remembered of the stream: it is another one."""
        ...


def checked_name(database: str) -> str:
    """Return the name of a bucket.

    Raises:
        ConfigurationError: NATS allows no such name.
    """
    if not _NAME.fullmatch(database):
        raise ConfigurationError(
            f"store database {database!r}: not a name for a bucket of NATS. Use letters, digits, '-' and '_' only."
        )
    return database


def fits(subject: str) -> bool:
    """Tell whether a server takes a subject of this length."""
    return len(subject) <= _LONGEST_SUBJECT


def raise_conflict(upload_id: str, found: Found | None, expected: int | None) -> None:
    """Compare what is there with what is expected.

    Raises:
        RevisionConflict: they differ.
    """
    version = None if found is None or (found.data is None and not found.elsewhere) else found.seq
    if version != expected:
        raise RevisionConflict(upload_id)
