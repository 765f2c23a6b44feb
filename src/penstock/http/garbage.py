"""`POST /api/v1/uploads/gc`: garbage collection, as one report or as it goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from ..durations import parse_duration
from ..errors import InvalidRequest
from ..uploads.garbage.collecting import News
from ..uploads.garbage.collection import Find, Report, Total
from .described import model_of
from .services import Services

_LINES = "application/x-ndjson"


class Collection(BaseModel):
    """What to look for."""

    dry_run: Annotated[bool, Field(description="Only tell what would be removed.")] = False
    older_than: Annotated[
        str | None, Field(description="How old it must be, such as `24h`; 5m at least. Else the setting gc_older_than.")
    ] = None
    strays: Annotated[bool, Field(description="Whether released bytes go that no entry names.")] = True


TotalView = model_of(
    Total,
    "TotalView",
    kept=Annotated[int, Field(description="What stays for now: it is too young, or could not be removed.")],
    failed=Annotated[int, Field(description="Of those that are kept: what could not be removed or put right.")],
)
FindView = model_of(Find, "FindView")
ReportView = model_of(
    Report,
    "ReportView",
    totals=list[TotalView],  # type: ignore[valid-type]  # made while the program runs, as is the other
    finds=Annotated[list[FindView], Field(description="The first thousand.")],  # type: ignore[valid-type]
    notes=Annotated[list[str], Field(description="What could not be looked at.")],
    remarks=Annotated[list[str], Field(description="What explains the rest, such as a clock that is not believed.")],
)


def router(services: Services) -> APIRouter:
    """Return the route."""
    routes = APIRouter(prefix="/api/v1/uploads", tags=["uploads"])

    @routes.post(
        "/gc",
        summary="Remove what no upload needs any more",
        description=f"With `Accept: {_LINES}`, each find is a line as it is found, and the report is the last one.",
        response_model=ReportView,
        response_class=StreamingResponse,
    )
    async def collect(collection: Collection, request: Request) -> StreamingResponse:
        older_than = _age(collection.older_than)
        news = services.garbage.news(dry_run=collection.dry_run, older_than=older_than, strays=collection.strays)
        first = await anext(news)  # what is wrong with the request is an answer of its own
        as_lines = _LINES in request.headers.get("accept", "")

        async def pieces() -> AsyncIterator[bytes]:
            one = first
            try:
                while True:
                    if as_lines:
                        yield msgspec.json.encode(_line(one)) + b"\n"
                    elif isinstance(one, Report):
                        yield msgspec.json.encode(one)
                    if isinstance(one, Report):
                        return
                    one = await anext(news)
            finally:
                await news.aclose()

        return StreamingResponse(pieces(), media_type=_LINES if as_lines else "application/json")

    return routes


def _age(text: str | None) -> timedelta | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise InvalidRequest(f"older_than={text}: {error}") from error


def _line(one: News) -> dict[str, object]:
    if isinstance(one, Report):
        return {"report": one}
    return {"find": one} if isinstance(one, Find) else {"looked": one}
