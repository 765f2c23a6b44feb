"""Where the bytes of uploads are kept: the store that the settings choose."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .. import backends
from ..blobs.base import SupportsStaging
from ..blobs.links import SupportsLinks
from ..blobs.moving import MovingFenced, MovingFiles
from ..blobs.sharing import SupportsIdentity
from ..errors import ConfigurationError, Unavailable
from ..health import Check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..blobs.base import BlobStore, FinalPlace
    from ..blobs.links import Lending
    from ..settings import Settings

_PATIENCE_SECONDS: Final = 3.0


class Storage(NamedTuple):
    """The store, not opened yet, and the place that released files are moved to."""

    blobs: BlobStore
    final: FinalPlace | None
    """None: they stay in the data folder."""
    lending: Lending | None = None
    """Where copies are kept for steps that fetch them there; None: nowhere."""
    folder: Path | None = None
    """Where bytes are on their way in; None: in the place as well."""
    identity: SupportsIdentity | None = None
    """What says whose bytes on their way in are there; None: the data folder."""

    async def checks(self) -> list[Check]:
        """Tell whether bytes can be taken in, and whether the place for released files answers."""
        staging = [] if self.folder is None else [await asyncio.to_thread(_check_folder, self.folder)]
        return staging + ([] if self.final is None else [await self._check_place(self.final)])

    async def _check_place(self, place: FinalPlace) -> Check:
        needed = self.folder is None
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await place.check()
        except (Unavailable, TimeoutError) as error:
            detail = str(error) or f"It did not answer within {_PATIENCE_SECONDS:.0f} seconds."
            hint = "Files are taken in meanwhile; they are released, and can be read, when it is back."
            hint = "No file is taken in, released or read before it is back." if needed else hint
            return Check("storage", ok=False, detail=detail, hint=hint, gates=needed)
        return Check("storage", ok=True, detail=f"{place.name} answers.", gates=needed)


def _check_folder(folder: Path) -> Check:
    """Tell whether files can be made in the folders for bytes; the system also says so of a disk mounted read-only."""
    for part in ("staged", "released"):
        path = folder / part
        if not os.access(path, os.W_OK | os.X_OK):
            hint = (
                "Uploads are refused, and nothing is released. See whether the disk is mounted read-only, and by whom."
            )
            return Check("folder", ok=False, detail=f"{path} cannot be written to.", hint=hint, gates=True)
    return Check("folder", ok=True, detail=f"{folder} can be written to.", gates=True)


def storage_of(settings: Settings, folder: Path, wrap: Callable[[str, Any], Any], *, fenced: bool = False) -> Storage:
    """Return where the settings have bytes kept; `folder` is for those on their way in.

    With `fenced`, other instances work in the folder, or stage in the same object store.

    Raises:
        ConfigurationError: there is no such storage, what it needs is not installed, or a setting of it is wrong.
    """
    local = backends.load("blobs", "local")(folder, fenced=fenced, releases=settings.storage == "local")
    if settings.storage == "local":
        if settings.staging != "local":
            origin = settings.origins.get("staging")
            raise ConfigurationError(
                f"staging={settings.staging} ({origin}) needs an object store: set storage as well."
            )
        return Storage(local, None, folder=folder)
    place = backends.load("storage", settings.storage)(**_arguments(settings))
    lending = wrap("lending", place.lending()) if isinstance(place, SupportsLinks) else None
    final: FinalPlace = wrap("storage", place)
    if settings.staging == "local":
        return Storage(MovingFiles(local, final, lending), final, lending, folder)
    if not isinstance(place, SupportsStaging):
        raise ConfigurationError(f"staging={settings.staging}: nothing can be staged in storage={settings.storage}.")
    staging = place.staging(shared=fenced)
    identity = staging if isinstance(staging, SupportsIdentity) else None
    return Storage(MovingFenced(wrap("staging", staging), final, lending), final, lending, identity=identity)


def _arguments(settings: Settings) -> dict[str, Any]:
    kind = settings.storage
    if not settings.storage_bucket:
        raise ConfigurationError(f"storage={kind} ({settings.origins.get('storage')}) needs storage_bucket. Set it.")
    named = {"prefix": settings.storage_prefix.strip("/"), "endpoint": settings.storage_endpoint}
    if kind == "gcs":
        return {"bucket": settings.storage_bucket, **named, "credentials_file": settings.storage_credentials_file}
    key, secret = settings.storage_access_key, settings.storage_secret_key
    if kind == "azure":
        return {"container": settings.storage_bucket, **named, "account": key, "account_key": secret}
    more = {"region": settings.storage_region, "path_style": settings.storage_path_style}
    return {"bucket": settings.storage_bucket, **named, "access_key": key, "secret_key": secret, **more}
