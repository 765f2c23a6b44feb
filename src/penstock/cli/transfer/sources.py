"""Which files are to be sent, and whether one is still what it was."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

from ...errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class FileChanged(InvalidRequest):
    """The file is not the one any more that was begun to be sent."""

    code = "file-changed"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells that a file was not changed, as far as a file system tells it at all."""

    size_bytes: int
    modified_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        """Take it from what the system says of a file."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be sent."""

    path: Path
    """Absolute."""
    shown: str
    """As it was named, for people."""
    relative: str = ""
    """Where it lies below the folder that was named, with that folder's name; "" when it was named itself."""
    into: str = ""
    """In which folder on the server it is to be, with a slash at its end; "" for none."""

    @property
    def place(self) -> str:
        """Where in its space the file is to be."""
        return f"{self.into}{self.relative or self.path.name}"

    def fingerprint(self) -> Fingerprint:
        """Return what the file is now.

        Raises:
            InvalidRequest: it is not there any more, or cannot be looked at.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise unreadable(self.shown, error) from error
        return Fingerprint.of(found)


PassedOver: TypeAlias = "Callable[[str, InvalidRequest], None]"
"""Is told what cannot be looked at, and why."""


def sources_of(
    paths: Iterable[Path], *, recursive: bool, passed_over: PassedOver | None = None, into: str = ""
) -> list[Source]:
    """Return the files that the paths name, each once, in order.

    Args:
        paths: Files and folders.
        recursive: Whether the files in folders are meant, too.
        passed_over: Hears of what cannot be looked at, while the rest is returned; None: that is an error.
        into: In which folder they are to be on the server; "": in none.

    Raises:
        InvalidRequest: a path is no file; or it is a folder, and `recursive` is not set. All of them are told.
    """
    found: dict[Path, Source] = {}
    problems: list[str] = []
    folder = f"{into.strip('/')}/" if into.strip("/") else ""

    def stop(path: str, error: InvalidRequest) -> None:
        del path
        raise error

    for path in paths:
        try:
            for source in _below(path, recursive=recursive, passed_over=passed_over or stop):
                found.setdefault(source.path, replace(source, into=folder))
        except InvalidRequest as error:
            if passed_over is None:
                problems.append(str(error))
            else:
                passed_over(str(path), error)
    if problems:
        raise InvalidRequest("\n".join(problems))
    return list(found.values())


def _below(path: Path, *, recursive: bool, passed_over: PassedOver) -> Iterator[Source]:
    def pass_over(error: OSError) -> None:
        passed_over(str(error.filename), unreadable(str(error.filename), error))

    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise unreadable(str(path), error) from error
    if stat.S_ISREG(mode):
        yield Source(path.absolute(), str(path))
    elif not stat.S_ISDIR(mode):
        raise InvalidRequest(f"{path} is neither a file nor a folder. Name a file.")
    elif not recursive:
        raise InvalidRequest(f"{path} is a folder. Add --recursive to upload all files in it.")
    else:
        above = path if path.name in ("", "..") else path.parent
        for folder, folders, names in os.walk(path, onerror=pass_over):
            folders.sort()
            for name in sorted(names):
                file = Path(folder, name)
                if file.is_file():
                    yield Source(file.absolute(), str(file), file.relative_to(above).as_posix())


def unreadable(shown: str, error: OSError) -> InvalidRequest:
    """Return the error that says why a file cannot be read."""
    if isinstance(error, FileNotFoundError):
        return InvalidRequest(f"{shown}: there is no such file")
    return InvalidRequest(f"{shown} cannot be read: {error.strerror}")
