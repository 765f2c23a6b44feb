"""Lists of files by their paths, with folders: what the paths have in common up to a delimiter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..catalogue import paths
from ..upload import Upload

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Listing(msgspec.Struct, frozen=True):
    """A part of what lies in a folder, and where it goes on."""

    files: list[Upload]
    """In the order of their paths."""
    folders: list[str]
    """Their paths, each with the delimiter at its end."""
    next: str | None
    """The cursor of the next part; None: this was the last one."""


def listing(connection: Connection, space: str, prefix: str, delimiter: str, *, after: str, limit: int) -> Listing:
    """Return at most `limit` files and folders whose paths begin with `prefix`, after a path or folder of that list."""
    files: list[Upload] = []
    folders: list[str] = []
    is_after_folder = False
    while (missing := limit - len(files) - len(folders)) > 0:
        most = 1 if is_after_folder else missing  # after a folder there mostly comes another one
        is_after_folder = False
        found = paths.listed(connection, space, prefix, after=after, most=most)
        for upload in found:
            name, found_delimiter, _ = (
                upload.file_path.removeprefix(prefix).partition(delimiter) if delimiter else ("", "", "")
            )
            if found_delimiter:
                folders.append(f"{prefix}{name}{delimiter}")
                after = folders[-1] + paths.LAST  # all that lies in it is passed over, not read
                is_after_folder = True
                break
            files.append(upload)
            after = upload.file_path
        else:
            if len(found) < most:
                return Listing(files, folders, None)
    return Listing(files, folders, after)
