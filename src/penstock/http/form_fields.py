"""What the fields of a form say about the files that come after them."""

from __future__ import annotations

import base64
from typing import Final, NamedTuple

from ..uploads.errors import BadForm
from ..uploads.protocols.integrity import KEY, read_file_checksum
from ..uploads.protocols.metadata import checked_space, media_type_of

_OF_NEXT: Final = ("name", "path", "type", KEY)


class Wish(NamedTuple):
    """How one file is to be taken."""

    name: str | None
    """None: as the file itself says."""
    path: str | None
    """Where it is to be, with its name at the end; None: that is not said."""
    folder: str
    """In which folder it is to be, with a slash at the end, unless `path` says so; empty: in none."""
    media_type: str
    metadata: str
    """In the form of `Upload-Metadata`."""

    def whereabouts(self, filename: str | None) -> tuple[str | None, str | None]:
        """Return name and path of the upload for a file that has a name of its own; None: neither is said."""
        name = filename if self.name is None else self.name
        return name, self.path if self.path or not self.folder else f"{self.folder}{name or ''}"


class Fields:
    """Collects them: others than those named here mean nothing.

    `name`, `type` and `checksum` are about the next file, and so is a `path`. One that ends with a slash is a folder,
    for all files from then on, as a browser sends all that somebody has chosen; an empty one ends that. `space` is for
    all files of the form.

    Args:
        space: the one that the address names; None: it does not.
    """

    def __init__(self, space: str | None) -> None:
        self._space = space
        self._folder = ""
        self._folder_is_new = False
        self._next: dict[str, str] = {}
        self._used = False

    @property
    def space(self) -> str:
        """Where all files of the form go."""
        self._used = True
        return self._space or "default"

    def add(self, name: str, value: str) -> None:
        """Take in one field.

        Raises:
            BadForm: it is there twice, or the space comes too late.
            BadHeader: it cannot be the name of a space, or a checksum.
        """
        if name == "space":
            self._set_space(checked_space(value))
        elif name in _OF_NEXT:
            if name in self._next or (name == "path" and self._folder_is_new):
                raise BadForm(f"the field {name!r} is there twice before a file. Send it once for each.")
            if name == KEY:
                read_file_checksum(value)
            if name == "path" and (not value or value.endswith("/")):
                self._folder, self._folder_is_new = value, True
            else:
                self._next[name] = value
            if "path" in self._next and "name" in self._next:
                raise BadForm("`path` ends with a file's name, and so `name` says it a second time. Send one of them.")

    def next(self, media_type: str) -> Wish:
        """Return what is said about the file that comes now, whose own headers name a media type."""
        said, self._next, self._folder_is_new = self._next, {}, False
        checksum = base64.b64encode(said[KEY].encode()).decode() if KEY in said else ""
        return Wish(
            said.get("name"),
            said.get("path"),
            self._folder,
            media_type_of(said.get("type", media_type)),
            f"{KEY} {checksum}" if checksum else "",
        )

    def check_used(self) -> None:
        """Make sure that every field was about a file.

        Raises:
            BadForm: one came after the last of them.
        """
        unused = next(iter(self._next), "path" if self._folder_is_new else None)
        if unused is not None:
            raise BadForm(f"the field {unused!r} came after the last file. Send it before that which it is about.")

    def _set_space(self, space: str) -> None:
        if self._space is not None and self._space != space:
            raise BadForm(
                f"the form names two spaces, {self._space[:80]!r} and {space[:80]!r}. Send one form for each."
            )
        if self._used and self._space != space:
            raise BadForm("the field 'space' came after a file. Send it before the first one.")
        self._space = space
