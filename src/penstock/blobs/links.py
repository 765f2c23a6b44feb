"""The ability of a final place to lend bytes out: copies at addresses that it signs itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from .base import FinalPlace

if TYPE_CHECKING:
    from datetime import timedelta


class Copy(NamedTuple):
    """What there is of a copy, without its bytes."""

    size_bytes: int
    tag: str
    """Another one whenever other bytes were put there; empty: nobody can tell."""


class Lending(FinalPlace, Protocol):
    """A place for copies that are lent out."""

    async def link(self, upload_id: str, *, life: timedelta) -> str:
        """Return an address that anybody can read the bytes from for `life`. It is a secret.

        Raises:
            BlobUnavailable: there is none.
        """
        ...

    async def copy(self, upload_id: str) -> Copy:
        """Return what there is of a copy.

        Raises:
            BlobMissing: nothing is.
            BlobUnavailable: nobody can tell now.
        """
        ...

    async def kept(self) -> list[str]:
        """Return the IDs of all uploads with a copy.

        Raises:
            BlobUnavailable: nobody can tell now.
        """
        ...


@runtime_checkable
class SupportsLinks(Protocol):
    """A final place that can lend."""

    def lending(self) -> Lending:
        """Return the place for copies; it need not be opened."""
        ...
