"""Files and their versions as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from ..uploads.upload import Phase, Upload


class FileView(BaseModel):
    """A file, or one version of it."""

    space: str
    path: str
    name: str
    version: Annotated[str, Field(description="The upload that brought it: its ID names this version.")]
    size: int
    media_type: str
    etag: str
    phase: Annotated[Phase, Field(description="released, or processing while there is no version to read yet.")]
    created_at: datetime
    modified_at: Annotated[datetime | None, Field(description="When it was released.")]
    content: str

    @classmethod
    def of(cls, upload: Upload) -> FileView:
        """Show a version."""
        return cls(
            space=upload.space,
            path=upload.file_path,
            name=upload.filename,
            version=upload.id,
            size=upload.size_bytes or 0,
            media_type=upload.media_type,
            etag=f'"{upload.id}"',
            phase=upload.phase,
            created_at=upload.created_at,
            modified_at=upload.ended_at,
            content=f"/api/v1/files/{upload.id}/content",
        )


class FilePage(BaseModel):
    """Some files, in the order of their paths, and the folders between them."""

    files: list[FileView]
    folders: list[str]
    next: Annotated[str | None, Field(description="Pass as `cursor` for the following page; null at the end.")]


class VersionPage(BaseModel):
    """Some versions of a file, the present one first."""

    versions: list[FileView]
    next: Annotated[str | None, Field(description="Pass as `cursor` for the following page; null at the end.")]


class SpacePage(BaseModel):
    """Names of spaces, in their order."""

    spaces: list[str]
    next: Annotated[str | None, Field(description="Pass as `cursor` for the following page; null at the end.")]
