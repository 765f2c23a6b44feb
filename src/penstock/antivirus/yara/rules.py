"""Which rule files there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SUFFIXES = {".yar", ".yara"}


class RulesInvalid(ConfigurationError):
    """A rule file is not there, cannot be read, or does not compile; the message names file and line."""

    code = "yara-rules-invalid"


def find_rules(paths: Iterable[Path]) -> list[str]:
    """Return all rule files: those named, and those in the folders named and below, by name; absolute.

    Raises:
        RulesInvalid: a path does not exist, or a folder has no rule file.
    """
    return [str(file) for path in paths for file in _files(path.absolute())]


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise RulesInvalid(f"{path}: there is no such file or folder of YARA rules")
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    if not files:
        raise RulesInvalid(f"{path}: there is no YARA rule in this folder; a rule file ends in .yar or .yara")
    return files
