"""Settings of how steps get the bytes: what the gateway does for each, and where a step that runs by itself looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ..deliveries import Chosen, Deliveries, Volumes
from ..entries import platform, setting
from ..kinds import Flag, Text, Whole, Words
from ..measures import Duration
from ..places import Address, File, Listen, WebAddress
from ..services import Service

_GROUP = "Delivery"
_FETCHING = (Service.ANTIVIRUS, Service.STEP)
_GIVING = (Service.SERVE,)


@dataclass(frozen=True, kw_only=True)
class DeliverySettings:
    """How the bytes come to a step."""

    delivery: Mapping[str, Chosen] = setting(
        Deliveries(),
        "",
        "For each step named here, how it gets the bytes: `path`, `path:VOLUME`, `presigned`, `pull`, `pull:one-time`,"
        " `push:URL` or `push-on-request:URL`, where `form+` or `tus+` before the URL says how the worker takes files."
        " The others are told where the file lies below `data_dir`.",
        group=_GROUP,
        services=_GIVING,
    )
    delivery_url: str | None = setting(
        WebAddress(),
        "",
        "Where steps reach this server, for `pull`, `presigned` and `push-on-request`. Empty: at `public_url`.",
        group=_GROUP,
        services=_GIVING,
    )
    delivery_signed_url_life: timedelta = setting(
        Duration(least=timedelta(seconds=1)),
        "5m",
        "How long an address works that the object store signs. It is made when the step asks for the bytes.",
        group=_GROUP,
        services=_GIVING,
    )
    delivery_folder: Path | None = setting(
        File(),
        "",
        "The folder `blobs` of a `penstock serve` whose data folder is on this machine or mounted here: its files are"
        " then opened as they lie there. Empty: bytes are only fetched by http and https.",
        group=_GROUP,
        services=_FETCHING,
    )
    delivery_push_allow: tuple[str, ...] = setting(
        Words(),
        "",
        "Workers that files may be pushed to though they are not out in the world: hosts, addresses and networks, such"
        " as `worker.internal,10.0.0.0/8`.",
        group=_GROUP,
        services=_GIVING,
    )
    delivery_push_secret: str = setting(
        Text(),
        "",
        "What is shown to workers that files are pushed to, as a bearer token, and what `penstock step receive` wants"
        " to see. Empty: nothing.",
        group=_GROUP,
        secret=True,
        services=(*_GIVING, Service.STEP),
    )
    delivery_push_tries: int = setting(
        Whole(least=1, most=1000),
        "5",
        "How often a file is sent to a worker that does not take it, before the step's attempt has failed.",
        group=_GROUP,
        services=_GIVING,
    )
    delivery_inbox: Path | None = setting(
        File(),
        "",
        "The folder that pushed files arrive in on this machine (`penstock step receive`). Empty: none.",
        group=_GROUP,
        services=_FETCHING,
    )
    receive_addr: Address = setting(
        Listen(),
        "127.0.0.1:8081",
        "Where `penstock step receive` takes the files that are pushed to this machine.",
        group=_GROUP,
        services=(Service.STEP,),
    )
    delivery_volumes: Mapping[str, Path] = setting(
        Volumes(),
        "",
        "Where the volumes are mounted here that the gateway's `path` names; the root is the folder `blobs` of its data"
        " folder.",
        group=_GROUP,
        services=_FETCHING,
    )
    delivery_stall_limit: timedelta = setting(
        Duration(least=timedelta(seconds=1)),
        "1m",
        "How long a transfer may stand still. Then it is broken off, and goes on from there if that is possible.",
        group=_GROUP,
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
