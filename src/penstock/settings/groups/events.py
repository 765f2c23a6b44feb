"""Settings of the bus that carries the events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ..entries import everywhere, own, platform, setting
from ..kinds import Choice, Flag, Text, Whole
from ..measures import Duration
from ..places import File, Servers
from ..services import Service

_GROUP = "Events"


@dataclass(frozen=True, kw_only=True)
class EventsSettings:
    """How the services reach each other."""

    bus: str = setting(
        Choice(("local", "nats"), group="penstock.bus"),
        "local",
        "What carries the events: this process alone, or a NATS server that other services reach too.",
        group=_GROUP,
        defaults=dict.fromkeys((Service.POSTPROCESSING, Service.ANTIVIRUS, Service.STEP), "nats"),
    )
    events_endpoint: tuple[str, ...] = setting(
        Servers(schemes=("nats", "tls")),
        "127.0.0.1:9233",
        "The NATS servers, any of which will do.",
        *everywhere("EVENTS_ENDPOINT"),
        group=_GROUP,
    )
    events_cluster: str = setting(
        Text(),
        "opencloud-cluster",
        "Accepted, with no effect, as in the Go services: it is from the time before JetStream.",
        *everywhere("EVENTS_CLUSTER"),
        group=_GROUP,
    )
    events_enable_tls: bool = setting(
        Flag(),
        "false",
        "Whether the connection to NATS is encrypted.",
        *everywhere("EVENTS_ENABLE_TLS"),
        group=_GROUP,
    )
    events_tls_insecure: bool = setting(
        Flag(),
        "false",
        "Whether any certificate of the NATS servers will do. Only for trying things out.",
        *platform("INSECURE", "EVENTS_TLS_INSECURE"),
        *own("EVENTS_TLS_INSECURE"),
        group=_GROUP,
    )
    events_tls_root_ca_certificate: Path | None = setting(
        File(),
        "",
        "PEM file with the authorities that may have signed the certificate of the NATS servers. It turns"
        " `events_tls_insecure` off. Empty: those that the system trusts.",
        *everywhere("EVENTS_TLS_ROOT_CA_CERTIFICATE"),
        group=_GROUP,
    )
    events_auth_username: str = setting(
        Text(),
        "",
        "User at the NATS servers. Counts only together with `events_auth_password`.",
        *everywhere("EVENTS_AUTH_USERNAME"),
        group=_GROUP,
    )
    events_auth_password: str = setting(
        Text(),
        "",
        "Password at the NATS servers.",
        *everywhere("EVENTS_AUTH_PASSWORD"),
        group=_GROUP,
        secret=True,
    )
    events_ack_wait: timedelta = setting(
        Duration(least=timedelta(seconds=1)),
        "10s",
        "How long an event may go without a sign of life from whoever works on it before another one gets it. For the"
        " consumers that Penstock makes; those that are there keep theirs.",
        "SEARCH_EVENTS_ACK_WAIT",
        group=_GROUP,
    )
    events_max_ack_pending: int = setting(
        Whole(least=1),
        "10000",
        "How many events of a group may be worked on, or wait for another try, over all instances. For the consumers"
        " that Penstock makes.",
        "SEARCH_EVENTS_MAX_ACK_PENDING",
        group=_GROUP,
    )
