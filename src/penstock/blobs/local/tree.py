"""Where the files of a local blob store lie, and what the system's errors about them mean.

::

    <root>/staged/3f/3f2a…            the bytes of an upload, while they are held back
    <root>/staged/3f/3f2a….tentative  from which byte on they do not count (see `StagedFile`)
    <root>/released/3f/3f2a…          the same file, once it was released: a rename, never a copy

All folders are made when the store is opened, so that nothing has to be made, or flushed to disk, beside an upload.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ...errors import ConfigurationError
from ...ids import is_upload_id
from ..base import BlobMissing, BlobUnavailable, StorageFull

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STAGED: Final = "staged"
RELEASED: Final = "released"
_FOLDER_MODE: Final = 0o750
FILE_MODE: Final = 0o640
"""The owner's group may read, as a scanner under another user needs it; nobody else may."""
_SHARDS: Final = [f"{number:02x}" for number in range(256)]
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Disk full, quota used up, and a file larger than the file system or the process may make it."""

NOT_IN_KERNEL: Final = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
"""What `copy_file_range(2)` says between file systems, and on those that do not have it."""


class Tree:
    """The folders below one root. An ID that is not one of ours never becomes part of a path."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._base = str(self.root)

    def staged(self, upload_id: str) -> str:
        """Return where an upload's bytes are while they are held back."""
        return self._path(STAGED, upload_id)

    def released(self, upload_id: str) -> str:
        """Return where an upload's bytes are after their release."""
        return self._path(RELEASED, upload_id)

    def folder(self, stage: str, upload_id: str) -> str:
        """Return the folder that an upload's file lies in."""
        return f"{self._base}/{stage}/{upload_id[:2]}"

    def staged_ids(self) -> list[str]:
        """Return the IDs of all staged files."""
        with errors_about_folder(self._base):
            return [
                name for shard in _SHARDS for name in os.listdir(f"{self._base}/{STAGED}/{shard}") if is_upload_id(name)
            ]

    def free_bytes(self) -> int:
        """Return how much room the file system has for this user."""
        with errors_about_folder(self._base):
            found = os.statvfs(self._base)
        return found.f_bavail * found.f_frsize

    def prepare(self, *, releases: bool = True) -> None:
        """Make the folders, and try whether files can be made in them and (`releases`) moved to the released ones.

        Raises:
            ConfigurationError: they cannot.
        """
        try:
            os.makedirs(self._base, _FOLDER_MODE, exist_ok=True)
            stages = [_make(f"{self._base}/{stage}") for stage in (STAGED, RELEASED)]
            shards = [_make(f"{self._base}/{stage}/{shard}") for stage in (STAGED, RELEASED) for shard in _SHARDS]
            if any(stages + shards):
                for folder in (f"{self._base}/{STAGED}", f"{self._base}/{RELEASED}", self._base):
                    sync_folder(folder)
                sync_folder(str(self.root.parent))
            self._probe(releases=releases)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise ConfigurationError(
                    f"{self._base}/{STAGED} and {self._base}/{RELEASED} are on two file systems, and files are moved "
                    "from one to the other when they are released. Mount one of them for both."
                ) from error
            raise ConfigurationError(
                f"the folder for uploads {self._base} cannot be used: {error.strerror} ({error.filename}). "
                "Make it writable for this user, or choose another folder."
            ) from error

    def _path(self, stage: str, upload_id: str) -> str:
        if not is_upload_id(upload_id):
            raise BlobMissing(f"{upload_id[:100]!r} is not an upload ID, so no bytes are kept under it")
        return f"{self._base}/{stage}/{upload_id[:2]}/{upload_id}"

    def _probe(self, *, releases: bool) -> None:
        name = f".writable-{secrets.randbelow(10**12)}"  # others may do the same in the same folder
        for stage in (STAGED, RELEASED):
            probe = f"{self._base}/{stage}/{name}"
            os.close(os.open(probe, os.O_CREAT | os.O_WRONLY, FILE_MODE))
            if releases and stage == STAGED:
                try:
                    os.rename(probe, f"{self._base}/{RELEASED}/{name}")
                except OSError:
                    os.unlink(probe)
                    raise
            else:
                os.unlink(probe)


def _make(folder: str) -> bool:
    """Make a folder unless it is there; tell whether it was made."""
    try:
        os.mkdir(folder, _FOLDER_MODE)
    except FileExistsError:
        return False
    return True


def sync_folder(path: str) -> None:
    """Force a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: str) -> None:
    """Remove a file, if there is one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


@contextmanager
def errors_about(upload_id: str) -> Iterator[None]:
    """Raise the port's errors for what the system says about an upload's file."""
    try:
        yield
    except FileNotFoundError as error:
        raise BlobMissing(f"no bytes are kept for upload {upload_id}") from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull(
                f"there is no room for more of upload {upload_id}: {error.strerror}. What fitted is kept: "
                "make room, then resume where it ends."
            ) from error
        raise BlobUnavailable(f"the storage failed for upload {upload_id}: {error.strerror}") from error


@contextmanager
def errors_about_folder(folder: str) -> Iterator[None]:
    """Raise the port's error for what the system says about the folder as a whole."""
    try:
        yield
    except OSError as error:
        raise BlobUnavailable(f"the folder for uploads {folder} cannot be looked at: {error.strerror}") from error
