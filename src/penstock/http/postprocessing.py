"""`/api/v1/postprocessing`: the coordinator's records, resume and restart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from ..core.progress import FINISHED
from ..errors import PenstockError
from ..postprocessing.commands import Row
from ..store.base import Saved
from .services import Services
from .views import RecordPage, Results, RowView

_MOST: Final = 1_000_000_000
"""They are sent as they are read, so a large number costs time, and no memory."""


class Selection(BaseModel):
    """Which uploads: one by its ID, or all in a step."""

    upload_id: str | None = None
    step: Annotated[str | None, Field(description="A step, or `finished`, which is meant when nothing is given.")] = (
        None
    )


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/postprocessing", tags=["postprocessing"])

    @routes.get(
        "",
        summary="List what the coordinator is working on",
        response_model=RecordPage,
        response_class=StreamingResponse,
    )
    async def list_records(
        step: str | None = None, limit: Annotated[int, Query(ge=1, le=_MOST)] = 1000
    ) -> StreamingResponse:
        pieces = services.records(step, limit)
        first = await anext(pieces)  # what goes wrong at once is an answer of its own

        async def all_pieces() -> AsyncIterator[bytes]:
            yield first
            async for piece in pieces:
                yield piece

        return StreamingResponse(all_pieces(), media_type="application/json")

    @routes.post("/resume", summary="Go on with the current step")
    async def resume(selection: Selection) -> Results:
        return _results(await services.commands.resume(selection.upload_id, selection.step))

    @routes.post("/restart", summary="Run all steps again")
    async def restart(selection: Selection) -> Results:
        chosen = [saved async for saved in services.commands.select(selection.upload_id, selection.step or FINISHED)]
        return _results([await _restart(services, saved, named=bool(selection.upload_id)) for saved in chosen])

    return routes


async def _restart(services: Services, saved: Saved, *, named: bool) -> Row:
    progress = saved.progress

    def row(*, ok: bool, detail: str) -> Row:
        return Row(progress.upload_id, progress.filename, "restart", progress.status.current_step, ok, detail)

    try:
        upload = await services.upload(progress.upload_id)
        if upload.scan is not None and upload.scan.infected and not named:
            return row(ok=False, detail="infected: left alone; name it by its ID to restart it all the same")
        await services.gateway.restart(progress.upload_id)
    except PenstockError as error:
        return row(ok=False, detail=str(error))
    return row(ok=True, detail="all steps run again")


def _results(rows: list[Row]) -> Results:
    return Results(results=[RowView.of(row) for row in rows])
