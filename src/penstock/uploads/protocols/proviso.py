"""What must be at an upload's path for it to become the file there (RFC 9110, 13), kept with it until it does.

What holds when a request begins may not hold any more when all bytes are there, nor when the steps have passed them,
perhaps hours later. So it is looked at in the very transactions that take the upload in and put it in its place.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from ..file_errors import FileThere, OtherVersion

if TYPE_CHECKING:
    from ..places import Place
    from ..upload import Upload

ANY: Final = "*"
"""In place of a version: whichever it is."""


class Proviso(msgspec.Struct, frozen=True, omit_defaults=True):
    """A condition on the file at a path; all that it says must hold."""

    any_of: tuple[str, ...] | None = None
    """Versions that the file must have one of (`If-Match`); None: nothing is said, and there need be no file."""
    none_of: tuple[str, ...] | None = None
    """Versions that it must not have (`If-None-Match`)."""
    unmodified_since: datetime | None = None
    """When it must have been released at the latest, if there is a file; in whole seconds."""

    def names(self, version: str) -> bool:
        """Tell whether it is this version, and not just any, that is to be replaced."""
        return self.any_of is not None and version in self.any_of

    def check(self, place: Place, present: Upload | None) -> None:
        """Make sure that the file at a place (None: there is none) is as it must be.

        Raises:
            FileThere, OtherVersion: it is not.
        """
        if (unmet := self.objection(place, present)) is not None:
            raise unmet

    def objection(self, place: Place, present: Upload | None) -> FileThere | OtherVersion | None:
        """Return in what the file at a place (None: there is none) is not as it must be, if so."""
        if present is None:
            if self.any_of is None:
                return None
            return OtherVersion(f"there is no file {place}, and the request is meant for one.")
        tag = f'its ETag is "{present.id}"'
        if self.none_of is not None and ANY in self.none_of:
            return FileThere(f"there is a file {place} already: {tag}.")
        if self._is_other(present) or (self.none_of is not None and present.id in self.none_of):
            return OtherVersion(f"the request is meant for another state of the file {place}: {tag}.")
        return None

    def _is_other(self, present: Upload) -> bool:
        if self.any_of is not None:
            return ANY not in self.any_of and present.id not in self.any_of
        if self.unmodified_since is None or present.ended_at is None:
            return False
        return present.ended_at.replace(microsecond=0) > self.unmodified_since


NO_FILE: Final = Proviso(none_of=(ANY,))
"""There must be none."""
