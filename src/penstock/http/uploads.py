"""`/api/v1/uploads`: what is on its way, and what to do about it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from ..errors import InvalidRequest, PenstockError, Unavailable
from ..postprocessing.commands import Row
from ..uploads.gateway.comparison import digest
from ..uploads.upload import Phase, Upload
from .asgi import headers_of
from .record_views import Results
from .services import Services
from .views import Digest, UploadPage, UploadView


class Action(BaseModel):
    """What to do, and about which uploads; the filters narrow the choice together."""

    action: Annotated[
        Literal["resume", "restart", "clean"],
        Field(description="resume: go on with the current step. restart: from the first step. clean: remove."),
    ]
    id: str | None = None
    processing: bool | None = None
    expired: bool | None = None
    has_virus: bool | None = None
    dry_run: Annotated[bool, Field(description="Only tell what would be done.")] = False


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/uploads", tags=["uploads"])
    digesting = asyncio.Semaphore(_DIGESTS)

    @routes.get("", summary="List uploads, newest first")
    async def list_uploads(
        request: Request,
        *,
        id: Annotated[str | None, Query(description="Only this one.")] = None,
        phase: Phase | None = None,
        sessions: Annotated[
            bool | None, Query(description="Only those that are not at their end: receiving, processing, rejected.")
        ] = None,
        processing: bool | None = None,
        expired: bool | None = None,
        has_virus: bool | None = None,
        space: str | None = None,
        unfinished: Annotated[
            bool, Query(description="Only those whose bytes have not all arrived, and may still be sent.")
        ] = False,
        owner: Annotated[str | None, Query(description="Only those of this user.")] = None,
        mine: Annotated[
            bool, Query(description="Only those of the user whom `user_header` names; without it, of all.")
        ] = False,
        step: Annotated[str | None, Query(description="Only those now in this step.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: str | None = None,
    ) -> UploadPage:
        ids = [id] if id else None
        if step is not None:
            in_step = [saved.progress.upload_id async for saved in services.store.in_step(step)]
            ids = [one for one in in_step if ids is None or one in ids]
        page = await services.catalogue.list(
            ids=ids,
            phases=_phases(phase, sessions=sessions, processing=processing, unfinished=unfinished),
            expired=False if unfinished else expired,
            has_virus=has_virus,
            space=space,
            owner=_owner(services, request) if mine else owner,
            limit=limit,
            cursor=cursor,
            now=services.receiver.now(),
        )
        return UploadPage(uploads=await services.views(page.uploads), next=page.next)

    @routes.get("/{upload_id}", summary="Show one upload")
    async def get_upload(upload_id: str) -> UploadView:
        return (await services.views([await services.upload(upload_id)]))[0]

    @routes.get("/{upload_id}/digest", summary="Tell what the bytes hash to that have arrived so far")
    async def get_digest(upload_id: str) -> Digest:
        upload = await services.receiver.find((await services.upload(upload_id)).id)
        async with digesting:
            length = await services.receiver.offset(upload.id)
            return Digest(offset=length, sha256=(await digest(services.blobs, upload.id, "sha256", length)).hex())

    @routes.delete("/{upload_id}", status_code=204, summary="Cancel or delete an upload, at any time")
    async def delete_upload(upload_id: str) -> Response:
        await services.upload(upload_id)
        await services.receiver.terminate(upload_id)
        return Response(status_code=204)

    @routes.post("/{upload_id}/acknowledge", status_code=204, summary="Take note of a bad end: it is listed no more")
    async def acknowledge(upload_id: str) -> Response:
        upload = await services.upload(upload_id)
        if upload.phase not in _OVER:
            raise InvalidRequest(
                f"upload {upload.id} is {upload.phase}: only what was deleted, cancelled or has expired is listed for "
                "nothing but to be noticed."
            )
        # Who asks at the same time as another one has what is wanted, too, although it was not this that did it.
        if not await services.catalogue.forget([upload.id]) and await services.catalogue.get(upload.id) is not None:
            raise Unavailable(
                f"the bytes of upload {upload.id} could not be removed yet, so it stays. Try again later."
            )
        return Response(status_code=204)

    @routes.post("/actions", summary="Resume, restart or clean uploads")
    async def act(action: Action) -> Results:
        rows: list[Row] = []
        cursor = None
        while True:
            page = await services.catalogue.list(
                ids=[action.id] if action.id else None,
                phases=_phases(None, sessions=True, processing=action.processing),
                expired=action.expired,
                has_virus=action.has_virus,
                space=None,
                limit=1000,
                cursor=cursor,
                now=services.receiver.now(),
            )
            rows += [await _act(services, upload, action) for upload in page.uploads]
            cursor = page.next
            if cursor is None:
                return Results.of(rows)

    return routes


_DIGESTS = 2
"""How many files are read at the same time to tell what they hash to: each takes a processor."""
_OVER = (Phase.DELETED, Phase.CANCELLED, Phase.EXPIRED)
_SESSIONS = (Phase.RECEIVING, Phase.PROCESSING, Phase.REJECTED)


def _owner(services: Services, request: Request) -> str | None:
    """Return the user who asks; None where users have no names."""
    return services.callers.owner(request.scope, headers_of(request.scope)) if services.user_header else None


def _phases(
    phase: Phase | None, *, sessions: bool | None, processing: bool | None, unfinished: bool = False
) -> list[Phase] | None:
    phases = list(Phase) if phase is None else [phase]
    if sessions is not None:
        phases = [one for one in phases if (one in _SESSIONS) is sessions]
    if processing is not None:
        phases = [one for one in phases if (one is Phase.PROCESSING) is processing]
    if unfinished:
        phases = [one for one in phases if one is Phase.RECEIVING]
    return None if len(phases) == len(Phase) else phases


async def _act(services: Services, upload: Upload, action: Action) -> Row:
    def row(*, ok: bool, detail: str, step: str = "") -> Row:
        return Row(upload.id, upload.filename, action.action, step or upload.phase, ok, detail)

    infected = upload.scan is not None and upload.scan.infected
    if action.action == "restart" and infected and not action.id:
        return row(ok=False, detail="infected: left alone; name it by its ID to restart it all the same")
    if action.action != "clean" and upload.phase is Phase.RECEIVING:
        return row(ok=False, detail="its bytes are not all there yet")
    if action.dry_run:
        return row(ok=True, detail="would be done")
    try:
        match action.action:
            case "resume":
                saved = await services.store.get(upload.id)
                if saved is None:
                    await services.gateway.restart(upload.id)
                    return row(ok=True, detail="had no record: begun anew")
                return await services.commands.resume_one(saved)
            case "restart":
                await services.gateway.restart(upload.id)
                return row(ok=True, detail="all steps run again")
            case "clean":
                # Not what has become something else since it was listed: there may be thousands before it.
                chosen = _phases(None, sessions=True, processing=action.processing, unfinished=bool(action.expired))
                await services.receiver.terminate(upload.id, only_in=chosen)
                return row(ok=True, detail="removed, bytes freed")
    except PenstockError as error:
        return row(ok=False, detail=str(error))
