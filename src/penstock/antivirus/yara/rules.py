"""Which rule files there are."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from ...errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SUFFIXES = {".yar", ".yara"}
_INCLUDE: Final = re.compile(rb'^\s*include\s+"([^"\n]+)"', re.MULTILINE)

Stamp: TypeAlias = tuple[object, ...]
"""Changes whenever a rule file does."""


class RulesInvalid(ConfigurationError):
    """A rule file is not there, cannot be read, or does not compile; the message names file and line."""

    code = "yara-rules-invalid"


def find_rules(paths: Iterable[Path]) -> list[str]:
    """Return all rule files: those named, and those in the folders named and below, by name; absolute.

    Raises:
        RulesInvalid: a path does not exist, or a folder has no rule file.
    """
    return [str(file) for path in paths for file in _files(path.absolute())]


def stamp_of(paths: Iterable[Path]) -> Stamp:
    """Return what tells whether rules have changed since: names, times and sizes of all files, included ones too."""
    try:
        files = [Path(file) for file in find_rules(paths)]
    except RulesInvalid as error:
        return (str(error),)
    return tuple(_look(file) for file in _with_included(files))


def _with_included(files: list[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    while files:
        file = files.pop()
        if file in seen:
            continue
        seen.add(file)
        yield file
        try:
            source = file.read_bytes()
        except OSError:
            continue  # compiling it says so
        # They are looked for beside the rule file, or, as a worker does it, beside any of them.
        files += [file.parent / os.fsdecode(name) for name in _INCLUDE.findall(source)]


def _look(file: Path) -> tuple[object, ...]:
    try:
        found = file.stat()
    except OSError as error:
        return (str(file), error.errno)
    return (str(file), found.st_ino, found.st_size, found.st_mtime_ns)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise RulesInvalid(f"{path}: there is no such file or folder of YARA rules")
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    if not files:
        raise RulesInvalid(f"{path}: there is no YARA rule in this folder; a rule file ends in .yar or .yara")
    return files
