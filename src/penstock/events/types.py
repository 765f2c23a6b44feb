"""The events that the parts exchange.

Eight of them are those of the Go services `postprocessing`, `antivirus` and `storage-users` (oCIS,
OpenCloud); the last two are ours, and those services ignore them. Fields are declared in wire order and
carry the Go names on the wire (`upload_id` is `UploadID`): docs/reference/events.md lists both. All keys
are always present there: None is `null`, an empty string is `""`.

A field without a default must be given by whoever builds an event, but may be missing on the wire: it then
reads as its zero value, as it does in Go. Text must be encodable: a lone surrogate is a
`UnicodeEncodeError` when it is sent.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

from .gotime import ZERO_TIME, to_timedelta
from .objects import (
    Int64,
    Opaque,
    OpaqueEntry,
    Reference,
    ResourceId,
    Timestamp,
    Uint64,
    User,
    UserId,
    check_uint64,
)

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = [
    "DELAY",
    "EVENT_TYPES",
    "POLICIES",
    "VIRUSSCAN",
    "BytesReceived",
    "CancelPostprocessing",
    "Envelope",
    "Event",
    "Opaque",
    "OpaqueEntry",
    "Outcome",
    "PostprocessingFinished",
    "PostprocessingRetry",
    "PostprocessingStepFinished",
    "PostprocessingStepProgress",
    "Reference",
    "ResourceId",
    "RestartPostprocessing",
    "ResumePostprocessing",
    "ScanDetails",
    "StartPostprocessingStep",
    "Timestamp",
    "UploadReady",
    "User",
    "UserId",
    "VirusscanResult",
    "wire_name",
]

VIRUSSCAN: Final = "virusscan"
"""Name of the step whose `result` is a `VirusscanResult`."""
DELAY: Final = "delay"
"""Name of the step that only waits; the coordinator does it itself."""
POLICIES: Final = "policies"
"""Name of the step that the Go service `policies` answers."""


class Outcome(StrEnum):
    """What a step may say at its end.

    The wire carries any string, and the Go coordinator passes an unknown one on as the outcome of the
    upload, so fields called `outcome` are plain `str`; compare them with these.
    """

    CONTINUE = "continue"
    """All is well: on to the next step."""
    ABORT = "abort"
    """Stop, keep the bytes."""
    DELETE = "delete"
    """Stop, delete the bytes."""
    RETRY = "retry"
    """It failed for now: do this step again after a while."""
    QUARANTINE = "quarantine"
    """Stop, keep the bytes aside until a person releases or removes them. Ours; to others the same as `abort`."""


def wire_name(field: str) -> str:
    """The Go spelling of one of our field names: `upload_id` is `UploadID`, `file_ref` is `FileRef`."""
    return "".join(part.upper() if part in ("id", "url") else part.capitalize() for part in field.split("_"))


class _Event(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name, forbid_unknown_fields=True):
    """Base of the events: Go's field names on the wire, every key always present."""


class ScanDetails(_Event, frozen=True, kw_only=True):
    """Who looked at a file, and how far. Ours; Go services ignore it."""

    end: str = ""
    """`clean`, `infected`, `too-large` or `unscannable`: what the scan came to, whatever the outcome made of it."""
    scanner: str = ""
    """Who said so; several scanners are joined by `+`. Empty: nobody was asked."""
    engine_version: str = ""
    """Name and version of the engine."""
    database_version: str = ""
    """Version of its signatures or rules; empty if it does not tell."""
    bytes_scanned: Uint64 = 0
    """How many bytes were looked at."""
    duration_ns: Int64 = msgspec.field(default=0, name="Duration")
    """How long the scan took, in nanoseconds."""
    remark: str = ""
    """For people, where the rest does not explain itself."""
    noted: tuple[str, ...] = ()
    """What was noticed that does not count as an infection."""


class VirusscanResult(_Event, frozen=True, kw_only=True):
    """What a scanner found; the `result` of the step `virusscan`."""

    infected: bool = False
    """Whether a signature matched."""
    description: str = ""
    """Name of the signature; empty when clean."""
    scandate: str = ZERO_TIME
    """When the scan ended: RFC 3339 with up to nine decimals, see `gotime`."""
    resource_id: ResourceId | None = None
    """The scanned file, copied from the start event."""
    error_message: str = msgspec.field(default="", name="ErrorMsg")
    """Why the scan failed, or why a file passes that was not scanned wholly; otherwise empty."""
    timestamp: Timestamp | None = None
    """Not used by anybody: None."""
    scan: ScanDetails | msgspec.UnsetType = msgspec.UNSET
    """Who looked, and how far; left out where there was no scan to tell of. Ours, at the end."""


class BytesReceived(_Event, frozen=True, kw_only=True):
    """All bytes of an upload are there: postprocessing begins. Storage provider → coordinator."""

    upload_id: str
    """The upload; the coordinator refuses an empty one."""
    space_owner: UserId | None = None
    """Who owns the space the file goes to."""
    executing_user: User | None = None
    """Who uploaded it."""
    resource_id: ResourceId | None = None
    """The file it will become."""
    filename: str = ""
    """Name of the file, without folders."""
    filesize: Uint64 = 0
    """Size in bytes."""
    url: str = ""
    """Where a step gets the bytes; usually expires."""
    timestamp: Timestamp | None = None
    """Not used by anybody: None."""
    impersonating_user: User | None = None
    """Whoever acts in the name of `executing_user`; None if nobody does."""

    def __post_init__(self) -> None:
        """Refuse a size that does not fit into 64 bits.

        Raises:
            ValueError: `filesize` is out of range.
        """
        check_uint64("filesize", self.filesize)


class StartPostprocessingStep(_Event, frozen=True, kw_only=True):
    """Begin a step for an upload. Coordinator → the service of that step.

    With an empty `upload_id` it asks the `virusscan` service for a scan on demand; `token` and `reva_token`
    are then the headers of the download.
    """

    upload_id: str
    """The upload, or empty for a scan on demand."""
    url: str = ""
    """Where the step gets the bytes; usually expires."""
    executing_user: User | None = None
    """Who uploaded the file."""
    filename: str = ""
    """Name of the file, without folders."""
    filesize: Uint64 = 0
    """Size in bytes."""
    token: str = ""
    """Scan on demand only: transfer token for the download."""
    resource_id: ResourceId | None = None
    """The file it will become."""
    reva_token: str = ""
    """Scan on demand only: access token for the download."""
    step_to_start: str
    """Name of the step, as configured."""
    timestamp: Timestamp | None = None
    """Not used by anybody: None."""
    impersonating_user: User | None = None
    """Whoever acts in the name of `executing_user`; None if nobody does."""

    def __post_init__(self) -> None:
        """Refuse a size that does not fit into 64 bits.

        Raises:
            ValueError: `filesize` is out of range.
        """
        check_uint64("filesize", self.filesize)


class PostprocessingStepFinished(_Event, frozen=True, kw_only=True):
    """A step has ended. The service of that step → coordinator, storage provider, notifications."""

    upload_id: str
    """The upload, or empty for a scan on demand; the coordinator ignores those."""
    executing_user: User | None = None
    """Who uploaded the file."""
    filename: str = ""
    """Name of the file, without folders."""
    finished_step: str
    """Name of the step that ended."""
    result: Any = None
    """A `VirusscanResult` (or None) when the step is `virusscan`; otherwise any JSON value the step likes."""
    error: None = None
    """Always None: any other value makes every Go service drop the event. Errors belong into `result`."""
    outcome: str
    """An `Outcome`, or any other string, which ends the upload with just that."""
    timestamp: Timestamp | None = None
    """When it ended; None if the step does not say."""


class PostprocessingFinished(_Event, frozen=True, kw_only=True):
    """Postprocessing of an upload has ended. Coordinator → storage provider.

    `continue` releases the file, `delete` removes it, anything else takes it out of the space and keeps the
    upload.
    """

    upload_id: str
    """The upload."""
    filename: str = ""
    """Name of the file, without folders."""
    space_owner: UserId | None = None
    """Not filled by the Go coordinator: None."""
    executing_user: User | None = None
    """Who uploaded the file."""
    result: dict[str, Any] | None = None
    """Not filled by the Go coordinator: None."""
    outcome: str
    """An `Outcome` other than `retry`, or whatever the last step said."""
    timestamp: Timestamp | None = None
    """Not used by anybody: None."""
    impersonating_user: User | None = None
    """Whoever acts in the name of `executing_user`; None if nobody does."""


class PostprocessingRetry(_Event, frozen=True, kw_only=True):
    """A step failed for now and will be started again. Coordinator → whoever is curious."""

    upload_id: str
    """The upload."""
    filename: str = ""
    """Name of the file, without folders."""
    executing_user: User | None = None
    """Who uploaded the file."""
    failures: Int64 = 0
    """How often it has failed so far."""
    backoff_duration_ns: Int64 = msgspec.field(default=0, name="BackoffDuration")
    """How long until the step is started again, in nanoseconds (`gotime.to_nanoseconds` of a timedelta)."""

    @property
    def backoff_duration(self) -> timedelta:
        """How long until the step is started again, cut to whole microseconds."""
        return to_timedelta(self.backoff_duration_ns)


class UploadReady(_Event, frozen=True, kw_only=True):
    """The storage provider has done what PostprocessingFinished asked for.

    Storage provider → coordinator, search, notifications.
    """

    upload_id: str
    """The upload; empty if a file appeared in the storage without one."""
    filename: str = ""
    """Name of the file, without folders."""
    space_owner: UserId | None = None
    """Who owns the space the file is in."""
    executing_user: User | None = None
    """Who uploaded the file."""
    impersonating_user: User | None = None
    """Whoever acts in the name of `executing_user`; None if nobody does."""
    file_ref: Reference | None = None
    """Where the file is now."""
    timestamp: Timestamp | None = None
    """When it got there."""
    failed: bool = False
    """True when the file was not released: rejected, removed, or something went wrong."""
    is_version: bool = False
    """Whether it became a new version of an existing file."""


class ResumePostprocessing(_Event, frozen=True, kw_only=True):
    """Go on with uploads that stand still. Administrator → coordinator.

    A `step` that is not empty wins: all uploads at that step, `finished` included, are resumed.
    """

    upload_id: str = ""
    """The upload, or empty with a `step`."""
    step: str = ""
    """A step name or `finished`; empty with an `upload_id`."""
    timestamp: Timestamp | None = None
    """When somebody asked for it."""


class RestartPostprocessing(_Event, frozen=True, kw_only=True):
    """Send BytesReceived for this upload again. Coordinator or administrator → storage provider."""

    upload_id: str
    """The upload."""
    timestamp: Timestamp | None = None
    """When somebody asked for it."""


class CancelPostprocessing(_Event, frozen=True, kw_only=True):
    """Stop postprocessing an upload and delete its bytes. Ours; Go services ignore it."""

    upload_id: str
    """The upload."""
    timestamp: Timestamp | None = None
    """When somebody asked for it."""


class PostprocessingStepProgress(_Event, frozen=True, kw_only=True):
    """A step is still at work. The service of that step → coordinator, progress displays.

    Ours; Go services ignore it.
    """

    upload_id: str
    """The upload."""
    step: str
    """Name of the running step."""
    fraction: Annotated[float, Meta(ge=0, le=1)] | None = None
    """How much is done, from 0 to 1; None if the step cannot say (a mere heartbeat)."""
    message: str = ""
    """What it is doing, for people to read."""


Event: TypeAlias = (
    BytesReceived
    | StartPostprocessingStep
    | PostprocessingStepFinished
    | PostprocessingFinished
    | PostprocessingRetry
    | UploadReady
    | ResumePostprocessing
    | RestartPostprocessing
    | CancelPostprocessing
    | PostprocessingStepProgress
)
"""Any event that we know."""

EVENT_TYPES: Final[dict[str, type[Event]]] = {
    event_type.__name__: event_type
    for event_type in (
        BytesReceived,
        StartPostprocessingStep,
        PostprocessingStepFinished,
        PostprocessingFinished,
        PostprocessingRetry,
        UploadReady,
        ResumePostprocessing,
        RestartPostprocessing,
        CancelPostprocessing,
        PostprocessingStepProgress,
    )
}
"""Every event we know, by its name on the wire (without the prefix `events.`)."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """An event with what is known about its sending.

    `codec.seal` makes one; `codec` turns it into bytes and back.
    """

    event: Event
    """The event itself."""
    event_id: str = ""
    """Names this event; the same when it is emitted again after a crash. Empty if the sender gave none."""
    initiator_id: str = ""
    """Client that began the upload, to be spared its own notifications; empty if unknown."""
    trace_parent: str = ""
    """W3C `traceparent` of the span in which it was sent; empty if there is none."""
    causation_id: str = ""
    """`event_id` of the StartPostprocessingStep that a step answers; empty if it does not say, as Go's."""
    timestamp: str = ZERO_TIME
    """When it was sent: RFC 3339 with up to nine decimals, see `gotime`."""
    id: str = ""
    """Names this sending; the Go services use a random UUID that differs from `event_id`."""

    @property
    def event_type(self) -> str:
        """Name of the event without the prefix that it has on the wire, such as `BytesReceived`."""
        return type(self.event).__name__
