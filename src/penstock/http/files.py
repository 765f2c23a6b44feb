"""`/api/v1/files`: what is there, or will be once its steps have passed it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from ..errors import NotFound
from ..uploads.upload import Phase
from .services import Services
from .views import UploadPage, UploadView

_FILES = (Phase.PROCESSING, Phase.RELEASED)


def router(services: Services) -> APIRouter:
    """Return the routes; the content of a file is served by `content`, past this router."""
    routes = APIRouter(prefix="/api/v1/files", tags=["files"])

    @routes.get("", summary="List files, newest first, those in processing included")
    async def list_files(
        space: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100, cursor: str | None = None
    ) -> UploadPage:
        page = await services.catalogue.list(phases=list(_FILES), space=space, limit=limit, cursor=cursor)
        return UploadPage(uploads=await services.views(page.uploads), next=page.next)

    @routes.get("/{upload_id}", summary="Show one file")
    async def get_file(upload_id: str) -> UploadView:
        upload = await services.upload(upload_id)
        if upload.phase not in _FILES:
            raise NotFound(
                f"upload {upload_id} is {upload.phase}, so there is no file; see /api/v1/uploads/{upload_id}"
            )
        return (await services.views([upload]))[0]

    @routes.delete("/{upload_id}", status_code=204, summary="Delete a file, or cancel its processing")
    async def delete_file(upload_id: str) -> Response:
        await services.upload(upload_id)
        await services.receiver.terminate(upload_id)
        return Response(status_code=204)

    return routes
