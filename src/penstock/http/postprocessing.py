"""`/api/v1/postprocessing`: the coordinator's records, resume and restart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from ..core.progress import FINISHED, Progress
from ..errors import PenstockError
from ..postprocessing.commands import Row
from .record_views import RecordPage, Results
from .services import Services

_MOST: Final = 1_000_000_000
"""They are sent as they are read, so a large number costs time, and no memory."""
_PIECE: Final = 500
"""Rows that are sent at once."""


class Selection(BaseModel):
    """Which uploads: one by its ID, or all in a step."""

    upload_id: str | None = None
    step: Annotated[str | None, Field(description="A step, or `finished`, which is meant when nothing is given.")] = (
        None
    )


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/postprocessing", tags=["postprocessing"])

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

    @routes.post(
        "/resume", summary="Go on with the current step", response_model=Results, response_class=StreamingResponse
    )
    async def resume(selection: Selection) -> StreamingResponse:
        return _results(await services.commands.resume(selection.upload_id, selection.step))

    @routes.post("/restart", summary="Run all steps again", response_model=Results, response_class=StreamingResponse)
    async def restart(selection: Selection) -> StreamingResponse:
        chosen = [
            _to_restart(saved.progress)
            async for saved in services.commands.select(selection.upload_id, selection.step or FINISHED)
        ]
        return _results([await _restart(services, row, named=bool(selection.upload_id)) for row in chosen])

    return routes


def _to_restart(progress: Progress) -> Row:
    return Row(progress.upload_id, progress.filename, "restart", progress.status.current_step, ok=False)


async def _restart(services: Services, row: Row, *, named: bool) -> Row:
    def told(*, ok: bool, detail: str) -> Row:
        return msgspec.structs.replace(row, ok=ok, detail=detail)

    try:
        upload = await services.upload(row.id)
        if upload.scan is not None and upload.scan.infected and not named:
            return told(ok=False, detail="infected: left alone; name it by its ID to restart it all the same")
        await services.gateway.restart(row.id)
    except PenstockError as error:
        return told(ok=False, detail=str(error))
    return told(ok=True, detail="all steps run again")


def _results(rows: list[Row]) -> StreamingResponse:
    """Answer with the JSON of `Results`, piece by piece: there may be a hundred thousand."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(rows), _PIECE):
            begin = b"," if start else b'{"results":['
            yield begin + b",".join(map(msgspec.json.encode, rows[start : start + _PIECE]))
        yield b"]}" if rows else b'{"results":[]}'

    return StreamingResponse(pieces(), media_type="application/json")
