"""How a clamd gets at files that lie on this machine: what is wanted, and the proof that it sees the same files."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..eicar import eicar
from ..self_test import HARMLESS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..sources import OpenFile

_PREFIX: Final = ".penstock-self-test-"


class LocalWay(StrEnum):
    """How files on this machine are handed to clamd. What cannot be done falls back to the stream."""

    AUTO = "auto"
    """By descriptor over a unix socket, else by path where that is proven to work, else as a stream."""
    DESCRIPTOR = "fd"
    """By descriptor over a unix socket."""
    PATH = "path"
    """By path where that is proven to work."""
    STREAM = "stream"
    """As a stream."""


def path_for_clamd(file: OpenFile, folder: Path) -> Path | None:
    """Return by which path clamd can open this very file; None when that is not below `folder`, or another file."""
    path = Path(os.path.realpath(file.path))
    if not path.is_relative_to(os.path.realpath(folder)):
        return None
    try:
        there, here = path.stat(), os.fstat(file.fd)
    except OSError:
        return None
    return path if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) else None


@contextmanager
def probes_in(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Put the EICAR test file and a harmless one into `folder`, readable by all, for as long as the context is open.

    Raises:
        OSError: they cannot be written there.
    """
    _remove_left(folder)
    with _probe(folder, eicar()) as bad, _probe(folder, HARMLESS) as good:
        yield bad, good


@contextmanager
def _probe(folder: Path, data: bytes) -> Iterator[Path]:
    fd, name = tempfile.mkstemp(dir=folder, prefix=_PREFIX)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, data)
        os.fchmod(fd, 0o644)
        yield Path(os.path.realpath(name))
    finally:
        Path(name).unlink(missing_ok=True)
        os.close(fd)


def _remove_left(folder: Path) -> None:
    """Remove what one who was killed has left; those of the living are locked."""
    for left in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
