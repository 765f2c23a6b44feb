"""`/api/v1/paths`: files by space and path: what there is, its versions, and what to do with them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from ..uploads.places import Place
from .asgi import headers_of
from .file_views import FilePage, FileView, SpacePage, VersionPage
from .services import Services
from .views import UploadView

Space = Annotated[str, Query(description="The space.")]
FilePath = Annotated[str, Query(description="The file's path in it, such as `folder/report.pdf`.")]


class Carry(BaseModel):
    """What is to be moved or copied where."""

    space: str = "default"
    path: str
    to_space: Annotated[str | None, Field(description="Else the same one.")] = None
    to_path: str
    overwrite: Annotated[
        bool, Field(description="Whether there may be a file: it becomes an older version. Otherwise 412.")
    ] = False
    if_version: Annotated[str | None, Field(description="The version that it must have. Otherwise 412.")] = None

    def source(self) -> Place:
        """Return where it is."""
        return Place.of(self.space, self.path)

    def target(self) -> Place:
        """Return where it is to be."""
        return Place.of(self.to_space or self.space, self.to_path)


class Restoration(BaseModel):
    """Which version of which file."""

    space: str = "default"
    path: str
    version: str


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/paths", tags=["files"])
    files = services.files

    @routes.get("", summary="List released files by path, in pages, with folders if a delimiter is given")
    async def list_paths(
        space: Space = "default",
        prefix: Annotated[str, Query(description="What the paths begin with, such as `folder/`.")] = "",
        delimiter: Annotated[str, Query(max_length=1, description="`/`: only this folder.")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: str | None = None,
    ) -> FilePage:
        found = await files.list(space, prefix=prefix, delimiter=delimiter, limit=limit, cursor=cursor)
        return FilePage(files=[FileView.of(file) for file in found.files], folders=found.folders, next=found.next)

    @routes.get("/spaces", summary="List spaces in which there are files")
    async def list_spaces(limit: Annotated[int, Query(ge=1, le=1000)] = 100, cursor: str | None = None) -> SpacePage:
        found, following = await files.spaces(limit=limit, cursor=cursor)
        return SpacePage(spaces=list(found), next=following)

    @routes.get("/stat", summary="Show one file; in processing, while it was never released")
    async def stat(
        path: FilePath,
        space: Space = "default",
        version: Annotated[str | None, Query(description="This version, and not the present one.")] = None,
    ) -> FileView:
        return FileView.of(await files.get(Place(space, path), version=version))

    @routes.get("/versions", summary="List the versions of a file, the present one first, in pages")
    async def versions(
        path: FilePath,
        space: Space = "default",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: str | None = None,
    ) -> VersionPage:
        found = await files.versions(Place(space, path), limit=limit, cursor=cursor)
        return VersionPage(versions=[FileView.of(one) for one in found.versions], next=found.next)

    @routes.post("/restore", summary="Have an older version be the present one again")
    async def restore(wanted: Restoration) -> FileView:
        return FileView.of(await files.restore(Place(wanted.space, wanted.path), wanted.version))

    @routes.post("/move", summary="Have a file, with all its versions, be at another path or in another space")
    async def move(wanted: Carry) -> FileView:
        target = wanted.target()
        await files.move(wanted.source(), target, overwrite=wanted.overwrite, match=wanted.if_version)
        return FileView.of(await files.get(target))

    @routes.post("/copy", status_code=202, summary="Upload a file's present version to another path; all steps run")
    async def copy(wanted: Carry, request: Request) -> UploadView:
        headers = headers_of(request.scope)
        standing = await files.copy(
            wanted.source(),
            wanted.target(),
            overwrite=wanted.overwrite,
            match=wanted.if_version,
            owner=services.callers.owner(request.scope, headers),
            trace_parent=headers.get("traceparent", ""),
        )
        return (await services.views([standing.upload]))[0]

    @routes.delete("", status_code=204, summary="Delete a file with all its versions, or one version")
    async def delete(
        path: FilePath,
        space: Space = "default",
        version: Annotated[str | None, Query(description="Only this one.")] = None,
        if_version: Annotated[str | None, Query(description="The version that it must have. Otherwise 412.")] = None,
    ) -> Response:
        await files.delete(Place(space, path), version=version, match=if_version)
        return Response(status_code=204)

    return routes
