"""The store and the bus that the settings choose."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog

from .. import backends
from ..errors import ConfigurationError
from ..store.target import StoreTarget

if TYPE_CHECKING:
    from ..clock import Clock
    from ..core.policy import Policy
    from ..db import Database
    from ..settings import Settings

log = structlog.get_logger(__name__)

UNSEEN: Final = ("memory", "ocmem", "noop")
"""Stores that live in the memory of one process, and forget what it knew when it ends."""
BRIEFLY: Final = timedelta(seconds=4)
"""How long to wait for the first connection where somebody waits for an answer, or the whole is tried again anyway
(`Patience`): then it is known sooner what is missing."""
_ON_JETSTREAM: Final = ("nats-js-kv", "nats-js")


def store_of(
    settings: Settings,
    policy: Policy,
    database: Database | None = None,
    *,
    to_list: bool = False,
    patience: timedelta = timedelta(seconds=8),
) -> Any:
    """Return the store of progress that the settings choose, not opened yet; `sqlite` shares `database`.

    With `to_list` it is for who reads all records once, or few: nothing is prepared that would only help others. One on
    NATS waits for the server for as long as `patience`; the others answer at once, or not.

    Raises:
        ConfigurationError: there is no such store, what it needs is not installed, or a setting of it is wrong.
    """
    name = settings.store
    backend = backends.load("store", name)
    if name == "noop":
        if policy.every_step:
            log.warning("store_noop_with_steps", hint="nothing is stored, so no upload with a step ever ends")
        return backend()
    if name == "memory":
        log.warning("store_memory", hint="after a restart every upload in processing begins with its first step")
        return backend()
    if name == "sqlite":
        if database is None:
            origin = settings.origins.get("store")
            raise ConfigurationError(
                f"store=sqlite ({origin}): a single service shares its records with other instances, which a file "
                "cannot. Choose nats-js-kv, redis-sentinel, etcd or postgres."
            )
        return backend(database)
    if name in _ON_JETSTREAM:
        servers = store_servers(settings)
        return backend(_target(settings), servers=servers, indexed=not to_list, patience=patience)
    return backend(_target(settings))


def bus_of(settings: Settings, clock: Clock, *, patience: timedelta = timedelta(seconds=15)) -> Any:
    """Return the bus that the settings choose, not opened yet; it waits for its server for as long as `patience`.

    Raises:
        ConfigurationError: there is no such bus, what it needs is not installed, or a setting of it is wrong.
    """
    backend = backends.load("bus", settings.bus)
    if settings.bus != "nats":
        return backend(clock)
    return backend(
        bus_servers(settings),
        clock=clock,
        patience=patience,
        ack_wait=settings.events_ack_wait,
        max_ack_pending=settings.events_max_ack_pending,
    )


def bus_servers(settings: Settings) -> Any:
    """Return where the NATS servers of the bus are."""
    from ..jetstream import NatsServers

    return NatsServers(
        settings.events_endpoint,
        username=settings.events_auth_username,
        password=settings.events_auth_password,
        tls=settings.events_enable_tls,
        tls_insecure=settings.events_tls_insecure,
        tls_ca_file=settings.events_tls_root_ca_certificate,
        setting="events_endpoint",
    )


def store_servers(settings: Settings) -> Any:
    """Return where the NATS servers of a store on JetStream are."""
    from ..jetstream import NatsServers

    return NatsServers(
        settings.store_nodes,
        username=settings.store_auth_username,
        password=settings.store_auth_password,
        tls=settings.store_enable_tls,
        tls_insecure=settings.store_tls_insecure,
        tls_ca_file=settings.store_tls_root_ca_certificate,
        setting="store_nodes",
    )


def _target(settings: Settings) -> StoreTarget:
    # The default names the NATS server of the platform; other stores know where they are to be found by default.
    said = settings.store in _ON_JETSTREAM or str(settings.origins.get("store_nodes", "default")) != "default"
    return StoreTarget(
        nodes=settings.store_nodes if said else (),
        database=settings.store_database,
        table=settings.store_table,
        username=settings.store_auth_username,
        password=settings.store_auth_password,
        ttl=settings.store_ttl or None,
        persistent=not settings.store_disable_persistence,
        size=settings.store_size,
        tls=settings.store_enable_tls,
        tls_insecure=settings.store_tls_insecure,
        tls_ca_file=settings.store_tls_root_ca_certificate,
    )
