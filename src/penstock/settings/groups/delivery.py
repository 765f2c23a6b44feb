"""Settings of how a step that runs by itself gets the bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..entries import platform, setting
from ..kinds import Flag
from ..places import File
from ..services import Service

_GROUP = "Delivery"
_FETCHING = (Service.ANTIVIRUS, Service.STEP)


@dataclass(frozen=True, kw_only=True)
class DeliverySettings:
    """How the bytes come to a step in a process of its own."""

    delivery_folder: Path | None = setting(
        File(),
        "",
        "The folder `blobs` of a `penstock serve` whose data folder is on this machine or mounted here: its files are"
        " then opened as they lie there. Empty: bytes are only fetched by http and https.",
        group=_GROUP,
        services=_FETCHING,
    )
    delivery_temp_dir: Path | None = setting(
        File(),
        "",
        "Where fetched bytes lie while a step works on them. Empty: the system's folder for temporary files.",
        group=_GROUP,
        services=_FETCHING,
    )
    delivery_tls_insecure: bool = setting(
        Flag(),
        "false",
        "Whether any certificate will do where bytes are fetched from, as for the Go services, which never look at it.",
        *platform("INSECURE"),
        group=_GROUP,
        services=_FETCHING,
    )
