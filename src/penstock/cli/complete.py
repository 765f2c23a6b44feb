"""What the shell offers while somebody types: names, and steps and upload IDs, if a server answers at once."""

from __future__ import annotations

from typing import Any, Final

import typer

_PATIENCE_SECONDS: Final = 1.0
_OFFERED: Final = 200


def steps(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the steps that uploads are in now, and `finished`."""
    found = {str(record["step"]) for record in _asked(ctx, "/postprocessing", "records", limit=1000)}
    return sorted(step for step in found | {"finished"} if step.startswith(incomplete))


def records(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the uploads that have a record in postprocessing, with their file names."""
    found = _asked(ctx, "/postprocessing", "records", limit=_OFFERED)
    return [(one["id"], one["filename"]) for one in found if one["id"].startswith(incomplete)]


def sessions(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the uploads that are not at their end, with their file names."""
    found = _asked(ctx, "/uploads", "uploads", sessions="true", limit=_OFFERED)
    return [(one["id"], one["filename"]) for one in found if one["id"].startswith(incomplete)]


def quarantined(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the uploads that are in quarantine, with their file names."""
    found = _asked(ctx, "/antivirus/quarantine", "uploads", limit=_OFFERED)
    return [(one["id"], one["filename"]) for one in found if one["id"].startswith(incomplete)]


def paths(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the files and folders that begin so, in the space that was named before."""
    page = _page(ctx, "/paths", space=_space(ctx), prefix=incomplete, delimiter="/", limit=_OFFERED)
    return [*map(str, page.get("folders", [])), *(one["path"] for one in page.get("files", []))]


def spaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the spaces in which there are files that begin so."""
    found = _page(ctx, "/paths/spaces", limit=_OFFERED).get("spaces", [])
    return [space for space in found if space.startswith(incomplete)]


def versions(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the versions of the file that was named before, with the times of their release."""
    path = ctx.params.get("path")
    found = _page(ctx, "/paths/versions", space=_space(ctx), path=path, limit=_OFFERED) if path else {}
    known = found.get("versions", [])
    return [(one["version"], one["modified_at"]) for one in known if one["version"].startswith(incomplete)]


def scanners(incomplete: str) -> list[str]:
    """Return the scanners that there are, behind those that are named already."""
    from ..backends import names

    before, comma, last = incomplete.rpartition(",")
    named = before.split(",")
    return [f"{before}{comma}{name}" for name in names("scanner") if name.startswith(last) and name not in named]


def _space(ctx: typer.Context) -> str:
    return ctx.params.get("space") or "default"


def _asked(ctx: typer.Context, path: str, key: str, /, **parameters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _page(ctx, path, **parameters).get(key, [])
    return found


def _page(ctx: typer.Context, path: str, /, **parameters: Any) -> dict[str, Any]:
    """Return what the server answers that the command would ask; nothing if it does not at once."""
    from ..errors import PenstockError
    from .api import Api
    from .options import server_url

    try:
        server = server_url(ctx.params.get("url"), ctx.params.get("config"))
        with Api(server, timeout_seconds=_PATIENCE_SECONDS) as api:
            return api.get(path, **parameters)
    except PenstockError:  # whoever presses the tab key wants no errors
        return {}
