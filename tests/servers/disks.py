"""Disks that are full or read-only, as real as they can be made here.

Who may mount gets a file system in memory, and a read-only mount over a folder. Who may not (as in many containers)
gets what the system says in the same words: a limit on the size of files, and folders without the right to write.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .penstock import PenstockServer

MIB: Final = 1024 * 1024
_LEFT_BYTES: Final = 2 * MIB
"""What a disk that is being filled has room for."""


class SmallDisk:
    """A file system of its own, if that is possible."""

    def __init__(self, folder: Path, *, mounted: bool) -> None:
        self._folder = folder
        self._mounted = mounted

    @contextmanager
    def full(self, server: PenstockServer) -> Iterator[None]:
        """Have it be full, all but a little."""
        if not self._mounted:
            before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (_LEFT_BYTES, resource.RLIM_INFINITY))
            try:
                yield
            finally:
                resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)
            return
        filler = self._folder / "filler"
        found = os.statvfs(self._folder)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - _LEFT_BYTES)
        try:
            yield
        finally:
            filler.unlink()


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Make one at a folder."""
    folder.mkdir()
    if _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)):
        try:
            yield SmallDisk(folder, mounted=True)
        finally:
            _run("umount", "-l", str(folder))
    else:
        yield SmallDisk(folder, mounted=False)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Have a folder, with all below it, be read-only."""
    if _run("mount", "--bind", str(folder), str(folder)):
        try:
            assert _run("mount", "-o", "remount,bind,ro", str(folder))
            yield
        finally:
            _run("umount", "-l", str(folder))
        return
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    modes = [path.stat().st_mode for path in folders]
    for path in folders:
        path.chmod(0o555)
    try:
        yield
    finally:
        for path, mode in zip(folders, modes, strict=True):
            path.chmod(mode)


def _run(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
