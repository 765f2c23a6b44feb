"""What lies in the folders of a local store. Blocking: everything here runs in threads, a folder at a time."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ...ids import is_upload_id
from ..inventory import Found, Stage
from .tree import RELEASED, STAGED, errors_about, errors_about_folder, remove, sync_folder

if TYPE_CHECKING:
    from .tree import Tree

_MARK: Final = ".tentative"
_PROBE: Final = re.compile(r"\.writable-[0-9]+", re.ASCII)
_STAGES: Final = {STAGED: Stage.STAGED, RELEASED: Stage.RELEASED}


def folders_of(tree: Tree) -> list[tuple[Stage, str]]:
    """Return the folders to look into, one after the other, and what bytes in them are."""
    stages = [(stage, f"{tree.root}/{name}") for name, stage in _STAGES.items()]
    return stages + [(stage, f"{folder}/{number:02x}") for stage, folder in stages for number in range(256)]


def look_into(stage: Stage, folder: str) -> list[Found]:
    """Return what lies in one folder and has a name of ours; what goes away meanwhile is left out."""
    with errors_about_folder(folder), os.scandir(folder) as entries:
        found = [_found(stage, entry) for entry in entries]
    return [one for one in found if one is not None]


def remove_as_found(found: Found) -> bool:
    """Remove a file unless it has changed since it was found; return whether it is gone by our doing."""
    with errors_about(found.upload_id or found.key):
        try:
            status = os.stat(found.key, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if (status.st_size, _when(status)) != (found.size_bytes, found.changed_at):
            return False
        remove(found.key)
        sync_folder(os.path.dirname(found.key))
    return True


def _found(stage: Stage, entry: os.DirEntry[str]) -> Found | None:
    name, upload_id = entry.name, entry.name.removesuffix(_MARK)
    if _PROBE.fullmatch(name):
        stage, upload_id = Stage.PROBE, ""
    elif not is_upload_id(upload_id):
        return None
    elif upload_id != name:
        stage = Stage.MARK
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not entry.is_file(follow_symlinks=False):
        return None
    return Found(stage, upload_id, status.st_size, _when(status), "", entry.path)


def _when(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1_000_000, UTC)
