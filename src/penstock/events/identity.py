"""What tells a repeat of an event from another event.

The ID of an event is its sender's word, and not everybody keeps it: a step in a shell script may give one ID to all of
its answers, or the upload's to every event about it. The Go services never look at IDs. So an ID counts together with
what the event says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .types import BytesReceived, PostprocessingStepFinished

if TYPE_CHECKING:
    from .types import Envelope


def identity(envelope: Envelope) -> str:
    """Return what all repeats of an event have in common, among those about its upload; empty if it has no ID.

    That of what begins a run is its ID, and so is that of an answer that names its question.
    """
    event, event_id = envelope.event, envelope.event_id
    if not event_id or envelope.causation_id or isinstance(event, BytesReceived):
        return event_id
    if isinstance(event, PostprocessingStepFinished):
        return f"{event_id} {event.finished_step} {event.outcome}"
    return f"{event_id} {envelope.event_type}"


def identity_among_all(envelope: Envelope) -> str:
    """Return what all repeats of an event have in common, whichever upload it is about; empty if it has no ID."""
    known = identity(envelope)
    return f"{envelope.event.upload_id} {known}" if known else ""
