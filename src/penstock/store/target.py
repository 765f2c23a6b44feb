"""Where a store on other machines is, as the settings `store_…` say it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreTarget:
    """What every store on other machines is built from; each uses what it knows and the Go services use.

    Attributes:
        nodes: the servers, as the store's kind spells them: `host:port`, `host:port/master`, a URL.
        database: bucket, database or schema, where the store has such a thing.
        table: prefix of the keys; empty for none.
        username: who logs in; empty for nobody.
        password: never logged, never in a message.
        ttl: after how long without a change a record is forgotten, where the store can; None for never.
        persistent: whether the store keeps records on its disk, where it can be asked to.
        size: how many records a store in memory holds, where it is bounded; None for its own bound.
        tls: whether the connection is encrypted.
        tls_insecure: whether any certificate will do; has no effect when `tls_ca_file` is given.
        tls_ca_file: PEM file with the only authorities to believe; None for those of the system.
    """

    nodes: tuple[str, ...] = ()
    database: str = "postprocessing"
    table: str = ""
    username: str = ""
    password: str = ""
    ttl: timedelta | None = None
    persistent: bool = True
    size: int | None = None
    tls: bool = False
    tls_insecure: bool = False
    tls_ca_file: Path | None = None

    def __repr__(self) -> str:
        """Say where it is, without the secrets."""
        nodes = ", ".join(map(without_login, self.nodes)) or "in memory"
        return f"StoreTarget({nodes}, database={self.database!r}, table={self.table!r})"


def without_login(node: str) -> str:
    """Return a node as it may be shown: a URL may hold a password, for some stores it is the only place for one."""
    start, at, rest = node.rpartition("@")
    scheme, mark, _ = start.partition("://")
    return f"{scheme + mark if mark else ''}…@{rest}" if at else node
