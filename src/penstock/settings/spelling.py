"""Names that nobody knows, and the known ones that they look like."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from .entries import PREFIX, Entry
from .go_names import SETS_NOTHING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

_OF_KUBERNETES = re.compile(
    r"PENSTOCK_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)",
    re.ASCII,
)
"""What Kubernetes puts into every pod beside a service called `penstock` or `penstock-…`."""
_LINK = re.compile(r"(?:tcp|udp|sctp)://", re.ASCII)
"""How the value of its variables `…_PORT` begins."""
_SHARED_PREFIXES = ("POSTPROCESSING_", "ANTIVIRUS_", "STORAGE_USERS_", "OCIS_", "OC_")
_ALIKE = 0.6
_NEARLY_THE_SAME = 0.93
"""Two letters swapped in a long name. Lower, and names of the Go services that we don't have would be suspected."""


def unknown_variables(
    environ: Mapping[str, str], lines: Mapping[str, Entry], further: Collection[str]
) -> tuple[list[str], list[str]]:
    """Return what is wrong with the names in an environment, and what is only suspicious.

    A name of ours that does not exist is wrong. Names of the Go services are not ours to judge, but one that differs by
    a slip of the finger from one that we know is worth a word.
    """
    ours = {entry.variable for entry in lines.values()} | set(further)
    theirs = {other.variable for entry in lines.values() for other in entry.others}
    known = theirs | {variable for one in SETS_NOTHING for variable in one.variables}
    wrong = [
        f"{name} (environment): there is no such setting. {_did_you_mean(name, ours)}"
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in ours and not _is_from_kubernetes(name, environ[name])
    ]
    suspicious = [
        f"{name} (environment) is not known here and does nothing. Did you mean {close[0]}?"
        for name in sorted(environ)
        if name.startswith(_SHARED_PREFIXES)
        and name not in known
        and (close := get_close_matches(name, sorted(theirs), 1, _NEARLY_THE_SAME))
    ]
    return wrong, suspicious


def unknown_keys(keys: Iterable[str], lines: Mapping[str, Entry], path: Path, prefix: str = "") -> list[str]:
    """Return what is wrong with the names in a file; `prefix` names the table that they are in."""
    return [
        f"{prefix}{key} ({path}): there is no such setting. {_did_you_mean(key, lines)}"
        for key in keys
        if key not in lines
    ]


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    by_ending = {one.removeprefix(PREFIX): one for one in sorted(known)}  # what all have in common says nothing
    close = get_close_matches(name.removeprefix(PREFIX), by_ending, 1, _ALIKE)
    return f"Did you mean {by_ending[close[0]]}?" if close else "`penstock config` lists all there are."


def _is_from_kubernetes(name: str, value: str) -> bool:
    return _OF_KUBERNETES.fullmatch(name) is not None or (name.endswith("_PORT") and _LINK.match(value) is not None)
