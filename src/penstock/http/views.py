"""Uploads as the API shows them."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from ..blobs.handover import Handover, HandoverStage
from ..core.progress import Progress
from ..uploads.upload import Phase, ScanMark, Upload


class Processing(BaseModel):
    """Where an upload stands in postprocessing."""

    step: Annotated[str, Field(description="The current step, or `finished`.")]
    steps: list[str]
    state: Annotated[str, Field(description="step, backoff, delay, finished or failed.")]
    attempt: Annotated[int, Field(description="Which start of the current step this is, from 1.")]
    failures: Annotated[int, Field(description="Retries so far, over all steps.")]
    next_try_at: Annotated[datetime | None, Field(description="When a backoff or a delay ends.")]
    started_at: datetime | None
    step_started_at: datetime | None
    last_error: str
    fraction: Annotated[float | None, Field(description="How far the step says it is, 0 to 1.")]
    stalled: Annotated[bool, Field(description="No answer and no sign of life for too long.")]

    @classmethod
    def of(cls, progress: Progress, now: datetime, stalled_after_seconds: float) -> Processing:
        """Show a record."""
        return cls(
            step=progress.status.current_step,
            steps=list(progress.steps),
            state=progress.state,
            attempt=progress.attempt,
            failures=progress.failures,
            next_try_at=progress.resume_at,
            started_at=progress.started_at,
            step_started_at=progress.step_started_at,
            last_error=progress.last_error,
            fraction=progress.fraction,
            stalled=progress.stalled(now, stalled_after_seconds),
        )


class Releasing(BaseModel):
    """How far the bytes of an upload are on their way into the store for released files."""

    stage: Annotated[
        HandoverStage,
        Field(description="waiting for others, reading for the SHA-256, copying, or verifying: reading back."),
    ]
    done: Annotated[int, Field(description="Bytes of this stage; of what is copied, what has arrived for certain.")]
    size: Annotated[int, Field(description="Bytes of the upload: of each stage.")]
    fraction: Annotated[float, Field(description="How much of all stages together is done, 0 to 1.")]

    @classmethod
    def of(cls, handover: Handover) -> Releasing:
        """Show how far it is."""
        return cls(
            stage=handover.stage,
            done=handover.done_bytes,
            size=handover.size_bytes,
            fraction=round(handover.fraction, 4),
        )


class Scan(BaseModel):
    """What the virus scanner said last."""

    infected: bool
    signature: str
    scanned_at: str
    error: Annotated[str, Field(description="Why it failed, or why a file passed that was not scanned wholly.")]
    end: Annotated[str, Field(description="clean, infected, too-large or unscannable; empty if it is not known.")] = ""
    scanner: str = ""
    engine_version: str = ""
    database_version: str = ""
    bytes_scanned: int | None = None
    duration_seconds: float | None = None
    remark: str = ""
    noted: Annotated[list[str], Field(description="What was noticed that does not count as an infection.")] = []

    @classmethod
    def of(cls, mark: ScanMark) -> Scan:
        """Show what is known."""
        shown = cls(infected=mark.infected, signature=mark.signature, scanned_at=mark.scanned_at, error=mark.error)
        details = mark.details
        if details is None:
            return shown
        return cls(
            **shown.model_dump(include={"infected", "signature", "scanned_at", "error"}),
            end=details.end,
            scanner=details.scanner,
            engine_version=details.engine_version,
            database_version=details.database_version,
            bytes_scanned=details.bytes_scanned,
            duration_seconds=details.duration_ns / 1e9,
            remark=details.remark,
            noted=list(details.noted),
        )


class Links(BaseModel):
    """Where to go from here."""

    self: str
    events: str
    content: str
    tus: str


class UploadView(BaseModel):
    """An upload from its creation on, with what is happening to it."""

    id: str
    filename: str
    path: str
    space: str
    owner: Annotated[str, Field(description="The user who uploads; empty: nobody has named them.")]
    size: Annotated[int | None, Field(description="Bytes; null while unknown.")]
    offset: Annotated[int, Field(description="Bytes that have arrived.")]
    media_type: str
    phase: Phase
    processing: Processing | None
    releasing: Annotated[
        Releasing | None,
        Field(description="Null: it is not on its way into another store, is small, or another instance carries it."),
    ]
    outcome: str
    reason: Annotated[str, Field(description="Why it was rejected or removed, in words.")]
    scan: Scan | None
    run: Annotated[int, Field(description="How often postprocessing was begun.")]
    created_at: datetime
    received_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime | None
    expired: bool
    age_seconds: float
    part: Annotated[bool, Field(description="Whether it is only a part of others (tus, Concatenation).")]
    made_of: Annotated[list[str], Field(description="The parts that it is made of; empty: it is received itself.")]
    ends_when_told: Annotated[
        bool, Field(description="Whether its client says when all bytes are there (`Upload-Complete`).")
    ]
    metadata: dict[str, str]
    links: Links

    @classmethod
    def of(
        cls,
        upload: Upload,
        *,
        offset: int,
        progress: Progress | None,
        now: datetime,
        stalled_after_seconds: float,
        handover: Handover | None = None,
    ) -> UploadView:
        """Show an upload with its record, where it has one."""
        overdue = upload.phase is Phase.RECEIVING and upload.expires_at is not None and upload.expires_at <= now
        shows_run = progress is not None and upload.phase in (Phase.PROCESSING, Phase.REJECTED)
        return cls(
            id=upload.id,
            filename=upload.filename,
            path=upload.file_path,
            space=upload.space,
            owner=upload.owner,
            size=upload.size_bytes,
            offset=offset,
            media_type=upload.media_type,
            phase=upload.phase,
            processing=Processing.of(progress, now, stalled_after_seconds) if progress and shows_run else None,
            releasing=None if handover is None else Releasing.of(handover),
            outcome=upload.outcome,
            reason=upload.reason,
            scan=None if upload.scan is None else Scan.of(upload.scan),
            run=upload.run,
            created_at=upload.created_at,
            received_at=upload.received_at,
            ended_at=upload.ended_at,
            expires_at=upload.expires_at,
            expired=overdue or upload.phase is Phase.EXPIRED,
            age_seconds=(now - upload.created_at).total_seconds(),
            part=upload.is_part,
            made_of=list(upload.parts),
            ends_when_told=upload.explicit_end,
            metadata=decoded_metadata(upload.metadata),
            links=Links(
                self=f"/api/v1/uploads/{upload.id}",
                events=f"/api/v1/uploads/{upload.id}/events",
                content=f"/api/v1/files/{upload.id}/content",
                tus=f"/uploads/{upload.id}",
            ),
        )


class UploadPage(BaseModel):
    """Some uploads, newest first."""

    uploads: list[UploadView]
    next: Annotated[str | None, Field(description="Pass as `cursor` for the following page; null at the end.")]


class Digest(BaseModel):
    """What the bytes of an upload hash to, up to the one that had arrived last."""

    offset: Annotated[int, Field(description="How many bytes those are.")]
    sha256: str


def decoded_metadata(header: str) -> dict[str, str]:
    """Return the pairs of an Upload-Metadata header for display; bytes that are no text show as replacement marks."""
    pairs: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in header.split(","))):
        key, _, value = item.partition(" ")
        try:
            pairs[key] = base64.b64decode(value.strip()).decode(errors="replace")
        except (binascii.Error, ValueError):
            pairs[key] = ""
    return pairs
