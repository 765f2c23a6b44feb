"""Where the bytes of uploads are kept: the store that the settings choose."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .. import backends
from ..blobs.base import SupportsStaging
from ..blobs.links import SupportsLinks
from ..blobs.moving import MovingBlobs, MovingFiles
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

    async def checks(self) -> list[Check]:
        """Tell whether the place for released files answers; nothing about the data folder: others look at the disk."""
        if self.final is None:
            return []
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self.final.check()
        except (Unavailable, TimeoutError) as error:
            detail = str(error) or f"It did not answer within {_PATIENCE_SECONDS:.0f} seconds."
            hint = "Files are taken in meanwhile; they are released, and can be read, when it is back."
            return [Check("storage", ok=False, detail=detail, hint=hint)]
        return [Check("storage", ok=True, detail=f"{self.final.name} answers.")]


def storage_of(settings: Settings, folder: Path, wrap: Callable[[str, Any], Any], *, fenced: bool = False) -> Storage:
    """Return where the settings have bytes kept; `folder` is for those on their way in.

    With `fenced`, other instances work in the folder.

    Raises:
        ConfigurationError: there is no such storage, what it needs is not installed, or a setting of it is wrong.
    """
    local = backends.load("blobs", "local")(folder, fenced=fenced)
    if settings.storage == "local":
        if settings.staging != "local":
            origin = settings.origins.get("staging")
            raise ConfigurationError(
                f"staging={settings.staging} ({origin}) needs an object store: set storage as well."
            )
        return Storage(local, None)
    place = backends.load("storage", settings.storage)(**_arguments(settings))
    lending = place.lending() if isinstance(place, SupportsLinks) else None
    final: FinalPlace = wrap("storage", place)
    if settings.staging == "local":
        return Storage(MovingFiles(local, final), final, lending)
    if not isinstance(place, SupportsStaging):
        raise ConfigurationError(f"staging={settings.staging}: nothing can be staged in storage={settings.storage}.")
    return Storage(MovingBlobs(wrap("staging", place.staging()), final), final, lending)


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
