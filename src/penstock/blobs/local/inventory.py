"""What lies in the folders of a local store. Blocking: everything here runs in threads, a folder at a time.

An upload that is staged in several files (`pieces`) is found as one thing: they count together, and go together. A mark
goes with the bytes beside it; only one that was left alone is found.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ...ids import is_upload_id
from ..base import BlobUnavailable
from ..inventory import Found, Stage
from .pieces import Pieces, owner_of, remove_all
from .tree import RELEASED, STAGED, errors_about, errors_about_folder, remove, sync_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .tree import Tree

_MARK: Final = ".tentative"
_PROBE: Final = re.compile(r"\.writable-[0-9]+", re.ASCII)
_STAGES: Final = {STAGED: Stage.STAGED, RELEASED: Stage.RELEASED}


def folders_of(tree: Tree) -> list[tuple[Stage, str]]:
    """Return the folders to look into, one after the other, and what bytes in them are."""
    stages = [(stage, f"{tree.root}/{name}") for name, stage in _STAGES.items()]
    return stages + [(stage, f"{folder}/{number:02x}") for stage, folder in stages for number in range(256)]


def look_into(tree: Tree, stage: Stage, folder: str) -> list[Found]:
    """Return what lies in one folder and has a name of ours; what goes away meanwhile is left out."""
    with errors_about_folder(folder):
        with os.scandir(folder) as entries:
            found = [one for entry in entries if (one := _found(stage, entry)) is not None]
        return _without_company(_put_together(tree, found)) if stage is Stage.STAGED else found


def remove_as_found(tree: Tree, found: Found) -> bool:
    """Remove a file, or those of an upload, unless they have changed since; return whether they are gone by our doing.

    That the file of an upload is there alone may have changed as well.
    """
    folder = os.path.dirname(found.key)
    with errors_about(found.upload_id or found.key):
        if found.stage in (Stage.STAGED, Stage.PIECES):
            if found not in [one for one in look_into(tree, Stage.STAGED, folder) if one.upload_id == found.upload_id]:
                return False
            remove_all(tree, found.upload_id)
        else:
            try:
                status = os.stat(found.key, follow_symlinks=False)
            except FileNotFoundError:
                return False
            if (status.st_size, _when(status)) != (found.size_bytes, found.changed_at):
                return False
            remove(found.key)
        sync_folder(folder)
    return True


def _found(stage: Stage, entry: os.DirEntry[str]) -> Found | None:
    name = entry.name
    upload_id = name if is_upload_id(name) else owner_of(name)
    if _PROBE.fullmatch(name):
        stage = Stage.PROBE
    elif not upload_id:
        return None
    elif name != upload_id:
        stage = Stage.MARK if name == upload_id + _MARK else Stage.PIECES
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not entry.is_file(follow_symlinks=False):
        return None
    return Found(stage, upload_id, status.st_size, _when(status), "", entry.path)


def _without_company(found: Sequence[Found]) -> list[Found]:
    """Return what was found but for the marks that go with something else of it."""
    others = {one.upload_id for one in found if one.stage is not Stage.MARK}
    return [one for one in found if one.stage is not Stage.MARK or one.upload_id not in others]


def _put_together(tree: Tree, found: Sequence[Found]) -> list[Found]:
    """Return one thing for each upload in several files; all else is as it is."""
    several = defaultdict[str, list[Found]](list)
    for one in found:
        if one.stage is Stage.PIECES:
            several[one.upload_id].append(one)
    if not several:
        return list(found)
    for one in found:
        if one.stage is Stage.STAGED and one.upload_id in several:
            several[one.upload_id].append(one)
    alone = [one for one in found if one.upload_id not in several or one.stage is Stage.MARK]
    return alone + [_as_one(tree, upload_id, files) for upload_id, files in several.items()]


def _as_one(tree: Tree, upload_id: str, files: Sequence[Found]) -> Found:
    """Return what several files are together: as old as the newest of them."""
    newest, key = max(one.changed_at for one in files), tree.staged(upload_id)
    try:
        return Found(Stage.STAGED, upload_id, Pieces(tree, upload_id).length(), newest, "", key)
    except (FileNotFoundError, BlobUnavailable):
        return Found(Stage.PIECES, upload_id, sum(one.size_bytes for one in files), newest, "", key)


def _when(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1_000_000, UTC)
