"""Where files are: a space and a path in it."""

from __future__ import annotations

import msgspec

from .protocols.metadata import checked_space
from .protocols.names import checked_path


class Place(msgspec.Struct, frozen=True):
    """Where a file is."""

    space: str
    path: str

    @classmethod
    def of(cls, space: str, path: str) -> Place:
        """Return a place that there may be.

        Raises:
            UnsafeName, BadHeader: no file can be there.
        """
        return cls(checked_space(space), checked_path(path))

    @property
    def name(self) -> str:
        """The file's name, without its folders."""
        return self.path.rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.path[:80]!r} in {self.space[:80]!r}"
