"""What the way in reaches of an open application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network

from ..blobs.base import BlobStore
from ..bus.base import Bus
from ..clock import Clock
from ..delivery.sending.base import Way
from ..delivery.sending.claims import Claims
from ..delivery.sending.dispatch import Dispatcher
from ..health import Check
from ..postprocessing.commands import Commands
from ..postprocessing.survey import Survey
from ..store.base import ProgressStore
from ..telemetry import Metrics
from ..uploads.catalogue.catalogue import Catalogue
from ..uploads.catalogue.feed import Feed
from ..uploads.catalogue.quarantine import Quarantine
from ..uploads.files.files import Files
from ..uploads.gateway.gateway import Gateway
from ..uploads.quotas.usage import Usages
from ..uploads.receiving.receiver import Receiver
from .garbage import Garbage


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the way in reaches: the parts of an open application."""

    receiver: Receiver
    gateway: Gateway
    catalogue: Catalogue
    usages: Usages
    quarantine: Quarantine
    feed: Feed
    blobs: BlobStore
    files: Files
    garbage: Garbage
    claims: Claims
    """Who may fetch bytes that are held back."""
    dispatcher: Dispatcher
    """Brings bytes to steps, also when they ask for it."""
    ways: Mapping[str, Way]
    """How steps get the bytes, for those where it was chosen."""
    store: ProgressStore
    commands: Commands
    survey: Survey
    bus: Bus
    metrics: Metrics
    clock: Clock
    stalled_after: timedelta
    public_url: str | None
    """The server's address as clients see it; None: as each request names it."""
    listens_at: str
    """The address or name that the server listens at."""
    allowed_hosts: Sequence[str]
    """Further names under which it answers; `*`: all."""
    delivery_url: str | None
    """The server's address as steps see it; None: as clients do."""
    trusted_proxies: Sequence[IPv4Network | IPv6Network]
    """Whose word about the address that a request was sent to is believed, and about who sends it."""
    user_header: str
    """The header in which these name the user; empty: users have no names."""
    cors_origins: Sequence[str]
    """Origins of web pages that may upload from a browser; `*`: all."""
    checks: Callable[[], Awaitable[list[Check]]]
    """Looks at everything that can be wrong while running."""
    look_up: Callable[[], Awaitable[None]]
    """Sets the metrics that are not counted along the way."""
