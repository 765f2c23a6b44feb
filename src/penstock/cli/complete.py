"""What the shell offers while somebody types: names, and steps and upload IDs, if a server answers at once."""

from __future__ import annotations

from typing import Any, Final

_PATIENCE_SECONDS: Final = 1.0
_OFFERED: Final = 200


def steps(incomplete: str) -> list[str]:
    """Return the steps that uploads are in now, and `finished`."""
    found = {str(record["step"]) for record in _asked("/postprocessing", "records", limit=1000)}
    return sorted(step for step in found | {"finished"} if step.startswith(incomplete))


def records(incomplete: str) -> list[tuple[str, str]]:
    """Return the uploads that have a record in postprocessing, with their file names."""
    found = _asked("/postprocessing", "records", limit=_OFFERED)
    return [(one["id"], one["filename"]) for one in found if one["id"].startswith(incomplete)]


def sessions(incomplete: str) -> list[tuple[str, str]]:
    """Return the uploads that are not at their end, with their file names."""
    found = _asked("/uploads", "uploads", sessions="true", limit=_OFFERED)
    return [(one["id"], one["filename"]) for one in found if one["id"].startswith(incomplete)]


def quarantined(incomplete: str) -> list[tuple[str, str]]:
    """Return the uploads that are in quarantine, with their file names."""
    found = _asked("/antivirus/quarantine", "uploads", limit=_OFFERED)
    return [(one["id"], one["filename"]) for one in found if one["id"].startswith(incomplete)]


def paths(incomplete: str) -> list[str]:
    """Return the files and folders of the default space that begin so."""
    files = _asked("/paths", "files", prefix=incomplete, delimiter="/", limit=_OFFERED)
    folders = _asked("/paths", "folders", prefix=incomplete, delimiter="/", limit=_OFFERED)
    return [*map(str, folders), *(one["path"] for one in files)]


def scanners(incomplete: str) -> list[str]:
    """Return the scanners that there are, behind those that are named already."""
    from ..backends import names

    before, comma, last = incomplete.rpartition(",")
    named = before.split(",")
    return [f"{before}{comma}{name}" for name in names("scanner") if name.startswith(last) and name not in named]


def _asked(path: str, key: str, **parameters: Any) -> list[dict[str, Any]]:
    from ..errors import PenstockError
    from .api import Api
    from .options import server_url

    try:
        with Api(server_url(None), timeout_seconds=_PATIENCE_SECONDS) as api:
            found: list[dict[str, Any]] = api.get(path, **parameters)[key]
    except (PenstockError, KeyError):  # whoever presses the tab key wants no errors
        return []
    return found
