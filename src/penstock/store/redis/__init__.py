"""Records in Redis, where the Go services keep them: `redis` on one server, `redis-sentinel` on the master of several.

Needs Redis 6 or newer (or what speaks its protocol and runs Lua), with a user who may run scripts, `INFO`, `WAIT`, and
read and write the keys `<TABLE>*` and `penstock:*`. Leaves behind one string per upload in flight, under
`<TABLE><upload ID>`, and an index of them under `penstock:<TABLE>…` (scripts.py says of what). The record is the JSON
of the Go services in their layout, so either side goes on with what the other has begun; the index is ours, and is
mended whenever somebody who knows nothing of it has written.

What is saved is as safe as the server keeps it. With `appendonly yes` and `appendfsync always` it survives whatever
the disk survives. With `everysec` the last second or two may be lost: with the machine, or with the process when it is
killed while the disk is busy. Without an append-only file there is a warning at start: the latest records go when Redis
dies. With sentinels, a save counts once every replica has it that could become the master.

The settings for TTL and for persistence are for other stores, as with the Go services: a record of an upload in flight
never expires here.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ...clock import Clock, SystemClock
from ...errors import ConfigurationError
from . import addresses
from .sentinel import ReplicatedServer, Sentinels
from .server import single
from .store import IndexedStore

if TYPE_CHECKING:
    from ..target import StoreTarget

__all__ = ["RedisSentinelStore", "RedisStore"]

_TIMEOUT: Final = timedelta(seconds=8)
"""For a call with all that belongs to it: its turn, the connection, the sentinels, the replicas."""


class RedisStore(IndexedStore):
    """Records on the one server that `target.nodes` names. The database is that of its URL, or 0.

    Raises:
        ConfigurationError: the node is spelled otherwise, or there are several.
    """

    def __init__(self, target: StoreTarget, *, clock: Clock | None = None, timeout: timedelta = _TIMEOUT) -> None:
        address = _as_wanted(addresses.server(target.nodes), target)
        super().__init__(single(address, timeout), target, clock or SystemClock())


class RedisSentinelStore(IndexedStore):
    """Records on the master that the sentinels in `target.nodes` name, wherever it is at the moment.

    Raises:
        ConfigurationError: a node does not name the master, or they name different ones.
    """

    def __init__(self, target: StoreTarget, *, clock: Clock | None = None, timeout: timedelta = _TIMEOUT) -> None:
        clock = clock or SystemClock()
        master, found = addresses.sentinels(target.nodes)
        sentinels = Sentinels(master, [_as_wanted(one, target) for one in found])
        super().__init__(ReplicatedServer(sentinels, clock, timeout), target, clock)


def _as_wanted(address: addresses.Address, target: StoreTarget) -> addresses.Address:
    """Add what the settings say about login and encryption, where the node itself does not.

    Raises:
        ConfigurationError: the file with the authorities cannot be read.
    """
    if not address.password and target.password:
        address = replace(address, username=target.username, password=target.password)
    if not (address.tls or target.tls):
        return address
    if target.tls_ca_file is None:
        return replace(address, tls=True, verify=address.verify and not target.tls_insecure)
    if not target.tls_ca_file.is_file():
        raise ConfigurationError(f"store root certificates {target.tls_ca_file}: there is no such file.")
    return replace(address, tls=True, verify=True, ca_file=target.tls_ca_file)
