"""Settings of the process itself: where its files are, where it listens, how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ..entries import setting
from ..kinds import Text
from ..measures import Duration
from ..peers import HostNames, Network, Networks, Origins
from ..places import Address, Folder, Listen, MaybeListen, WebAddress
from ..services import COORDINATING, Service

_GROUP = "Server"
_SINGLE = (Service.POSTPROCESSING, Service.ANTIVIRUS, Service.STEP)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Where the server keeps its files and listens."""

    data_dir: Path = setting(
        Folder(),
        "penstock-data",
        "Folder that holds everything: bytes on their way in, released files, the database. Back this up.",
        group=_GROUP,
        services=COORDINATING,
    )
    http_addr: Address = setting(
        Listen(),
        "127.0.0.1:8080",
        "Where the server listens. There is no login yet: whoever reaches it may use it.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    public_url: str | None = setting(
        WebAddress(),
        "",
        "The server's address as clients see it, for a server behind a proxy. Empty: what each request names.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    allowed_hosts: tuple[str, ...] = setting(
        HostNames(),
        "",
        "Names under which the server answers, beside `localhost`, addresses, and the names in `http_addr`,"
        " `public_url` and `delivery_url`; `*`: all. Requests with another `Host` are refused, so that no foreign page"
        " has its own name point here. Empty: all, unless `http_addr` is one that only this machine reaches.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    trusted_proxies: tuple[Network, ...] = setting(
        Networks(),
        "",
        "Proxies whose word about the address that clients see is believed, where `public_url` is empty: `Forwarded`,"
        " `X-Forwarded-Proto`, `-Host` and `-Prefix`. They must write these themselves, whatever their clients send.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    cors_origins: tuple[str, ...] = setting(
        Origins(),
        "*",
        "Web pages that may upload from a browser, by their origin; `*`: all of them; empty: only pages of this server."
        " Nothing but `/uploads/` and sending to `/files/` is open to them, without credentials.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    url: str | None = setting(
        WebAddress(),
        "",
        "Where the commands find the server. Empty: at `http_addr` on this machine.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    grace_period: timedelta = setting(
        Duration(),
        "10s",
        "How long requests, and after them steps, may take to end after SIGTERM. What is not done by then goes on after"
        " the next start.",
        group=_GROUP,
    )
    debug_addr: Address | None = setting(
        MaybeListen(),
        "127.0.0.1:9255",
        "Where a single service answers `/healthz`, `/readyz` and `/metrics`; empty: nowhere. `penstock serve` does at"
        " `http_addr`.",
        "ANTIVIRUS_DEBUG_ADDR",
        "POSTPROCESSING_DEBUG_ADDR",
        group=_GROUP,
        services=_SINGLE,
        defaults={Service.ANTIVIRUS: "127.0.0.1:9277", Service.STEP: ""},
    )
    debug_token: str = setting(
        Text(),
        "",
        "What a client of `/metrics` has to send as its bearer token. Empty: nothing.",
        "ANTIVIRUS_DEBUG_TOKEN",
        "POSTPROCESSING_DEBUG_TOKEN",
        group=_GROUP,
        secret=True,
        services=_SINGLE,
    )
