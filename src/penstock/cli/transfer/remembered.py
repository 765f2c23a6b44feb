"""Remembers on disk which files are on their way, so that the same command, run again, goes on with them.

A file per upload, in `$XDG_STATE_HOME/penstock/uploads` (XDG Base Directory Specification; by default below
`~/.local/state`). Whoever sends a file holds a lock on it, so that two commands never send one file to one upload. Who
knows the address of an unfinished upload can add to it: the folder is for its owner only.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from ...errors import InvalidRequest

if TYPE_CHECKING:
    from .sources import Fingerprint, Source

_KEPT_SECONDS: Final = 30 * 86400.0
"""Servers forget unfinished uploads long before."""


class AlreadySending(InvalidRequest):
    """Another command is sending this very file to this very server."""

    code = "already-sending"


class Claim:
    """The right to send one file, and what is remembered of it. Close it to give the right back."""

    def __init__(self, descriptor: int | None, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        self._noted = {} if descriptor is None else _read(descriptor)

    def upload_of(self, fingerprint: Fingerprint) -> str | None:
        """Return the address of the upload that was begun for the file when it was just like this; None if none was."""
        facts = (self._noted.get("size"), self._noted.get("modified_ns"))
        return self.upload if facts == (fingerprint.size_bytes, fingerprint.modified_ns) else None

    @property
    def upload(self) -> str | None:
        """Return the address of the upload that was begun for the file, whatever it was like; None if none was."""
        upload = self._noted.get("upload")
        return upload if isinstance(upload, str) else None

    def note(self, source: Source, fingerprint: Fingerprint, upload: str) -> None:
        """Remember where the file is on its way to."""
        self._noted = {
            "upload": upload,
            "file": os.fsencode(source.path).decode("utf-8", "backslashreplace"),
            "size": fingerprint.size_bytes,
            "modified_ns": fingerprint.modified_ns,
        }
        if self._descriptor is None:
            return
        content = json.dumps(self._noted).encode()
        try:
            os.pwrite(self._descriptor, content, 0)
            os.ftruncate(self._descriptor, len(content))
        except OSError:
            self.forget()  # a full disk: what is noted in part is worse than nothing

    def forget(self) -> None:
        """Remember nothing any more: the file has arrived, or will never."""
        self._noted = {}
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Give the right back. What nothing was noted of leaves nothing behind."""
        if self._descriptor is None:
            return
        if not self._noted:
            self._path.unlink(missing_ok=True)  # while we hold the lock, the file there is ours
        os.close(self._descriptor)
        self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Memory:
    """What is remembered of uploads to one server. Without a folder to write in, nothing is, and `problem` says why."""

    def __init__(self, server: str, folder: Path | None) -> None:
        self._server = server
        self._folder = folder
        self.problem = ""
        try:
            if folder is None:
                raise FileNotFoundError(2, "there is no home folder")
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _prune(folder)
        except OSError as error:
            self._folder = None
            self.problem = self._unremembered(folder, error)

    def claim(self, source: Source, *, space: str) -> Claim:
        """Take the right to send a file to a space of the server.

        Raises:
            AlreadySending: another command has it.
        """
        if self._folder is None:
            return Claim(None, Path())
        facts = "\0".join((self._server, str(source.path), space, *([source.place] if "/" in source.place else [])))
        path = self._folder / f"{hashlib.sha256(os.fsencode(facts)).hexdigest()[:40]}.json"
        while True:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                self.problem = self._unremembered(path, error)
                return Claim(None, path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                raise AlreadySending(
                    f"{source.shown}: another `penstock upload` is sending this file to {self._server}. "
                    "Let it end first."
                ) from error
            if _is_still(path, descriptor):
                return Claim(descriptor, path)
            os.close(descriptor)  # who had the lock has just removed the file: what we locked is not there any more

    @staticmethod
    def _unremembered(path: Path | None, error: OSError) -> str:
        where = "" if path is None else f"{path}: "
        return f"{where}{error.strerror}: unfinished uploads are not remembered. Name a folder with XDG_STATE_HOME."


def state_folder() -> Path | None:
    """Return where to remember; None where there is no home to keep anything in."""
    said = os.environ.get("XDG_STATE_HOME", "")
    try:
        state = Path(said) if said.startswith("/") else Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return state / "penstock" / "uploads"


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def _read(descriptor: int) -> dict[str, Any]:
    try:
        noted = json.loads(os.pread(descriptor, 1 << 20, 0))
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) else {}


def _prune(folder: Path) -> None:
    """Remove what was noted so long ago that no server knows of it; what is locked is in use."""
    before = time.time() - _KEPT_SECONDS
    for path in folder.glob("*.json"):
        try:
            if path.stat().st_mtime < before:
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
        except OSError:
            continue
