"""Settings of the way in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..entries import OtherName, platform, setting
from ..kinds import Flag, Whole
from ..measures import Duration, Seconds, SizeLimit, TimeLimit
from ..services import Service

_GROUP = "Uploads"
_MOMENT = timedelta(milliseconds=1)


@dataclass(frozen=True, kw_only=True)
class UploadSettings:
    """What is accepted, and for how long it is kept."""

    max_size_bytes: int | None = setting(
        SizeLimit(),
        "0",
        "The largest file that is accepted. A larger one is refused before its bytes are read.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    upload_expiration: timedelta = setting(
        Duration(least=_MOMENT),
        "24h",
        "How long an upload may take from its creation to its last byte. What is late is removed.",
        OtherName("STORAGE_USERS_UPLOAD_EXPIRATION", Seconds()),
        group=_GROUP,
        services=(Service.SERVE,),
    )
    retention: timedelta = setting(
        Duration(),
        "168h",
        "How long deleted, cancelled and expired uploads stay in the list.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    file_versions: int = setting(
        Whole(),
        "0",
        "How many versions of a file are kept, the present one included; older ones are removed for good. `0`: all.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    gc_interval: timedelta | None = setting(
        TimeLimit(),
        "24h",
        "How often garbage collection looks through all that lies in the storages. `0`: only when somebody asks.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    gc_older_than: timedelta = setting(
        Duration(least=timedelta(minutes=5)),
        "24h",
        "How old something that no upload needs must be before garbage collection removes it.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    async_uploads: bool = setting(
        Flag(),
        "true",
        "`false`: files are released as soon as they have arrived; no step is run, not even the virus scan.",
        *platform("ASYNC_UPLOADS"),
        OtherName(
            "STORAGE_USERS_OCIS_ASYNC_UPLOADS", deprecated=True, instead="Set OCIS_ASYNC_UPLOADS or OC_ASYNC_UPLOADS."
        ),
        group=_GROUP,
        services=(Service.SERVE,),
    )
