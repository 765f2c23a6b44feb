"""`/api/v1/antivirus/quarantine`: files that a scanner found something in, and what people do with them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from ..uploads.catalogue.quarantine import Act, Doer, LogEntry
from .services import Services
from .views import UploadView


class LogEntryView(BaseModel):
    """Something that was done with a file in quarantine."""

    number: int
    upload_id: str
    at: datetime
    act: Act
    actor: Annotated[str, Field(description="Who did it, as they say; empty: nobody said.")]
    reason: str
    filename: str
    size: int | None
    signature: str

    @classmethod
    def of(cls, entry: LogEntry) -> LogEntryView:
        """Show an entry."""
        return cls(
            number=entry.number,
            upload_id=entry.upload_id,
            at=entry.at,
            act=entry.act,
            actor=entry.actor,
            reason=entry.reason,
            filename=entry.filename,
            size=entry.size_bytes,
            signature=entry.signature,
        )


class QuarantinePage(BaseModel):
    """Some files in quarantine, the newest first."""

    uploads: list[UploadView]
    next: Annotated[int | None, Field(description="Pass as `cursor` for the following page; null at the end.")]


class LogPage(BaseModel):
    """Some entries, the newest first."""

    log: list[LogEntryView]
    next: Annotated[int | None, Field(description="Pass as `cursor` for the following page; null at the end.")]


class QuarantineView(BaseModel):
    """A file that is, or was, in quarantine, with all that was done."""

    upload: Annotated[UploadView | None, Field(description="Null when the entry of the upload is forgotten.")]
    log: list[LogEntryView]


class Decision(BaseModel):
    """Who decides, and why."""

    reason: Annotated[str, Field(max_length=2000, description="A release needs one.")] = ""
    actor: Annotated[str, Field(max_length=200, description="Who decides; written into the log as it is said.")] = ""

    def doer(self) -> Doer:
        """Return whom the log names."""
        return Doer(name=self.actor, reason=self.reason.strip())


Limit = Annotated[int, Query(ge=1, le=1000)]


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/antivirus/quarantine", tags=["quarantine"])

    @routes.get("", summary="List what is in quarantine, newest first")
    async def list_quarantined(limit: Limit = 100, cursor: Annotated[int | None, Query(ge=0)] = None) -> QuarantinePage:
        uploads, following = await services.quarantine.page(limit=limit, before=cursor)
        return QuarantinePage(uploads=await services.views(uploads), next=following)

    @routes.get("/log", summary="Tell all that was done, newest first")
    async def read_log(limit: Limit = 100, cursor: Annotated[int | None, Query(ge=0)] = None) -> LogPage:
        entries, following = await services.quarantine.log(limit=limit, before=cursor)
        return LogPage(log=[LogEntryView.of(entry) for entry in entries], next=following)

    @routes.get("/{upload_id}", summary="Show one file and what was done with it")
    async def show(upload_id: str) -> QuarantineView:
        log = [LogEntryView.of(entry) for entry in await services.quarantine.log_of(upload_id)]
        if not log:
            await services.upload(upload_id)  # an ID that nobody knows is an error of its own
        upload = await services.catalogue.get(upload_id)
        views = await services.views([] if upload is None else [upload])
        return QuarantineView(upload=views[0] if views else None, log=log)

    @routes.post("/{upload_id}/release", summary="Let it through, for a reason")
    async def release(upload_id: str, decision: Decision) -> UploadView:
        upload = await services.gateway.release_from_quarantine(upload_id, decision.doer())
        return (await services.views([upload]))[0]

    @routes.post("/{upload_id}/delete", summary="Remove it, for good")
    async def delete(upload_id: str, decision: Decision) -> UploadView:
        upload = await services.gateway.delete_from_quarantine(upload_id, decision.doer())
        return (await services.views([upload]))[0]

    return routes
