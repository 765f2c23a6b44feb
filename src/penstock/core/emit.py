"""The events that follow from an upload's progress, with the IDs that make a repeat recognisable.

`awaited` is a function of the saved progress alone: whoever reads a record can say again what its writer said, or died
before saying.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from ..events.gotime import to_nanoseconds
from ..events.types import (
    Event,
    PostprocessingFinished,
    PostprocessingRetry,
    PostprocessingStepFinished,
    RestartPostprocessing,
    StartPostprocessingStep,
    Timestamp,
    VirusscanResult,
)
from ..ids import derived_id
from .progress import Progress, State

if TYPE_CHECKING:
    from datetime import datetime


class Emit(msgspec.Struct, frozen=True):
    """An event to publish, with its ID. `initiator_id` names the client that began the upload."""

    event: Event
    event_id: str
    initiator_id: str = ""


def awaited_id(progress: Progress) -> str:
    """Return the ID of the event whose answer moves this upload on: the start of its step, or the decision."""
    return _awaited_id(progress.upload_id, progress.run, progress.status.current_step, progress.attempt)


# Each event of an upload compares this several times with what it brings, or with what came before.
_awaited_id: Final = lru_cache(maxsize=4096)(derived_id)


def awaited(progress: Progress) -> tuple[Emit, ...]:
    """Return the event whose answer is awaited; nothing in a backoff and after the end, where none is."""
    match progress.state:
        case State.STEP | State.DELAY:
            return (Emit(_start(progress), awaited_id(progress), progress.initiator_id),)
        case State.FINISHED:
            return (Emit(_finished(progress), awaited_id(progress), progress.initiator_id),)
        case _:
            return ()


def said(progress: Progress) -> tuple[Emit, ...]:
    """Return what the change that led to `progress` said: what is awaited, or the notice of a pause."""
    return _retry(progress) if progress.state is State.BACKOFF else awaited(progress)


def says_nothing_new(progress: Progress | None, emits: tuple[Emit, ...]) -> bool:
    """Tell whether `emits` only repeat what `progress` awaits already."""
    return progress is not None and all(emit.event_id == awaited_id(progress) for emit in emits)


def _retry(progress: Progress) -> tuple[Emit, ...]:
    """Return the notice that the current step will be tried again; nothing when no pause has been noted."""
    if progress.resume_at is None or progress.updated_at is None:
        return ()
    notice = PostprocessingRetry(
        upload_id=progress.upload_id,
        filename=progress.filename,
        executing_user=progress.user,
        failures=progress.step_failures,
        backoff_duration_ns=to_nanoseconds(progress.resume_at - progress.updated_at),
    )
    return (Emit(notice, derived_id(awaited_id(progress), "retry"), progress.initiator_id),)


def restart(upload_id: str, asked_by: str, now: datetime) -> Emit:
    """Return the request to the storage side to begin an upload anew.

    `asked_by` is the ID of the event that led to it; empty if that had none, and then each asking is another one.
    """
    request = RestartPostprocessing(upload_id=upload_id, timestamp=Timestamp.of(now))
    return Emit(request, derived_id(upload_id, asked_by or now.isoformat(), "restart"))


def error_of(result: PostprocessingStepFinished) -> str:
    """Return what a step's result says to people about a failure; empty when it says nothing."""
    match result.result:
        case VirusscanResult(infected=True, description=signature):
            return f"infected: {signature}"
        case VirusscanResult(error_message=message):
            return message
        case {"error": str(message)} | {"ErrorMsg": str(message)}:
            return message
        case _:
            return ""


def _start(progress: Progress) -> StartPostprocessingStep:
    return StartPostprocessingStep(
        upload_id=progress.upload_id,
        url=progress.url,
        executing_user=progress.user,
        filename=progress.filename,
        filesize=progress.filesize,
        resource_id=progress.resource_id,
        step_to_start=progress.status.current_step,
        impersonating_user=progress.impersonating_user,
    )


def _finished(progress: Progress) -> PostprocessingFinished:
    return PostprocessingFinished(
        upload_id=progress.upload_id,
        filename=progress.filename,
        executing_user=progress.user,
        outcome=progress.status.outcome,
        impersonating_user=progress.impersonating_user,
    )
