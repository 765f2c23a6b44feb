"""The one table of choices: for each kind of part, the names that settings may give and the classes behind them.

A backend is imported when it is chosen, never before, so nobody needs the client libraries of what they don't use.
Other packages add choices through entry points of the group `penstock.<kind>`, such as::

    [project.entry-points."penstock.store"]
    dynamodb = "my_package.store:DynamoStore"
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from .errors import ConfigurationError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

log = structlog.get_logger(__name__)


class Backend(NamedTuple):
    """Where a class is found."""

    path: str
    """`module:class`."""
    extra: str = ""
    """The extra of the package that brings what the module imports; empty when it needs nothing more."""
    deprecated: str = ""
    """What to use instead, as the end of "use …"; empty for a backend that stays. It works all the same."""


TABLE: Final[dict[str, dict[str, Backend]]] = {
    "blobs": {
        "local": Backend("penstock.blobs.local:LocalBlobs"),
    },
    "bus": {
        "local": Backend("penstock.bus.local:LocalBus"),
        "nats": Backend("penstock.bus.nats:NatsBus", "nats"),
    },
    "delivery": {
        "blobs": Backend("penstock.delivery.blobs:BlobDelivery"),
        "inbox": Backend("penstock.delivery.inbox:InboxDelivery"),
        "path": Backend("penstock.delivery.path:PathDelivery"),
        "pull": Backend("penstock.delivery.pull:PullDelivery"),
        "stream": Backend("penstock.delivery.stream:StreamDelivery"),
        "volume": Backend("penstock.delivery.volume:VolumeDelivery"),
    },
    "scanner": {
        "clamav": Backend("penstock.antivirus.clamav:ClamavScanner"),
        "icap": Backend("penstock.antivirus.icap:IcapScanner"),
        "yara": Backend("penstock.antivirus.yara:YaraScanner"),
    },
    "step": {
        "virusscan": Backend("penstock.steps.virusscan:Virusscan"),
    },
    "storage": {
        "azure": Backend("penstock.blobs.objects:AzurePlace", "object-storage"),
        "gcs": Backend("penstock.blobs.objects:GcsPlace", "object-storage"),
        "s3": Backend("penstock.blobs.objects:S3Place", "object-storage"),
    },
    "store": {
        "etcd": Backend("penstock.store.etcd:EtcdStore", deprecated="nats-js-kv"),
        "memory": Backend("penstock.store.memory:MemoryStore"),
        "nats-js": Backend("penstock.store.nats_object:NatsObjectStore", "nats", deprecated="nats-js-kv"),
        "nats-js-kv": Backend("penstock.store.nats_kv:NatsKvStore", "nats"),
        "noop": Backend("penstock.store.noop:NoopStore"),
        "ocmem": Backend(
            "penstock.store.memory:BoundedMemoryStore", deprecated="memory, or nats-js-kv to survive restarts"
        ),
        "postgres": Backend("penstock.store.postgres:PostgresStore", "postgres"),
        "redis": Backend(
            "penstock.store.redis:RedisStore",
            "redis",
            deprecated="redis-sentinel or nats-js-kv",
        ),
        "redis-sentinel": Backend("penstock.store.redis:RedisSentinelStore", "redis"),
        "sqlite": Backend("penstock.store.sql:SqlStore"),
    },
}
"""Kept in alphabetical order, kinds and names (a test looks)."""


def names(kind: str) -> list[str]:
    """Return the names that may be chosen for a kind, those of other packages included."""
    return sorted({*TABLE[kind], *(entry.name for entry in _added(kind))})


def _added(kind: str) -> EntryPoints:
    """Return what other packages add."""
    from importlib.metadata import entry_points  # it loads what reads e-mail, for what few have

    return entry_points(group=f"penstock.{kind}")


def load(kind: str, name: str) -> Any:
    """Return the class behind a name; its constructor takes plain arguments, not settings.

    Warns in the log when the choice is deprecated.

    Raises:
        ConfigurationError: there is no such choice, or what it needs is not installed.
    """
    backend = TABLE[kind].get(name)
    if backend is None:
        for entry in _added(kind):
            if entry.name == name:
                return entry.load()
        raise ConfigurationError(f"{kind}={name}: not known. Choose one of {', '.join(names(kind))}.")
    if backend.deprecated:
        log.warning("backend_deprecated", kind=kind, name=name, hint=f"use {backend.deprecated}")
    module, _, attribute = backend.path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if not backend.extra or (error.name or "").startswith("penstock"):
            raise
        raise ConfigurationError(
            f"{kind}={name} needs the module {error.name!r}, which is not installed. "
            f"Install it with: pip install 'penstock[{backend.extra}]'"
        ) from error
