"""Settings of the store that remembers the progress of uploads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..entries import OtherName, platform, setting
from ..kinds import Choice, Flag, Text, Whole
from ..measures import Duration
from ..places import File, Servers
from ..services import COORDINATING, Service

if TYPE_CHECKING:
    from collections.abc import Mapping

_GROUP = "Store"

_STORES = (
    "sqlite",
    "memory",
    "noop",
    "nats-js-kv",
    "redis-sentinel",
    "postgres",
    "redis",
    "etcd",
    "nats-js",
    "ocmem",
)
_ENTRIES_OF_OCMEM = 512
"""What the Go service takes when it is told 0."""


def _names(name: str) -> tuple[str, ...]:
    return (*platform(f"PERSISTENT_{name}"), f"POSTPROCESSING_{name}")


def _entries_of_ocmem(_before: int, entries: int) -> int:
    return entries or _ENTRIES_OF_OCMEM


def _same_store_as_cache(values: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """Tell whether the servers of the caches may be those of our store, as the manual of oCIS has it.

    The Go service does not look at them. Where the caches are in another kind of store, they are not for us.
    """
    cache = environ.get("OC_CACHE_STORE", environ.get("OCIS_CACHE_STORE", ""))
    return cache.strip() in {"", values["store"]}


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """Where the progress of uploads is kept."""

    store: str = setting(
        Choice(_STORES, {"mem": "memory"}, group="penstock.store"),
        "sqlite",
        "Where the progress of uploads is kept. `sqlite`: in the data folder. `memory` and `ocmem` lose it at the end,"
        " `noop` keeps nothing. `ocmem`, `redis`, `etcd` and `nats-js` are deprecated.",
        *_names("STORE"),
        group=_GROUP,
        services=COORDINATING,
        defaults={Service.POSTPROCESSING: "nats-js-kv"},
    )
    store_nodes: tuple[str, ...] = setting(
        Servers(),
        "127.0.0.1:9233",
        "The servers of the store; with `redis-sentinel`, the sentinels as `host:port/master`.",
        *(OtherName(name, when=_same_store_as_cache) for name in platform("CACHE_STORE_NODES")),
        *_names("STORE_NODES"),
        group=_GROUP,
        services=COORDINATING,
    )
    store_database: str = setting(
        Text(),
        "postprocessing",
        "The bucket or database in the store.",
        "POSTPROCESSING_STORE_DATABASE",
        group=_GROUP,
        services=COORDINATING,
    )
    store_table: str = setting(
        Text(),
        "",
        "What the keys in the store begin with, or the table that they are in.",
        "POSTPROCESSING_STORE_TABLE",
        group=_GROUP,
        services=COORDINATING,
    )
    store_ttl: timedelta = setting(
        Duration(),
        "0s",
        "After how long without a change the store forgets an upload, for stores that can. `0s`: never, which is best:"
        " a forgotten upload never ends.",
        *_names("STORE_TTL"),
        group=_GROUP,
        services=COORDINATING,
    )
    store_size: int = setting(
        Whole(least=1, most=100_000_000),
        "512",
        "How many uploads the store `ocmem` remembers.",
        *(
            OtherName(
                name,
                Whole(most=100_000_000),
                _entries_of_ocmem,
                deprecated=True,
                instead="Choose a store that does not forget, such as nats-js-kv, or set PENSTOCK_STORE_SIZE.",
            )
            for name in _names("STORE_SIZE")
        ),
        group=_GROUP,
        services=COORDINATING,
    )
    store_auth_username: str = setting(
        Text(),
        "",
        "User at the store. Counts only together with `store_auth_password`.",
        *_names("STORE_AUTH_USERNAME"),
        group=_GROUP,
        services=COORDINATING,
    )
    store_auth_password: str = setting(
        Text(),
        "",
        "Password at the store.",
        *_names("STORE_AUTH_PASSWORD"),
        secret=True,
        group=_GROUP,
        services=COORDINATING,
    )
    store_enable_tls: bool = setting(
        Flag(),
        "false",
        "Whether the connection to the store is encrypted.",
        *_names("STORE_ENABLE_TLS"),
        group=_GROUP,
        services=COORDINATING,
    )
    store_tls_insecure: bool = setting(
        Flag(),
        "false",
        "Whether any certificate of the store will do. Only for trying things out.",
        *platform("INSECURE", "PERSISTENT_STORE_TLS_INSECURE"),
        "POSTPROCESSING_STORE_TLS_INSECURE",
        group=_GROUP,
        services=COORDINATING,
    )
    store_tls_root_ca_certificate: Path | None = setting(
        File(),
        "",
        "PEM file with the authorities that may have signed the certificate of the store. It turns"
        " `store_tls_insecure` off. Empty: those that the system trusts.",
        *_names("STORE_TLS_ROOT_CA_CERTIFICATE"),
        group=_GROUP,
        services=COORDINATING,
    )
    store_disable_persistence: bool = setting(
        Flag(),
        "false",
        "Whether a new bucket of `nats-js-kv` is kept in the memory of the NATS server only, and lost when that ends.",
        *platform("CACHE_DISABLE_PERSISTENCE"),
        group=_GROUP,
        services=COORDINATING,
    )
